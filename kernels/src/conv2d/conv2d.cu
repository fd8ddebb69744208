// Two-dimensional convolution: output, input gradient and weight gradient, with groups, any
// stride, padding and dilation.
//
// Each pass is a matrix product whose right-hand side is gathered while it is read (implicit
// GEMM): a block makes a TILE x TILE part of the result of one group in registers, 4 x 4 a
// thread, from strips of DEPTH steps of the sum that it puts into shared memory. What a step of the sum
// means (which channel, which tap, or which pixel) is worked out once a strip and kept beside it.
// Where a group has few channels a tile would be empty: `direct` kernels compute an element a
// thread (the weight gradient: a block).
//
// The weight gradient's long sum is cut into `splits` parts, which another kernel adds in order.
#include "taper.cuh"

constexpr int SIDE = THREADS == 256 ? 16 : 8;  // threads along a side of the tile
constexpr int EACH = 4;                        // elements of a thread along a side
constexpr int TILE = SIDE * EACH;
constexpr int DEPTH = 16;
constexpr int LINE = TILE + 4;  // a step of a strip in shared memory
constexpr int LOADS = TILE * DEPTH / THREADS;
static_assert(THREADS == SIDE * SIDE && TILE * DEPTH % THREADS == 0, "tiles are square");

struct Geometry {
    int batch, groups, in_channels, out_channels;  // channels of one group
    int height, width, rows, columns;              // of the input, of the output
    int kernel_height, kernel_width, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;

    __device__ int taps() const { return kernel_height * kernel_width; }
    __device__ int input_plane() const { return height * width; }
    __device__ int output_plane() const { return rows * columns; }
};

// What one step of a sum adds to addresses and coordinates.
struct Step {
    int left, right;  // offsets into the operands
    int y, x;
};

// Products are made of three descriptions:
//   Step step(k)            what step k of the sum is
//   Place place(n)          what column n of the result is
//   W left(m, step), W right(step, place): the operands' elements; 0 outside

// y[k, (image, pixel)] = sum over (c, tap) of w[k, (c, tap)] x[image, c, pixel moved by tap]
template <typename T>
struct Output {
    typedef Wide<T> W;
    struct Place {
        int base, y, x;
    };
    const T* input;   // of the group
    const T* weight;  // of the group
    Geometry g;
    static constexpr bool RIGHT_BY_STEP = false;

    __device__ int left_size() const { return g.out_channels; }
    __device__ int right_size() const { return g.batch * g.output_plane(); }
    __device__ int sum_size() const { return g.in_channels * g.taps(); }
    __device__ Step step(int k) const {
        int c = k / g.taps(), tap = k - c * g.taps();
        int y = tap / g.kernel_width * g.dilation_y, x = tap % g.kernel_width * g.dilation_x;
        return {k, c * g.input_plane() + y * g.width + x, y, x};
    }
    __device__ Place place(int n) const {
        int image = n / g.output_plane(), pixel = n - image * g.output_plane();
        int y = pixel / g.columns * g.stride_y - g.padding_y, x = pixel % g.columns * g.stride_x - g.padding_x;
        return {image * g.groups * g.in_channels * g.input_plane() + y * g.width + x, y, x};
    }
    __device__ W left(int m, Step step) const { return widen(weight[m * sum_size() + step.left]); }
    __device__ W right(Step step, Place place) const {
        int y = place.y + step.y, x = place.x + step.x;
        bool inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
        return inside ? widen(input[place.base + step.right]) : W(0);
    }
};

// dx[c, (image, pixel)] = sum over (k, tap) of w[k, c, tap] dy[image, k, pixel moved back by tap]
template <typename T>
struct InputGradient {
    typedef Wide<T> W;
    struct Place {
        int base, y, x;
    };
    const T* gradient;
    const T* weight;
    Geometry g;
    static constexpr bool RIGHT_BY_STEP = false;

    __device__ int left_size() const { return g.in_channels; }
    __device__ int right_size() const { return g.batch * g.input_plane(); }
    __device__ int sum_size() const { return g.out_channels * g.taps(); }
    __device__ Step step(int k) const {
        int channel = k / g.taps(), tap = k - channel * g.taps();
        return {channel * g.in_channels * g.taps() + tap, channel * g.output_plane(),
                tap / g.kernel_width * g.dilation_y, tap % g.kernel_width * g.dilation_x};
    }
    __device__ Place place(int n) const {
        int image = n / g.input_plane(), pixel = n - image * g.input_plane();
        return {image * g.groups * g.out_channels * g.output_plane(), pixel / g.width + g.padding_y,
                pixel % g.width + g.padding_x};
    }
    __device__ W left(int m, Step step) const { return widen(weight[m * g.taps() + step.left]); }
    __device__ W right(Step step, Place place) const {
        int y = place.y - step.y, x = place.x - step.x;
        if (y < 0 || x < 0) return W(0);
        int row = y, column = x;
        if (g.stride_y > 1 || g.stride_x > 1) {
            row = y / g.stride_y;
            column = x / g.stride_x;
            if (row * g.stride_y != y || column * g.stride_x != x) return W(0);
        }
        if (row >= g.rows || column >= g.columns) return W(0);
        return widen(gradient[place.base + step.right + row * g.columns + column]);
    }
};

// dw[k, (c, tap)] = sum over (image, pixel) of dy[image, k, pixel] x[image, c, pixel moved by tap]
template <typename T>
struct WeightGradient {
    typedef Wide<T> W;
    struct Place {
        int base, y, x;
    };
    const T* input;
    const T* gradient;
    Geometry g;
    static constexpr bool RIGHT_BY_STEP = true;  // neighbouring steps are neighbouring pixels

    __device__ int left_size() const { return g.out_channels; }
    __device__ int right_size() const { return g.in_channels * g.taps(); }
    __device__ int sum_size() const { return g.batch * g.output_plane(); }
    __device__ Step step(int k) const {
        int image = k / g.output_plane(), pixel = k - image * g.output_plane();
        int y = pixel / g.columns * g.stride_y - g.padding_y, x = pixel % g.columns * g.stride_x - g.padding_x;
        return {image * g.groups * g.out_channels * g.output_plane() + pixel,
                image * g.groups * g.in_channels * g.input_plane() + y * g.width + x, y, x};
    }
    __device__ Place place(int n) const {
        int c = n / g.taps(), tap = n - c * g.taps();
        int y = tap / g.kernel_width * g.dilation_y, x = tap % g.kernel_width * g.dilation_x;
        return {c * g.input_plane() + y * g.width + x, y, x};
    }
    __device__ W left(int m, Step step) const { return widen(gradient[m * g.output_plane() + step.left]); }
    __device__ W right(Step step, Place place) const {
        int y = place.y + step.y, x = place.x + step.x;
        bool inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
        return inside ? widen(input[place.base + step.right]) : W(0);
    }
};

// The part of the product that this block makes, over steps start .. end; store(m, n, value) for
// each of its elements.
template <typename Product, typename Store>
__device__ void multiply(const Product& product, int start, int end, Store store) {
    typedef typename Product::W W;
    BLOCK_SHARED(W, left, DEPTH * LINE);
    BLOCK_SHARED(W, right, DEPTH * LINE);
    BLOCK_SHARED(Step, steps, 2 * DEPTH);
    const int thread = threadIdx.x;
    const int first_m = blockIdx.y * TILE, first_n = blockIdx.x * TILE;
    const int left_size = product.left_size(), right_size = product.right_size();

    // Which column this thread gathers, or, where neighbouring threads take neighbouring steps, which columns.
    constexpr int PLACES = Product::RIGHT_BY_STEP ? LOADS : 1;
    constexpr int COLUMNS_APART = THREADS / DEPTH;
    typename Product::Place places[PLACES];
#pragma unroll
    for (int i = 0; i < PLACES; i++) {
        int n = first_n + (Product::RIGHT_BY_STEP ? thread / DEPTH + i * COLUMNS_APART : thread % TILE);
        places[i] = product.place(n < right_size ? n : 0);
    }

    W sum[EACH][EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) sum[i][j] = W(0);

    if (thread < DEPTH && start + thread < end) steps[thread] = product.step(start + thread);
    __syncthreads();
    int half = 0;
    for (int k = start; k < end; k += DEPTH, half ^= DEPTH) {
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            int depth = thread % DEPTH, line = thread / DEPTH + i * COLUMNS_APART;
            bool inside = k + depth < end && first_m + line < left_size;
            left[depth * LINE + line] = inside ? product.left(first_m + line, steps[half + depth]) : W(0);
        }
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            int depth, column;
            if (Product::RIGHT_BY_STEP) {
                depth = thread % DEPTH;
                column = thread / DEPTH + i * COLUMNS_APART;
            } else {
                depth = thread / TILE + i * (THREADS / TILE);
                column = thread % TILE;
            }
            bool inside = k + depth < end && first_n + column < right_size;
            right[depth * LINE + column] =
                inside ? product.right(steps[half + depth], places[Product::RIGHT_BY_STEP ? i : 0]) : W(0);
        }
        // The next strip's steps go to the other half.
        if (thread < DEPTH && k + DEPTH + thread < end)
            steps[(half ^ DEPTH) + thread] = product.step(k + DEPTH + thread);
        __syncthreads();
#pragma unroll
        for (int depth = 0; depth < DEPTH; depth++) {
            W a[EACH], b[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                a[i] = left[depth * LINE + thread / SIDE * EACH + i];
                b[i] = right[depth * LINE + thread % SIDE * EACH + i];
            }
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sum[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            int m = first_m + thread / SIDE * EACH + i, n = first_n + thread % SIDE * EACH + j;
            if (m < left_size && n < right_size) store(m, n, sum[i][j]);
        }
}

// act(value + bias + residual)
template <typename T>
struct Finish {
    const T* bias;
    const T* residual;
    T* output;
    int rectify;

    __device__ void store(int channel, int offset, Wide<T> value) const {
        if (bias) value += widen(bias[channel]);
        if (residual) value += widen(residual[offset]);
        if (rectify && value <= Wide<T>(0)) value = Wide<T>(0);
        output[offset] = narrow<T>(value);
    }
};

template <typename T>
__device__ void forward(const T* input, const T* weight, Finish<T> finish, Geometry g) {
    const int group = blockIdx.z;
    Output<T> product = {input + group * g.in_channels * g.input_plane(),
                         weight + group * g.out_channels * g.in_channels * g.taps(), g};
    multiply(product, 0, product.sum_size(), [&](int m, int n, Wide<T> value) {
        int image = n / g.output_plane(), pixel = n - image * g.output_plane();
        int channel = group * g.out_channels + m;
        finish.store(channel, (image * g.groups * g.out_channels + channel) * g.output_plane() + pixel, value);
    });
}

template <typename T>
__device__ void input_gradient(const T* gradient, const T* weight, T* dx, Geometry g) {
    const int group = blockIdx.z;
    InputGradient<T> product = {gradient + group * g.out_channels * g.output_plane(),
                                weight + group * g.out_channels * g.in_channels * g.taps(), g};
    multiply(product, 0, product.sum_size(), [&](int m, int n, Wide<T> value) {
        int image = n / g.input_plane(), pixel = n - image * g.input_plane();
        int channel = (image * g.groups + group) * g.in_channels + m;
        dx[channel * g.input_plane() + pixel] = narrow<T>(value);
    });
}

// partial: [splits, weight] in the wide type.
template <typename T>
__device__ void weight_gradient(const T* input, const T* gradient, Wide<T>* partial, int splits, Geometry g) {
    const int group = blockIdx.z / splits, split = blockIdx.z - group * splits;
    WeightGradient<T> product = {input + group * g.in_channels * g.input_plane(),
                                 gradient + group * g.out_channels * g.output_plane(), g};
    const int size = product.right_size(), group_size = g.out_channels * size;
    const int part = (product.sum_size() + splits - 1) / splits;
    const int start = min(part * split, product.sum_size()), end = min(start + part, product.sum_size());
    Wide<T>* result = partial + (int64(split) * g.groups + group) * group_size;
    multiply(product, start, end, [&](int m, int n, Wide<T> value) { result[m * size + n] = value; });
}

// An element a thread.
template <typename T>
__device__ void forward_direct(const T* input, const T* weight, Finish<T> finish, Geometry g) {
    const int64 count = int64(g.batch) * g.groups * g.out_channels * g.output_plane();
    for (int64 index = grid_thread(); index < count; index += grid_threads()) {
        int at = int(index), plane = at / g.output_plane(), pixel = at - plane * g.output_plane();
        int image = plane / (g.groups * g.out_channels), channel = plane - image * g.groups * g.out_channels;
        int group = channel / g.out_channels;
        int top = pixel / g.columns * g.stride_y - g.padding_y, start = pixel % g.columns * g.stride_x - g.padding_x;
        const T* w = weight + channel * g.in_channels * g.taps();
        const T* x = input + (image * g.groups + group) * g.in_channels * g.input_plane();
        Wide<T> sum = 0;
        for (int c = 0; c < g.in_channels; c++, x += g.input_plane())
            for (int ky = 0; ky < g.kernel_height; ky++)
                for (int kx = 0; kx < g.kernel_width; kx++, w++) {
                    int row = top + ky * g.dilation_y, column = start + kx * g.dilation_x;
                    if (row >= 0 && row < g.height && column >= 0 && column < g.width)
                        sum += widen(*w) * widen(x[row * g.width + column]);
                }
        finish.store(channel, at, sum);
    }
}

template <typename T>
__device__ void input_gradient_direct(const T* gradient, const T* weight, T* dx, Geometry g) {
    const int64 count = int64(g.batch) * g.groups * g.in_channels * g.input_plane();
    for (int64 index = grid_thread(); index < count; index += grid_threads()) {
        int at = int(index), plane = at / g.input_plane(), pixel = at - plane * g.input_plane();
        int image = plane / (g.groups * g.in_channels), channel = plane - image * g.groups * g.in_channels;
        int group = channel / g.in_channels, c = channel - group * g.in_channels;
        int top = pixel / g.width + g.padding_y, start = pixel % g.width + g.padding_x;
        const T* w = weight + (group * g.out_channels * g.in_channels + c) * g.taps();
        const T* dy = gradient + (image * g.groups + group) * g.out_channels * g.output_plane();
        Wide<T> sum = 0;
        for (int k = 0; k < g.out_channels; k++, dy += g.output_plane(), w += g.in_channels * g.taps())
            for (int ky = 0; ky < g.kernel_height; ky++) {
                int y = top - ky * g.dilation_y, row = y / g.stride_y;
                if (y < 0 || row * g.stride_y != y || row >= g.rows) continue;
                for (int kx = 0; kx < g.kernel_width; kx++) {
                    int x = start - kx * g.dilation_x, column = x / g.stride_x;
                    if (x < 0 || column * g.stride_x != x || column >= g.columns) continue;
                    sum += widen(w[ky * g.kernel_width + kx]) * widen(dy[row * g.columns + column]);
                }
            }
        dx[at] = narrow<T>(sum);
    }
}

// A block for an element of the weight and a part of the sum: grid x, y.
template <typename T>
__device__ void weight_gradient_direct(const T* input, const T* gradient, Wide<T>* partial, Geometry g) {
    const int element = blockIdx.x, splits = gridDim.y, split = blockIdx.y;
    const int filter = element / g.taps(), tap = element - filter * g.taps();
    const int k = filter / g.in_channels, c = filter - k * g.in_channels, group = k / g.out_channels;
    WeightGradient<T> product = {input + group * g.in_channels * g.input_plane(),
                                 gradient + group * g.out_channels * g.output_plane(), g};
    const typename WeightGradient<T>::Place place = product.place(c * g.taps() + tap);
    const int part = (product.sum_size() + splits - 1) / splits;
    const int start = min(part * split, product.sum_size()), end = min(start + part, product.sum_size());
    Wide<T> sum = 0;
    for (int index = start + threadIdx.x; index < end; index += THREADS) {
        Step step = product.step(index);
        sum += product.left(k - group * g.out_channels, step) * product.right(step, place);
    }
    double total = block_sum(double(sum));
    if (threadIdx.x == 0) partial[int64(split) * gridDim.x + element] = Wide<T>(total);
}

template <typename T>
__device__ void add_splits(const Wide<T>* partial, T* dw, int splits, int64 length) {
    for (int64 index = grid_thread(); index < length; index += grid_threads()) {
        double sum = 0;
        for (int split = 0; split < splits; split++) sum += partial[split * length + index];
        dw[index] = narrow<T>(Wide<T>(sum));
    }
}

// A block a channel of [batch, channels, plane].
template <typename T>
__device__ void channel_sums(const T* values, T* sums, int batch, int channels, int plane) {
    double sum = 0;
    for (int image = 0; image < batch; image++) {
        const T* start = values + (int64(image) * channels + blockIdx.x) * plane;
        for (int pixel = threadIdx.x; pixel < plane; pixel += THREADS) sum += widen(start[pixel]);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = narrow<T>(Wide<T>(sum));
}

#define GEOMETRY                                                                                                  \
    int batch, int groups, int in_channels, int out_channels, int height, int width, int rows, int columns,      \
        int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y, int padding_x,           \
        int dilation_y, int dilation_x
#define THE_GEOMETRY                                                                                              \
    {                                                                                                             \
        batch, groups, in_channels, out_channels, height, width, rows, columns, kernel_height, kernel_width,      \
            stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x                                      \
    }

#define INSTANCE(T, suffix)                                                                                       \
    KERNEL(conv2d_forward_##suffix, const T* input, const T* weight, const T* bias, const T* residual, T* output, \
           int rectify, GEOMETRY) {                                                                               \
        forward<T>(input, weight, {bias, residual, output, rectify}, THE_GEOMETRY);                               \
    }                                                                                                             \
    KERNEL(conv2d_forward_direct_##suffix, const T* input, const T* weight, const T* bias, const T* residual,     \
           T* output, int rectify, GEOMETRY) {                                                                    \
        forward_direct<T>(input, weight, {bias, residual, output, rectify}, THE_GEOMETRY);                        \
    }                                                                                                             \
    KERNEL(conv2d_input_gradient_##suffix, const T* gradient, const T* weight, T* dx, GEOMETRY) {                 \
        input_gradient<T>(gradient, weight, dx, THE_GEOMETRY);                                                    \
    }                                                                                                             \
    KERNEL(conv2d_input_gradient_direct_##suffix, const T* gradient, const T* weight, T* dx, GEOMETRY) {          \
        input_gradient_direct<T>(gradient, weight, dx, THE_GEOMETRY);                                             \
    }                                                                                                             \
    KERNEL(conv2d_weight_gradient_##suffix, const T* input, const T* gradient, Wide<T>* partial, int splits,      \
           GEOMETRY) {                                                                                            \
        weight_gradient<T>(input, gradient, partial, splits, THE_GEOMETRY);                                       \
    }                                                                                                             \
    KERNEL(conv2d_weight_gradient_direct_##suffix, const T* input, const T* gradient, Wide<T>* partial,           \
           GEOMETRY) {                                                                                            \
        weight_gradient_direct<T>(input, gradient, partial, THE_GEOMETRY);                                        \
    }                                                                                                             \
    KERNEL(conv2d_add_splits_##suffix, const Wide<T>* partial, T* dw, int splits, int64 length) {                 \
        add_splits<T>(partial, dw, splits, length);                                                               \
    }                                                                                                             \
    KERNEL(conv2d_channel_sums_##suffix, const T* values, T* sums, int batch, int channels, int plane) {          \
        channel_sums<T>(values, sums, batch, channels, plane);                                                    \
    }
EACH_TYPE(INSTANCE)
