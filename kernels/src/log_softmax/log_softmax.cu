// x - ln sum exp x over rows, and its gradient: a warp, or for long rows a block, a row.
#include "taper.cuh"

template <typename T, bool WHOLE>
__device__ void forward(const T* x, T* y, int64 rows, int64 columns) {
    typedef Wide<T> W;
    Row<WHOLE> row;
    for (int64 i = row.first(); i < rows; i += row.step()) {
        const T* from = x + i * columns;
        W largest = -infinity<W>();
        for (int64 column = row.lane(); column < columns; column += row.width())
            largest = Maximum<W>::of(largest, widen(from[column]));
        largest = row.maximum(largest);
        double sum = 0;
        for (int64 column = row.lane(); column < columns; column += row.width())
            sum += exponential(widen(from[column]) - largest);
        const double log_sum = log(row.sum(sum));
        for (int64 column = row.lane(); column < columns; column += row.width())
            y[i * columns + column] = narrow<T>(W((widen(from[column]) - largest) - log_sum));
    }
}

// g - exp(output) sum g
template <typename T, bool WHOLE>
__device__ void backward(const T* output, const T* gradient, T* dx, int64 rows, int64 columns) {
    typedef Wide<T> W;
    Row<WHOLE> row;
    for (int64 i = row.first(); i < rows; i += row.step()) {
        double sum = 0;
        for (int64 column = row.lane(); column < columns; column += row.width())
            sum += widen(gradient[i * columns + column]);
        const W total = W(row.sum(sum));
        for (int64 column = row.lane(); column < columns; column += row.width()) {
            int64 at = i * columns + column;
            dx[at] = narrow<T>(widen(gradient[at]) - exponential(widen(output[at])) * total);
        }
    }
}

#define INSTANCE(T, suffix)                                                                                       \
    KERNEL(log_softmax_forward_##suffix, const T* x, T* y, int64 rows, int64 columns) {                           \
        forward<T, false>(x, y, rows, columns);                                                                   \
    }                                                                                                             \
    KERNEL(log_softmax_forward_long_##suffix, const T* x, T* y, int64 rows, int64 columns) {                      \
        forward<T, true>(x, y, rows, columns);                                                                    \
    }                                                                                                             \
    KERNEL(log_softmax_backward_##suffix, const T* output, const T* gradient, T* dx, int64 rows, int64 columns) { \
        backward<T, false>(output, gradient, dx, rows, columns);                                                  \
    }                                                                                                             \
    KERNEL(log_softmax_backward_long_##suffix, const T* output, const T* gradient, T* dx, int64 rows,             \
           int64 columns) {                                                                                       \
        backward<T, true>(output, gradient, dx, rows, columns);                                                   \
    }
EACH_TYPE(INSTANCE)
