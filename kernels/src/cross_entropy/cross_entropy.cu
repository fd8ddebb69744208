// The mean cross-entropy of logits against class indices, and its gradient in the same pass: a
// warp, or for long rows a block, a row. A class index out of range makes the loss NaN.
#include "taper.cuh"

// partial: a row's loss; gradient may be null.
template <typename T, bool WHOLE>
__device__ void rows_of(const T* logits, const uint32* targets, double* partial, T* gradient, int rows, int columns,
                        double smoothing) {
    typedef Wide<T> W;
    Row<WHOLE> row;
    const double everywhere = smoothing / columns, inverse = 1.0 / rows;
    for (int i = int(row.first()); i < rows; i += int(row.step())) {
        const T* from = logits + int64(i) * columns;
        const int64 target = targets[i];
        W largest = -infinity<W>();
        for (int column = row.lane(); column < columns; column += row.width())
            largest = Maximum<W>::of(largest, widen(from[column]));
        largest = row.maximum(largest);
        double sum = 0, distances = 0;
        for (int column = row.lane(); column < columns; column += row.width()) {
            W distance = widen(from[column]) - largest;
            sum += exponential(distance);
            distances += distance;
        }
        const double log_sum = log(row.sum(sum));
        if (smoothing > 0) distances = row.sum(distances);
        if (row.lane() == 0) {
            const bool known = target < columns;
            double loss = (1 - smoothing) * (log_sum - (known ? double(widen(from[target]) - largest) : 0));
            if (smoothing > 0) loss += everywhere * (columns * log_sum - distances);
            partial[i] = known ? loss : double(infinity<W>() - infinity<W>());
        }
        if (!gradient) continue;
        for (int column = row.lane(); column < columns; column += row.width()) {
            double probability = exponential(W((widen(from[column]) - largest) - log_sum));
            double wanted = everywhere + (column == target ? 1 - smoothing : 0);
            gradient[int64(i) * columns + column] = narrow<T>(W((probability - wanted) * inverse));
        }
    }
}

// One block: the mean of the rows' losses.
template <typename T>
__device__ void finish(const double* partial, T* loss, int64 rows) {
    double sum = 0;
    for (int64 i = threadIdx.x; i < rows; i += THREADS) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *loss = narrow<T>(Wide<T>(sum / rows));
}

#define INSTANCE(T, suffix)                                                                                         \
    KERNEL(cross_entropy_rows_##suffix, const T* logits, const uint32* targets, double* partial, T* gradient,       \
           int rows, int columns, double smoothing) {                                                           \
        rows_of<T, false>(logits, targets, partial, gradient, rows, columns, smoothing);                            \
    }                                                                                                               \
    KERNEL(cross_entropy_rows_long_##suffix, const T* logits, const uint32* targets, double* partial, T* gradient,  \
           int rows, int columns, double smoothing) {                                                           \
        rows_of<T, true>(logits, targets, partial, gradient, rows, columns, smoothing);                             \
    }                                                                                                               \
    KERNEL(cross_entropy_finish_##suffix, const double* partial, T* loss, int64 rows) {                             \
        finish(partial, loss, rows);                                                                                \
    }
EACH_TYPE(INSTANCE)
