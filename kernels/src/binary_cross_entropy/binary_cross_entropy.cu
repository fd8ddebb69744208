// binary_cross_entropy_with_logits: the mean loss, and the gradients in logits and targets.
#include "taper.cuh"

// Sums of (1 - y) x - ln sigma(x) over each block's elements, in double.
template <typename T>
__device__ void losses(const T* logits, const T* targets, double* partial, int64 length) {
    double loss = 0;
    for (int64 i = grid_thread(); i < length; i += grid_threads()) {
        double x = widen(logits[i]), y = widen(targets[i]);
        double log_sigmoid = (x < 0 ? x : 0.0) - log1p(exp(-fabs(x)));
        loss += (1 - y) * x - log_sigmoid;
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0) partial[blockIdx.x] = loss;
}

// One block: the mean.
template <typename T>
__device__ void finish(const double* partial, T* loss, int count, double length) {
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += THREADS) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *loss = narrow<T>(Wide<T>(sum / length));
}

// (sigma(x) - y) g / n
template <typename T>
__device__ void of_logits(const T* logits, const T* targets, const T* gradient, T* dx, int64 length) {
    const double factor = double(widen(*gradient)) / double(length);
    for (int64 i = grid_thread(); i < length; i += grid_threads()) {
        double x = widen(logits[i]), y = widen(targets[i]);
        double small = exp(-fabs(x));
        double sigmoid = (x < 0 ? small : 1.0) / (1.0 + small);
        dx[i] = narrow<T>(Wide<T>((sigmoid - y) * factor));
    }
}

// -x g / n
template <typename T>
__device__ void of_targets(const T* logits, const T* gradient, T* dy, int64 length) {
    const double factor = double(widen(*gradient)) / double(length);
    for (int64 i = grid_thread(); i < length; i += grid_threads())
        dy[i] = narrow<T>(Wide<T>(-double(widen(logits[i])) * factor));
}

#define INSTANCE(T, suffix)                                                                              \
    KERNEL(binary_losses_##suffix, const T* logits, const T* targets, double* partial, int64 length) {   \
        losses(logits, targets, partial, length);                                                        \
    }                                                                                                    \
    KERNEL(binary_finish_##suffix, const double* partial, T* loss, int count, double length) {           \
        finish(partial, loss, count, length);                                                            \
    }                                                                                                    \
    KERNEL(binary_of_logits_##suffix, const T* logits, const T* targets, const T* gradient, T* dx,       \
           int64 length) {                                                                               \
        of_logits(logits, targets, gradient, dx, length);                                                \
    }                                                                                                    \
    KERNEL(binary_of_targets_##suffix, const T* logits, const T* gradient, T* dy, int64 length) {        \
        of_targets(logits, gradient, dy, length);                                                        \
    }
EACH_TYPE(INSTANCE)
