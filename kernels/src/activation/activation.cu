// The rectifier, alone and after an addition: one pass each, 16 bytes a thread at a time
// where all operands are aligned (`packed`), one element otherwise.
#include "taper.cuh"

// Positive or NaN stays, the rest is 0.
struct Rectify {
    template <typename W>
    __device__ static W of(W a, W) {
        return a <= W(0) ? W(0) : a;
    }
};

struct AddAndRectify {
    template <typename W>
    __device__ static W of(W a, W b) {
        return Rectify::of(a + b, b);
    }
};

// The gradient b where the output a is positive or NaN.
struct Mask {
    template <typename W>
    __device__ static W of(W a, W b) {
        return a <= W(0) ? W(0) : b;
    }
};

template <typename Function, typename T>
__device__ void zip(const T* a, const T* b, T* y, int64 length, int packed) {
    constexpr int LANES = Pack<T>::LANES;
    int64 packs = packed ? length / LANES : 0;
    for (int64 i = grid_thread(); i < packs; i += grid_threads()) {
        Pack<T> left = load_pack(a + i * LANES), right = load_pack(b + i * LANES), result;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++)
            result.lane[lane] = narrow<T>(Function::of(widen(left.lane[lane]), widen(right.lane[lane])));
        store_pack(y + i * LANES, result);
    }
    for (int64 i = packs * LANES + grid_thread(); i < length; i += grid_threads())
        y[i] = narrow<T>(Function::of(widen(a[i]), widen(b[i])));
}

#define INSTANCE(T, suffix)                                                                          \
    KERNEL(relu_##suffix, const T* x, T* y, int64 length, int packed) {                              \
        zip<Rectify>(x, x, y, length, packed);                                                       \
    }                                                                                                \
    KERNEL(add_relu_##suffix, const T* a, const T* b, T* y, int64 length, int packed) {              \
        zip<AddAndRectify>(a, b, y, length, packed);                                                 \
    }                                                                                                \
    KERNEL(masked_gradient_##suffix, const T* output, const T* gradient, T* dx, int64 length, int packed) { \
        zip<Mask>(output, gradient, dx, length, packed);                                             \
    }
EACH_TYPE(INSTANCE)
