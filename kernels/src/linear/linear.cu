// The bias of a linear map, and its gradient: a thread a column.
#include "taper.cuh"

template <typename T>
__device__ void add_bias(const T* x, const T* bias, T* y, uint32 length, uint32 columns) {
    for (uint32 i = short_thread(); i < length; i += short_threads())
        y[i] = narrow<T>(widen(x[i]) + widen(bias[i % columns]));
}

template <typename T>
__device__ void column_sums(const T* values, T* sums, int64 rows, int64 columns) {
    for (int64 column = grid_thread(); column < columns; column += grid_threads()) {
        double sum = 0;
        for (int64 row = 0; row < rows; row++) sum += widen(values[row * columns + column]);
        sums[column] = narrow<T>(Wide<T>(sum));
    }
}

#define INSTANCE(T, suffix)                                                                      \
    KERNEL(linear_add_bias_##suffix, const T* x, const T* bias, T* y, int length, int columns) { \
        add_bias(x, bias, y, uint32(length), uint32(columns));                                   \
    }                                                                                            \
    KERNEL(linear_column_sums_##suffix, const T* values, T* sums, int64 rows, int64 columns) {   \
        column_sums(values, sums, rows, columns);                                                \
    }
EACH_TYPE(INSTANCE)
