// Optimiser steps in place, an element a thread, and the sum of squares that clipping needs.
#include "taper.cuh"

// rule 0: no momentum; 1: the velocity begins as the gradient; 2: it decays and takes the gradient in.
template <typename T>
__device__ void sgd(T* param, const T* grad, T* velocity, int64 length, int rule, int nesterov, double lr,
                    double momentum, double taken, double decay) {
    typedef Wide<T> W;
    for (int64 i = grid_thread(); i < length; i += grid_threads()) {
        W p = widen(param[i]), g = widen(grad[i]);
        if (decay != 0) g += W(decay) * p;
        W step = g;
        if (rule != 0) {
            W v = rule == 1 ? g : widen(velocity[i]) * W(momentum) + g * W(taken);
            velocity[i] = narrow<T>(v);
            step = nesterov ? g + W(momentum) * v : v;
        }
        param[i] = narrow<T>(p - W(lr) * step);
    }
}

template <typename T>
__device__ void adamw(T* param, const T* grad, T* average, T* square, int64 length, double shrink, double taken1,
                      double kept2, double taken2, double root_correction, double eps, double lr) {
    typedef Wide<T> W;
    for (int64 i = grid_thread(); i < length; i += grid_threads()) {
        W g = widen(grad[i]), m = widen(average[i]), s = widen(square[i]);
        m += (g - m) * W(taken1);
        s = s * W(kept2) + g * g * W(taken2);
        average[i] = narrow<T>(m);
        square[i] = narrow<T>(s);
        W deviation = sqrt(s) / W(root_correction) + W(eps);
        param[i] = narrow<T>(widen(param[i]) * W(shrink) - W(lr) * (m / deviation));
    }
}

template <typename T>
__device__ void ema(T* average, const T* param, int64 length, double decay) {
    typedef Wide<T> W;
    for (int64 i = grid_thread(); i < length; i += grid_threads())
        average[i] = narrow<T>(widen(average[i]) * W(decay) + widen(param[i]) * W(1 - decay));
}

// A block's part of the sum, to its place in partial.
template <typename T>
__device__ void squares(const T* values, double* partial, int64 length) {
    double sum = 0;
    for (int64 i = grid_thread(); i < length; i += grid_threads()) {
        double value = widen(values[i]);
        sum += value * value;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block: the sum of the parts.
KERNEL(optimiser_sum, const double* partial, double* total, int count) {
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += THREADS) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *total = sum;
}

#define INSTANCE(T, suffix)                                                                                        \
    KERNEL(optimiser_sgd_##suffix, T* param, const T* grad, T* velocity, int64 length, int rule, int nesterov,     \
           double lr, double momentum, double taken, double decay) {                                               \
        sgd(param, grad, velocity, length, rule, nesterov, lr, momentum, taken, decay);                            \
    }                                                                                                              \
    KERNEL(optimiser_adamw_##suffix, T* param, const T* grad, T* average, T* square, int64 length, double shrink,  \
           double taken1, double kept2, double taken2, double root_correction, double eps, double lr) {            \
        adamw(param, grad, average, square, length, shrink, taken1, kept2, taken2, root_correction, eps, lr);      \
    }                                                                                                              \
    KERNEL(optimiser_ema_##suffix, T* average, const T* param, int64 length, double decay) {                       \
        ema(average, param, length, decay);                                                                        \
    }                                                                                                              \
    KERNEL(optimiser_squares_##suffix, const T* values, double* partial, int64 length) {                           \
        squares(values, partial, length);                                                                          \
    }
EACH_TYPE(INSTANCE)
