// Bilinear and nearest resize, and their derivatives as gathers: one thread an output element.
//
// Along each axis the input elements that an output reads follow each other, so the outputs
// that read an input are a range too: a first kernel writes where each range starts, so that
// the derivative neither scatters nor searches.
#include "taper.cuh"

// One axis. Coordinates are computed as the CPU and PyTorch compute them, in the wide type.
template <typename W>
struct Axis {
    int input, output;
    int method;  // NEAREST, HALF_PIXELS, CORNERS
    W scale;

    static constexpr int NEAREST = 0, HALF_PIXELS = 1, CORNERS = 2;

    __device__ Axis(int input, int output, int method, double scale)
        : input(input), output(output), method(method), scale(W(scale)) {}

    // The input element that output `index` reads, and the weight of the one behind it.
    __device__ int low(int index, W& weight) const {
        weight = W(0);
        if (input == output) return index;
        W source = method == HALF_PIXELS ? rounded_once(W(index) + W(0.5)) : scale * W(index);
        int first = min(int(source), input - 1);
        W beyond = source - W(first);
        if (method != NEAREST) weight = beyond < W(0) ? W(0) : beyond > W(1) ? W(1) : beyond;
        return first;
    }

    __device__ int high(int low) const { return input == output ? low : min(low + 1, input - 1); }

    __device__ W rounded_once(W place) const {
        W source;
        if constexpr (sizeof(W) == 8)
            source = fma(scale, place, -0.5);
        else
            source = fmaf(scale, place, -0.5f);
        return source > W(0) ? source : W(0);
    }
};

template <typename T>
__device__ void forward(const T* x, T* y, int64 planes, int height, int width, int rows, int columns, int method,
                        double row_scale, double column_scale) {
    typedef Wide<T> W;
    const Axis<W> down(height, rows, method, row_scale), along(width, columns, method, column_scale);
    for (int64 i = grid_thread(); i < planes * rows * columns; i += grid_threads()) {
        int64 line = i / columns, image = line / rows;
        int column = int(i - line * columns), row = int(line - image * rows);
        const T* plane = x + image * height * width;
        W of_row, of_column;
        int top = down.low(row, of_row), left = along.low(column, of_column);
        if (method == Axis<W>::NEAREST) {
            y[i] = plane[int64(top) * width + left];
            continue;
        }
        const T* above = plane + int64(top) * width;
        const T* below = plane + int64(down.high(top)) * width;
        int right = along.high(left);
        W first = widen(above[left]) * (W(1) - of_column) + widen(above[right]) * of_column;
        W second = widen(below[left]) * (W(1) - of_column) + widen(below[right]) * of_column;
        y[i] = narrow<T>(first * (W(1) - of_row) + second * of_row);
    }
}

// starts[i]: the first output that reads element i or a later one first; both axes, `input + 1` each.
template <typename W>
__device__ void starts(uint32* of_rows, uint32* of_columns, int height, int width, int rows, int columns, int method,
                       double row_scale, double column_scale) {
    for (int64 i = grid_thread(); i < int64(height) + width + 2; i += grid_threads()) {
        bool vertical = i <= height;
        const Axis<W> axis(vertical ? height : width, vertical ? rows : columns, method,
                           vertical ? row_scale : column_scale);
        int element = int(vertical ? i : i - height - 1);
        int begin = 0, end = axis.output;
        while (begin < end) {
            int middle = begin + (end - begin) / 2;
            W weight;
            if (axis.low(middle, weight) < element)
                begin = middle + 1;
            else
                end = middle;
        }
        (vertical ? of_rows : of_columns)[element] = uint32(begin);
    }
}

// The weight with which an output that reads `low` and the element behind it reads `element`, twice if both are it.
// (Not one sum: a weight of 0 times an infinite gradient is NaN, but only where the element is read at all.)
template <typename W>
struct Reading {
    bool first, second;
    W weights[2];

    __device__ Reading(const Axis<W>& axis, int index, int element) {
        W weight;
        int low = axis.low(index, weight);
        first = low == element;
        second = axis.method != Axis<W>::NEAREST && axis.high(low) == element;
        weights[0] = W(1) - weight;
        weights[1] = weight;
    }

    __device__ W of(W gradient) const {
        W sum = W(0);
        if (first) sum += gradient * weights[0];
        if (second) sum += gradient * weights[1];
        return sum;
    }
};

template <typename T>
__device__ void backward(const T* gradient, const uint32* of_rows, const uint32* of_columns, T* dx, int64 planes,
                         int height, int width, int rows, int columns, int method,
                        double row_scale, double column_scale) {
    typedef Wide<T> W;
    const Axis<W> down(height, rows, method, row_scale), along(width, columns, method, column_scale);
    const int before = method == Axis<W>::NEAREST ? 0 : 1;
    for (int64 i = grid_thread(); i < planes * height * width; i += grid_threads()) {
        int64 line = i / width, image = line / height;
        int column = int(i - line * width), row = int(line - image * height);
        const T* plane = gradient + image * rows * columns;
        int top = of_rows[max(row - before, 0)], bottom = of_rows[row + 1];
        int left = of_columns[max(column - before, 0)], right = of_columns[column + 1];
        W sum = W(0);
        for (int r = top; r < bottom; r++) {
            Reading<W> vertical(down, r, row);
            if (!vertical.first && !vertical.second) continue;
            W of_row = W(0);
            for (int c = left; c < right; c++)
                of_row += Reading<W>(along, c, column).of(widen(plane[int64(r) * columns + c]));
            sum += vertical.of(of_row);
        }
        dx[i] = narrow<T>(sum);
    }
}

#define AXES int height, int width, int rows, int columns, int method, double row_scale, double column_scale
#define OF_AXES height, width, rows, columns, method, row_scale, column_scale
#define INSTANCE(T, suffix)                                                                                     \
    KERNEL(resize_##suffix, const T* x, T* y, int64 planes, AXES) {                                             \
        forward(x, y, planes, OF_AXES);                                                                         \
    }                                                                                                           \
    KERNEL(resize_starts_##suffix, uint32* of_rows, uint32* of_columns, AXES) {                                 \
        starts<Wide<T>>(of_rows, of_columns, OF_AXES);                                                          \
    }                                                                                                           \
    KERNEL(resize_gradient_##suffix, const T* gradient, const uint32* of_rows, const uint32* of_columns, T* dx, \
           int64 planes, AXES) {                                                                                \
        backward(gradient, of_rows, of_columns, dx, planes, OF_AXES);                                           \
    }
EACH_TYPE(INSTANCE)
