// One-dimensional convolution, dense or grouped, and its two gradients.
//
// Each pass is a matrix product whose right side is gathered on the way into shared memory:
//   forward          y[k][n,p]   = Σ_(c,t) w[k][c,t]   · x[n,c][p·stride + t·dilation − before]
//   input gradient   dx[c][n,i]  = Σ_(k,t) w[k,c,t]    · dy[n,k][(i + before − t·dilation) / stride]
//   weight gradient  dw[k][c,t]  = Σ_(n,p) dy[n,k][p]  · x[n,c][p·stride + t·dilation − before]
// The input gradient takes the input's positions by their remainder by the stride, one launch each,
// so that every tap counts; the weight gradient cuts its long sums into chunks, added in order by a
// second kernel. Groups of few rows (depthwise) have kernels of one thread or one block a result.
#include "taper.cuh"

constexpr int SIDE = THREADS == 256 ? 16 : 8;  // threads along each side of a tile
static_assert(SIDE * SIDE == THREADS, "blocks are square");
constexpr int EACH = 4;            // rows and columns of a thread
constexpr int TILE = SIDE * EACH;  // rows and columns of a block
constexpr int DEPTH = 16;          // steps of the sum that shared memory holds

struct Sizes {
    int batch, groups, group_in, group_out, length, kernel, positions, stride, before, dilation;

    __device__ int64 inputs() const { return int64(groups) * group_in; }
    __device__ int64 outputs() const { return int64(groups) * group_out; }
};

// A step of a sum over two indices, of which `minor` runs below `count`.
struct Step {
    int major, minor;

    Step() = default;
    __device__ Step(int64 index, int count) : major(int(index / count)), minor(int(index % count)) {}

    __device__ void advance(int by_major, int by_minor, int count) {
        major += by_major;
        minor += by_minor;
        if (minor >= count) {
            minor -= count;
            major++;
        }
    }
};

// One tile of a product: rows and columns of `problem` from `first_row` and `first_column` on, steps begin…end.
template <typename W, typename Problem>
__device__ void product(const Problem& problem, int64 first_row, int64 first_column, int64 begin, int64 end) {
    BLOCK_SHARED(W, left, DEPTH * (TILE + 1));
    BLOCK_SHARED(W, right, DEPTH * TILE);
    constexpr int LOADS = DEPTH * TILE / THREADS;
    constexpr int APART = THREADS / TILE;
    const int thread = threadIdx.x, count = problem.minors;
    const int by_major = DEPTH / count, by_minor = DEPTH % count;
    // This thread loads step `thread % DEPTH` of several rows of the left side, and several steps of one
    // column of the right side.
    const typename Problem::Column column = problem.column(first_column + thread % TILE);
    Step of_row(begin + thread % DEPTH, count);
    Step of_column[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) of_column[i] = Step(begin + thread / TILE + i * APART, count);
    W sums[EACH][EACH] = {};
    for (int64 start = begin; start < end; start += DEPTH) {
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            int row = thread / DEPTH + i * (THREADS / DEPTH);
            bool there = start + thread % DEPTH < end && first_row + row < problem.rows;
            left[thread % DEPTH * (TILE + 1) + row] = there ? problem.left(first_row + row, of_row) : W(0);
            int step = thread / TILE + i * APART;
            there = start + step < end && column.there;
            right[step * TILE + thread % TILE] = there ? problem.right(column, of_column[i]) : W(0);
            of_column[i].advance(by_major, by_minor, count);
        }
        of_row.advance(by_major, by_minor, count);
        __syncthreads();
#pragma unroll
        for (int step = 0; step < DEPTH; step++) {
            W a[EACH], b[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) a[i] = left[step * (TILE + 1) + thread / SIDE + i * SIDE];
#pragma unroll
            for (int j = 0; j < EACH; j++) b[j] = right[step * TILE + thread % SIDE + j * SIDE];
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sums[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        const typename Problem::Column target = problem.column(first_column + thread % SIDE + j * SIDE);
        if (!target.there) continue;
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int64 row = first_row + thread / SIDE + i * SIDE;
            if (row < problem.rows) problem.store(row, target, sums[i][j]);
        }
    }
}

// A place in one image, or none.
struct Place {
    bool there;
    int image, at;

    __device__ Place(int64 index, int64 images, int each) : there(index < images * each) {
        image = there ? int(index / each) : 0;
        at = there ? int(index % each) : 0;
    }
};

template <typename T>
struct Forward {
    typedef Place Column;
    Sizes s;
    int group, rows, minors;
    const T *x, *weight, *bias;
    T* y;

    __device__ Column column(int64 index) const { return Place(index, s.batch, s.positions); }
    __device__ Wide<T> left(int64 row, const Step& step) const {
        return widen(weight[((group * int64(rows) + row) * s.group_in + step.major) * s.kernel + step.minor]);
    }
    __device__ Wide<T> right(const Column& c, const Step& step) const {
        int at = c.at * s.stride + step.minor * s.dilation - s.before;
        if (at < 0 || at >= s.length) return Wide<T>(0);
        return widen(x[(c.image * s.inputs() + group * s.group_in + step.major) * s.length + at]);
    }
    __device__ void store(int64 row, const Column& c, Wide<T> sum) const {
        int64 channel = group * int64(rows) + row;
        if (bias) sum += widen(bias[channel]);
        y[(c.image * s.outputs() + channel) * s.positions + c.at] = narrow<T>(sum);
    }
};

// Input positions remainder + j·stride; taps first_tap + u·tap_step, which reach output first + j − u·back.
struct Phase {
    int remainder, columns, first_tap, tap_step, taps, first, back;
};

template <typename T>
struct InputGradient {
    typedef Place Column;
    Sizes s;
    Phase phase;
    int group, rows, minors;
    const T *dy, *weight, *bias;
    T* dx;

    __device__ Column column(int64 index) const { return Place(index, s.batch, phase.columns); }
    __device__ Wide<T> left(int64 row, const Step& step) const {
        int64 filter = (group * int64(s.group_out) + step.major) * s.group_in + row;
        return widen(weight[filter * s.kernel + phase.first_tap + step.minor * phase.tap_step]);
    }
    __device__ Wide<T> right(const Column& c, const Step& step) const {
        int at = phase.first + c.at - step.minor * phase.back;
        if (at < 0 || at >= s.positions) return Wide<T>(0);
        return widen(dy[(c.image * s.outputs() + group * s.group_out + step.major) * s.positions + at]);
    }
    __device__ void store(int64 row, const Column& c, Wide<T> sum) const {
        int64 channel = group * int64(rows) + row;
        if (bias) sum += widen(bias[channel]);
        int64 at = phase.remainder + int64(c.at) * s.stride;
        dx[(c.image * s.inputs() + channel) * s.length + at] = narrow<T>(sum);
    }
};

template <typename T>
struct WeightGradient {
    typedef Place Column;  // channel and tap
    Sizes s;
    int group, rows, minors;
    const T *x, *dy;
    Wide<T>* dw;

    __device__ Column column(int64 index) const { return Place(index, s.group_in, s.kernel); }
    __device__ Wide<T> left(int64 row, const Step& step) const {
        return widen(dy[(step.major * s.outputs() + group * int64(rows) + row) * s.positions + step.minor]);
    }
    __device__ Wide<T> right(const Column& c, const Step& step) const {
        int at = step.minor * s.stride + c.at * s.dilation - s.before;
        if (at < 0 || at >= s.length) return Wide<T>(0);
        return widen(x[(step.major * s.inputs() + group * s.group_in + c.image) * s.length + at]);
    }
    __device__ void store(int64 row, const Column& c, Wide<T> sum) const {
        dw[((group * int64(rows) + row) * s.group_in + c.image) * s.kernel + c.at] = sum;
    }
};

// One thread an output.
template <typename T>
__device__ void thin_forward(const Sizes& s, const T* x, const T* weight, const T* bias, T* y) {
    for (int64 i = grid_thread(); i < s.batch * s.outputs() * s.positions; i += grid_threads()) {
        int plane = int(i / s.positions), position = int(i - int64(plane) * s.positions);
        int image = plane / int(s.outputs()), channel = plane - image * int(s.outputs());
        const T* source = x + (image * s.inputs() + channel / s.group_out * s.group_in) * s.length;
        const T* filter = weight + int64(channel) * s.group_in * s.kernel;
        Wide<T> sum = bias ? widen(bias[channel]) : Wide<T>(0);
        for (int c = 0; c < s.group_in; c++, source += s.length, filter += s.kernel)
            for (int t = 0; t < s.kernel; t++) {
                int at = position * s.stride + t * s.dilation - s.before;
                if (at >= 0 && at < s.length) sum += widen(filter[t]) * widen(source[at]);
            }
        y[i] = narrow<T>(sum);
    }
}

// One thread an input.
template <typename T>
__device__ void thin_input_gradient(const Sizes& s, const T* dy, const T* weight, const T* bias, T* dx) {
    for (int64 i = grid_thread(); i < s.batch * s.inputs() * s.length; i += grid_threads()) {
        int plane = int(i / s.length), place = int(i - int64(plane) * s.length);
        int image = plane / int(s.inputs()), channel = plane - image * int(s.inputs());
        int group = channel / s.group_in, in = channel - group * s.group_in;
        Wide<T> sum = bias ? widen(bias[channel]) : Wide<T>(0);
        for (int k = 0; k < s.group_out; k++) {
            int64 out = int64(group) * s.group_out + k;
            const T* source = dy + (image * s.outputs() + out) * s.positions;
            const T* filter = weight + (out * s.group_in + in) * s.kernel;
            for (int t = 0; t < s.kernel; t++) {
                int ahead = place + s.before - t * s.dilation, position = ahead / s.stride;
                if (ahead >= 0 && position * s.stride == ahead && position < s.positions)
                    sum += widen(filter[t]) * widen(source[position]);
            }
        }
        dx[i] = narrow<T>(sum);
    }
}

// One block a weight.
template <typename T>
__device__ void thin_weight_gradient(const Sizes& s, const T* x, const T* dy, T* dw) {
    int64 filter = blockIdx.x / s.kernel, out = filter / s.group_in;
    int tap = int(blockIdx.x % s.kernel);
    int64 in = out / s.group_out * s.group_in + filter % s.group_in;
    Wide<T> sum = Wide<T>(0);
    for (int image = 0; image < s.batch; image++) {
        const T* source = x + (image * s.inputs() + in) * s.length;
        const T* gradient = dy + (image * s.outputs() + out) * s.positions;
        for (int p = threadIdx.x; p < s.positions; p += THREADS) {
            int at = p * s.stride + tap * s.dilation - s.before;
            if (at >= 0 && at < s.length) sum += widen(gradient[p]) * widen(source[at]);
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) dw[blockIdx.x] = narrow<T>(sum);
}

// dw = the chunks' sums, added in order.
template <typename T>
__device__ void add_chunks(const Wide<T>* partial, T* dw, int64 length, int chunks) {
    for (int64 i = grid_thread(); i < length; i += grid_threads()) {
        Wide<T> sum = partial[i];
        for (int chunk = 1; chunk < chunks; chunk++) sum += partial[chunk * length + i];
        dw[i] = narrow<T>(sum);
    }
}

// One block a channel of `[batch, channels, positions]`.
template <typename T>
__device__ void channel_sums(const T* values, T* sums, int batch, int channels, int positions) {
    double sum = 0;
    for (int image = 0; image < batch; image++) {
        const T* row = values + (int64(image) * channels + blockIdx.x) * positions;
        for (int p = threadIdx.x; p < positions; p += THREADS) sum += widen(row[p]);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = narrow<T>(Wide<T>(sum));
}

#define SIZES                                                                                                     \
    int batch, int groups, int group_in, int group_out, int length, int kernel, int positions, int stride,        \
        int before, int dilation
#define OF_SIZES Sizes{batch, groups, group_in, group_out, length, kernel, positions, stride, before, dilation}

#define INSTANCE(T, suffix)                                                                                       \
    KERNEL(conv1d_##suffix, const T* x, const T* weight, const T* bias, T* y, SIZES) {                            \
        Forward<T> problem = {OF_SIZES, int(blockIdx.z), group_out, kernel, x, weight, bias, y};                  \
        product<Wide<T>>(problem, int64(blockIdx.y) * TILE, int64(blockIdx.x) * TILE, 0, int64(group_in) * kernel); \
    }                                                                                                             \
    KERNEL(conv1d_input_gradient_##suffix, const T* dy, const T* weight, const T* bias, T* dx, int remainder,     \
           int columns, int first_tap, int tap_step, int taps, int first, int back, SIZES) {                      \
        Phase phase = {remainder, columns, first_tap, tap_step, taps, first, back};                               \
        InputGradient<T> problem = {OF_SIZES, phase, int(blockIdx.z), group_in, max(taps, 1), dy, weight, bias, dx}; \
        product<Wide<T>>(problem, int64(blockIdx.y) * TILE, int64(blockIdx.x) * TILE, 0, int64(group_out) * taps); \
    }                                                                                                             \
    KERNEL(conv1d_weight_gradient_##suffix, const T* x, const T* dy, Wide<T>* partial, int chunks, SIZES) {       \
        int chunk = blockIdx.z % chunks;                                                                          \
        int64 weights = int64(groups) * group_out * group_in * kernel, steps = int64(batch) * positions;          \
        WeightGradient<T> problem = {OF_SIZES, int(blockIdx.z) / chunks, group_out, positions, x, dy,             \
                                     partial + chunk * weights};                                                  \
        product<Wide<T>>(problem, int64(blockIdx.y) * TILE, int64(blockIdx.x) * TILE, steps * chunk / chunks,     \
                         steps * (chunk + 1) / chunks);                                                           \
    }                                                                                                             \
    KERNEL(conv1d_chunks_##suffix, const Wide<T>* partial, T* dw, int64 length, int chunks) {                     \
        add_chunks(partial, dw, length, chunks);                                                                  \
    }                                                                                                             \
    KERNEL(conv1d_thin_##suffix, const T* x, const T* weight, const T* bias, T* y, SIZES) {                       \
        thin_forward(OF_SIZES, x, weight, bias, y);                                                               \
    }                                                                                                             \
    KERNEL(conv1d_thin_input_gradient_##suffix, const T* dy, const T* weight, const T* bias, T* dx, SIZES) {      \
        thin_input_gradient(OF_SIZES, dy, weight, bias, dx);                                                      \
    }                                                                                                             \
    KERNEL(conv1d_thin_weight_gradient_##suffix, const T* x, const T* dy, T* dw, SIZES) {                         \
        thin_weight_gradient(OF_SIZES, x, dy, dw);                                                                \
    }                                                                                                             \
    KERNEL(conv1d_bias_gradient_##suffix, const T* dy, T* sums, int batch, int channels, int positions) {         \
        channel_sums(dy, sums, batch, channels, positions);                                                       \
    }
EACH_TYPE(INSTANCE)
