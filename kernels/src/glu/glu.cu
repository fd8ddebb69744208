// glu: x lies as [outer][a, b][run], the result as [outer][run]. LANES elements a thread at a
// time: 16 bytes where the runs are a multiple of that, else one.
#include "taper.cuh"

__device__ inline double logistic(double x) { return 1 / (1 + exp(-x)); }
__device__ inline float logistic(float x) {
#if defined(__CUDA_ARCH__)
    // To 2 units in the last place, without the call (and the spilled registers) of a division.
    return __fdividef(1.0f, 1.0f + exp(-x));
#else
    return 1.0f / (1.0f + expf(-x));
#endif
}

// `length`: elements of the result.
template <typename T, int LANES>
__device__ void gate(const T* x, T* y, int64 length, int64 run) {
    const int64 pieces = run / LANES;
    for (int64 index = grid_thread(); index < length / LANES; index += grid_threads()) {
        int64 outer = index / pieces, at = outer * 2 * run + (index - outer * pieces) * LANES;
        Piece<T, LANES> a = load_piece<T, LANES>(x + at), b = load_piece<T, LANES>(x + at + run), result;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++)
            result.lane[lane] = narrow<T>(widen(a.lane[lane]) * logistic(widen(b.lane[lane])));
        store_piece<T, LANES>(y + index * LANES, result);
    }
}

template <typename T, int LANES>
__device__ void gradient_of_gate(const T* x, const T* gradient, T* dx, int64 length, int64 run) {
    typedef Wide<T> W;
    const int64 pieces = run / LANES;
    for (int64 index = grid_thread(); index < length / LANES; index += grid_threads()) {
        int64 outer = index / pieces, at = outer * 2 * run + (index - outer * pieces) * LANES;
        Piece<T, LANES> a = load_piece<T, LANES>(x + at), b = load_piece<T, LANES>(x + at + run);
        Piece<T, LANES> g = load_piece<T, LANES>(gradient + index * LANES), da, db;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            // The product of gradient and a first: less to keep while the exponential is computed.
            W upstream = widen(g.lane[lane]), product = upstream * widen(a.lane[lane]);
            W s = logistic(widen(b.lane[lane]));
            da.lane[lane] = narrow<T>(upstream * s);
            db.lane[lane] = narrow<T>(product * (s * (W(1) - s)));
        }
        store_piece<T, LANES>(dx + at, da);
        store_piece<T, LANES>(dx + at + run, db);
    }
}

#define INSTANCE(T, suffix)                                                                           \
    KERNEL(glu_##suffix, const T* x, T* y, int64 length, int64 run, int packed) {                     \
        if (packed)                                                                                   \
            gate<T, Pack<T>::LANES>(x, y, length, run);                                               \
        else                                                                                          \
            gate<T, 1>(x, y, length, run);                                                            \
    }                                                                                                 \
    KERNEL(glu_gradient_##suffix, const T* x, const T* gradient, T* dx, int64 length, int64 run,      \
           int packed) {                                                                              \
        if (packed && sizeof(T) < 8)                                                                  \
            gradient_of_gate<T, Pack<T>::LANES>(x, gradient, dx, length, run);                        \
        else                                                                                          \
            gradient_of_gate<T, 1>(x, gradient, dx, length, run);                                     \
    }
EACH_TYPE(INSTANCE)
