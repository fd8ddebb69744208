// Maxima over windows, where each was found, and the derivative as a gather: one thread an element.
#include "taper.cuh"

// The windows along one axis: `count` of them.
struct Axis {
    int length, count, window, stride, padding;
};

// positions may be null. NaN wins; of equal elements the first.
template <typename T>
__device__ void maxima(const T* x, T* y, uint32* positions, int64 planes, const Axis& rows, const Axis& columns) {
    for (int64 i = grid_thread(); i < planes * rows.count * columns.count; i += grid_threads()) {
        int64 line = i / columns.count;
        int plane = int(line / rows.count), column = int(i - line * columns.count);
        int top = int(line - int64(plane) * rows.count) * rows.stride - rows.padding;
        int left = column * columns.stride - columns.padding;
        int bottom = min(top + rows.window, rows.length), right = min(left + columns.window, columns.length);
        top = max(top, 0);
        left = max(left, 0);
        const T* image = x + int64(plane) * rows.length * columns.length;
        int64 found = int64(top) * columns.length + left;
        T best = image[found];
        for (int r = top; r < bottom; r++)
            for (int c = left; c < right; c++) {
                int64 at = int64(r) * columns.length + c;
                Wide<T> value = widen(image[at]);
                if (value > widen(best) || value != value) {
                    best = image[at];
                    found = at;
                }
            }
        y[i] = best;
        if (positions) positions[i] = uint32(found);
    }
}

template <typename T>
__device__ void spread_maxima(const T* gradient, const uint32* positions, T* dx, int64 planes, const Axis& rows,
                              const Axis& columns) {
    for (int64 i = grid_thread(); i < planes * rows.length * columns.length; i += grid_threads()) {
        int64 line = i / columns.length;
        int plane = int(line / rows.length), column = int(i - line * columns.length) + columns.padding;
        int row = int(line - int64(plane) * rows.length) + rows.padding;
        uint32 here = uint32(i - int64(plane) * rows.length * columns.length);
        int top = row >= rows.window ? (row - rows.window) / rows.stride + 1 : 0;
        int left = column >= columns.window ? (column - columns.window) / columns.stride + 1 : 0;
        int bottom = min(row / rows.stride + 1, rows.count), right = min(column / columns.stride + 1, columns.count);
        int64 image = int64(plane) * rows.count * columns.count;
        Wide<T> sum = Wide<T>(0);
        for (int r = top; r < bottom; r++)
            for (int c = left; c < right; c++) {
                int64 at = image + int64(r) * columns.count + c;
                if (positions[at] == here) sum += widen(gradient[at]);
            }
        dx[i] = narrow<T>(sum);
    }
}

#define AXES                                                                                       \
    int height, int rows, int row_window, int row_stride, int row_padding, int width, int columns, \
        int column_window, int column_stride, int column_padding
#define OF_AXES                                                           \
    Axis{height, rows, row_window, row_stride, row_padding}, Axis {       \
        width, columns, column_window, column_stride, column_padding      \
    }
#define INSTANCE(T, suffix)                                                                              \
    KERNEL(maxima_##suffix, const T* x, T* y, uint32* positions, int64 planes, AXES) {                   \
        maxima(x, y, positions, planes, OF_AXES);                                                        \
    }                                                                                                    \
    KERNEL(spread_maxima_##suffix, const T* gradient, const uint32* positions, T* dx, int64 planes, AXES) { \
        spread_maxima(gradient, positions, dx, planes, OF_AXES);                                         \
    }
EACH_TYPE(INSTANCE)
