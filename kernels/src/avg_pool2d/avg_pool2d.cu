// Means over windows and over whole images, and their derivatives as gathers: one thread an element.
#include "taper.cuh"

// The windows along one axis: `count` of them, fitted to the length if `window` is 0.
struct Axis {
    int length, count, window, stride, padding, include_pad;

    // The input elements of window `index`; returns what sums over it are divided by.
    __device__ int range(int index, int& begin, int& end) const {
        if (window == 0) {
            begin = int(int64(index) * length / count);
            end = int((int64(index + 1) * length + count - 1) / count);
            return end - begin;
        }
        int first = index * stride - padding, last = min(first + window, length + padding);
        begin = max(first, 0);
        end = min(last, length);
        return include_pad ? last - first : end - begin;
    }

    // The windows that have input element `at`.
    __device__ void readers(int at, int& begin, int& end) const {
        if (window == 0) {
            begin = int(int64(at) * count / length);
            end = int((int64(at + 1) * count - 1) / length) + 1;
            return;
        }
        int before = at + padding - window + 1;
        begin = before > 0 ? (before + stride - 1) / stride : 0;
        end = min((at + padding) / stride + 1, count);
    }
};

template <typename T>
__device__ void window_means(const T* x, T* y, int64 planes, const Axis& rows, const Axis& columns) {
    for (int64 i = grid_thread(); i < planes * rows.count * columns.count; i += grid_threads()) {
        int64 line = i / columns.count;
        int plane = int(line / rows.count), column = int(i - line * columns.count);
        int top, bottom, left, right;
        Wide<T> divisor = Wide<T>(rows.range(int(line - int64(plane) * rows.count), top, bottom));
        divisor *= Wide<T>(columns.range(column, left, right));
        const T* image = x + int64(plane) * rows.length * columns.length;
        Wide<T> sum = Wide<T>(0);
        for (int r = top; r < bottom; r++)
            for (int c = left; c < right; c++) sum += widen(image[int64(r) * columns.length + c]);
        y[i] = narrow<T>(sum / divisor);
    }
}

template <typename T>
__device__ void spread_means(const T* gradient, T* dx, int64 planes, const Axis& rows, const Axis& columns) {
    for (int64 i = grid_thread(); i < planes * rows.length * columns.length; i += grid_threads()) {
        int64 line = i / columns.length;
        int plane = int(line / rows.length), column = int(i - line * columns.length);
        int top, bottom, left, right, begin, end;
        rows.readers(int(line - int64(plane) * rows.length), top, bottom);
        columns.readers(column, left, right);
        const T* image = gradient + int64(plane) * rows.count * columns.count;
        Wide<T> sum = Wide<T>(0);
        for (int r = top; r < bottom; r++) {
            Wide<T> of_row = Wide<T>(rows.range(r, begin, end));
            for (int c = left; c < right; c++) {
                Wide<T> divisor = of_row * Wide<T>(columns.range(c, begin, end));
                sum += widen(image[int64(r) * columns.count + c]) / divisor;
            }
        }
        dx[i] = narrow<T>(sum);
    }
}

// One block an image.
template <typename T>
__device__ void image_means(const T* x, T* y, int64 size) {
    const T* image = x + blockIdx.x * size;
    Wide<T> sum = Wide<T>(0);
    for (int64 i = threadIdx.x; i < size; i += THREADS) sum += widen(image[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) y[blockIdx.x] = narrow<T>(sum / Wide<T>(size));
}

template <typename T>
__device__ void spread_image_means(const T* gradient, T* dx, int64 images, int64 size) {
    for (int64 i = grid_thread(); i < images * size; i += grid_threads())
        dx[i] = narrow<T>(widen(gradient[i / size]) / Wide<T>(size));
}

#define AXES                                                                                             \
    int height, int rows, int row_window, int row_stride, int row_padding, int width, int columns,       \
        int column_window, int column_stride, int column_padding, int include_pad
#define OF_AXES                                                                      \
    Axis{height, rows, row_window, row_stride, row_padding, include_pad}, Axis {     \
        width, columns, column_window, column_stride, column_padding, include_pad    \
    }
#define INSTANCE(T, suffix)                                                                              \
    KERNEL(window_means_##suffix, const T* x, T* y, int64 planes, AXES) {                                \
        window_means(x, y, planes, OF_AXES);                                                             \
    }                                                                                                    \
    KERNEL(spread_means_##suffix, const T* gradient, T* dx, int64 planes, AXES) {                        \
        spread_means(gradient, dx, planes, OF_AXES);                                                     \
    }                                                                                                    \
    KERNEL(image_means_##suffix, const T* x, T* y, int64 size) { image_means(x, y, size); }              \
    KERNEL(spread_image_means_##suffix, const T* gradient, T* dx, int64 images, int64 size) {            \
        spread_image_means(gradient, dx, images, size);                                                  \
    }
EACH_TYPE(INSTANCE)
