// softmax and log_softmax. Along rows (the dimension is the innermost) a warp has a short row, a
// block a long one; across columns a thread has a column, its neighbours the neighbouring ones.
// The row is read from memory once and from the cache twice more.
#include "taper.cuh"

// The threads that share a row: a warp, or the block.
template <bool BLOCK>
struct Team {
    __device__ static int size() { return BLOCK ? THREADS : WARP; }
    __device__ static int rank() { return BLOCK ? threadIdx.x : threadIdx.x % WARP; }
    __device__ static int64 first() {
        return BLOCK ? int64(blockIdx.x) : (int64(blockIdx.x) * THREADS + threadIdx.x) / WARP;
    }
    __device__ static int64 count() { return BLOCK ? int64(gridDim.x) : int64(gridDim.x) * (THREADS / WARP); }

    template <template <typename> class Combine, typename W>
    __device__ static W combine(W value) {
        if constexpr (BLOCK) {
            return block_combine<Combine>(value);
        } else {
            for (int step = WARP / 2; step > 0; step /= 2)
                value = Combine<W>::of(value, __shfl_xor_sync(ALL_LANES, value, step));
            return value;
        }
    }
};

// LANES elements at a time: 16 bytes where rows are a multiple of that, else one.
template <typename T, int LANES, typename Body>
__device__ __forceinline__ void each(const T* a, const T* b, int size, int rank, int team, Body body) {
#pragma unroll 1
    for (int i = rank * LANES; i < size; i += team * LANES) {
        if constexpr (LANES == 1) {
            body(widen(a[i]), widen(b[i]));
        } else {
            Pack<T> left = load_pack(a + i), right = load_pack(b + i);
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) body(widen(left.lane[lane]), widen(right.lane[lane]));
        }
    }
}

// As `each`, writing what `formula` makes of the elements.
template <typename T, int LANES, typename Formula>
__device__ __forceinline__ void map(const T* a, const T* b, T* y, int size, int rank, int team, Formula formula) {
#pragma unroll 1
    for (int i = rank * LANES; i < size; i += team * LANES) {
        if constexpr (LANES == 1) {
            y[i] = narrow<T>(formula(widen(a[i]), widen(b[i])));
        } else {
            Pack<T> left = load_pack(a + i), right = load_pack(b + i), result;
#pragma unroll
            for (int lane = 0; lane < LANES; lane++)
                result.lane[lane] = narrow<T>(formula(widen(left.lane[lane]), widen(right.lane[lane])));
            store_pack(y + i, result);
        }
    }
}

__device__ inline double reciprocal(double x) { return 1 / x; }
__device__ inline float reciprocal(float x) {
#if defined(__CUDA_ARCH__)
    // To 2 units in the last place, without the call (and the spilled registers) of a division.
    return __fdividef(1.0f, x);
#else
    return 1.0f / x;
#endif
}

template <typename T, bool BLOCK, int LANES>
__device__ void rows(const T* x, T* y, int64 count, int size, int log) {
    typedef Wide<T> W;
    typedef Team<BLOCK> Threads;
    const int rank = Threads::rank(), team = Threads::size();
    for (int64 row = Threads::first(); row < count; row += Threads::count()) {
        const T* from = x + row * size;
        W largest = Maximum<W>::empty(), sum = W(0);
        each<T, LANES>(from, from, size, rank, team, [&](W value, W) {
            largest = Maximum<W>::of(largest, value);
        });
        largest = Threads::template combine<Maximum>(largest);
        each<T, LANES>(from, from, size, rank, team, [&](W value, W) { sum += W(exp(value - largest)); });
        sum = Threads::template combine<Sum>(sum);
        if (log) {
            const W log_sum = W(::log(sum));
            map<T, LANES>(from, from, y + row * size, size, rank, team,
                          [&](W value, W) { return (value - largest) - log_sum; });
        } else {
            const W factor = reciprocal(sum);
            map<T, LANES>(from, from, y + row * size, size, rank, team,
                          [&](W value, W) { return W(exp(value - largest)) * factor; });
        }
    }
}

template <typename T, bool BLOCK, int LANES>
__device__ void gradient_of_rows(const T* y, const T* gradient, T* dx, int64 count, int size, int log) {
    typedef Wide<T> W;
    typedef Team<BLOCK> Threads;
    const int rank = Threads::rank(), team = Threads::size();
    for (int64 row = Threads::first(); row < count; row += Threads::count()) {
        const T *of_y = y + row * size, *of_gradient = gradient + row * size;
        W sum = W(0);
        each<T, LANES>(of_y, of_gradient, size, rank, team,
                       [&](W value, W g) { sum += log ? g : value * g; });
        sum = Threads::template combine<Sum>(sum);
        map<T, LANES>(of_y, of_gradient, dx + row * size, size, rank, team, [&](W value, W g) {
            return log ? g - W(exp(value)) * sum : value * (g - sum);
        });
    }
}

// A thread's column: where it begins; its elements lie `inner` apart.
__device__ inline int64 column_start(int64 index, int size, int64 inner) {
    int64 outer = index / inner;
    return outer * size * inner + (index - outer * inner);
}

template <typename T>
__device__ void columns(const T* x, T* y, int64 count, int size, int64 inner, int log) {
    typedef Wide<T> W;
    for (int64 index = grid_thread(); index < count; index += grid_threads()) {
        const int64 start = column_start(index, size, inner);
        W largest = Maximum<W>::empty(), sum = W(0);
#pragma unroll 1
        for (int i = 0; i < size; i++) largest = Maximum<W>::of(largest, widen(x[start + i * inner]));
#pragma unroll 1
        for (int i = 0; i < size; i++) sum += W(exp(widen(x[start + i * inner]) - largest));
        const W last = log ? W(::log(sum)) : reciprocal(sum);
#pragma unroll 1
        for (int i = 0; i < size; i++) {
            W value = widen(x[start + i * inner]) - largest;
            y[start + i * inner] = narrow<T>(log ? value - last : W(exp(value)) * last);
        }
    }
}

template <typename T>
__device__ void gradient_of_columns(const T* y, const T* gradient, T* dx, int64 count, int size, int64 inner, int log) {
    typedef Wide<T> W;
    for (int64 index = grid_thread(); index < count; index += grid_threads()) {
        const int64 start = column_start(index, size, inner);
        W sum = W(0);
#pragma unroll 1
        for (int i = 0; i < size; i++) {
            W g = widen(gradient[start + i * inner]);
            sum += log ? g : widen(y[start + i * inner]) * g;
        }
#pragma unroll 1
        for (int i = 0; i < size; i++) {
            W value = widen(y[start + i * inner]), g = widen(gradient[start + i * inner]);
            dx[start + i * inner] = narrow<T>(log ? g - W(exp(value)) * sum : value * (g - sum));
        }
    }
}

#define ROWS(T, suffix, team, BLOCK)                                                                         \
    KERNEL(softmax_##team##_##suffix, const T* x, T* y, int64 count, int size, int log, int packed) {        \
        if (packed && sizeof(T) < 8) /* two doubles at once would spill registers */                         \
            rows<T, BLOCK, Pack<T>::LANES>(x, y, count, size, log);                                          \
        else                                                                                                 \
            rows<T, BLOCK, 1>(x, y, count, size, log);                                                       \
    }                                                                                                        \
    KERNEL(softmax_gradient_##team##_##suffix, const T* y, const T* gradient, T* dx, int64 count, int size,  \
           int log, int packed) {                                                                            \
        if (packed)                                                                                          \
            gradient_of_rows<T, BLOCK, Pack<T>::LANES>(y, gradient, dx, count, size, log);                   \
        else                                                                                                 \
            gradient_of_rows<T, BLOCK, 1>(y, gradient, dx, count, size, log);                                \
    }

#define INSTANCE(T, suffix)                                                                                  \
    ROWS(T, suffix, warp, false)                                                                             \
    ROWS(T, suffix, block, true)                                                                             \
    KERNEL(softmax_columns_##suffix, const T* x, T* y, int64 count, int size, int64 inner, int log) {        \
        columns(x, y, count, size, inner, log);                                                              \
    }                                                                                                        \
    KERNEL(softmax_gradient_columns_##suffix, const T* y, const T* gradient, T* dx, int64 count, int size,   \
           int64 inner, int log) {                                                                           \
        gradient_of_columns(y, gradient, dx, count, size, inner, log);                                       \
    }
EACH_TYPE(INSTANCE)
