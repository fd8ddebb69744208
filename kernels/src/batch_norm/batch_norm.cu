// Batch normalisation of [batch, channels, plane]: moments, the normalised result with residual
// and rectifier, and the gradients.
//
// Sums go over a channel in `splits` parts, one block each (grid: channels x splits), and a
// second kernel adds the parts in order: the result depends on the shape only. What a block
// adds is centred on a value of the channel, so a mean far above the deviation costs no
// accuracy. Statistics are doubles: all means, then all variances.
#include "taper.cuh"

struct Shape {
    uint32 batch, channels, plane;
};

// Calls body(offset) for each piece of a block's part of its channel.
template <int LANES, typename Body>
__device__ inline void over_part(Shape shape, Body body) {
    const uint32 pieces = shape.plane / LANES, count = shape.batch * pieces;
    const uint32 part = (count + gridDim.y - 1) / gridDim.y;
    const uint32 start = part * blockIdx.y, end = min(start + part, count);
    for (uint32 index = start + threadIdx.x; index < end; index += THREADS) {
        uint32 image = index / pieces, piece = index - image * pieces;
        body((int64(image) * shape.channels + blockIdx.x) * shape.plane + piece * LANES);
    }
}

// The two sums of a block, to its place in partial.
__device__ inline void store_partial(double first, double second, double* partial) {
    first = block_sum(first);
    second = block_sum(second);
    if (threadIdx.x == 0) {
        int64 at = (int64(blockIdx.y) * gridDim.x + blockIdx.x) * 2;
        partial[at] = first;
        partial[at + 1] = second;
    }
}

// The sums of all parts of a channel.
__device__ inline void load_partial(const double* partial, int64 channels, int splits, int64 channel, double* first,
                                    double* second) {
    *first = *second = 0;
    for (int split = 0; split < splits; split++) {
        *first += partial[(split * channels + channel) * 2];
        *second += partial[(split * channels + channel) * 2 + 1];
    }
}

// sum (x - c) and sum (x - c)^2 with c the channel's first value.
template <typename T, int LANES>
__device__ void moments(const T* x, double* partial, Shape shape) {
    typedef Wide<T> W;
    const W centre = shape.batch * shape.plane > 0 ? widen(x[int64(blockIdx.x) * shape.plane]) : W(0);
    double sum = 0, squares = 0;
    over_part<LANES>(shape, [&](int64 offset) {
        Piece<T, LANES> piece = load_piece<T, LANES>(x + offset);
        W of_piece = 0, squares_of_piece = 0;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            W distance = widen(piece.lane[lane]) - centre;
            of_piece += distance;
            squares_of_piece += distance * distance;
        }
        sum += of_piece;
        squares += squares_of_piece;
    });
    store_partial(sum, squares, partial);
}

template <typename T>
__device__ void finish_moments(const T* x, const double* partial, double* statistics, Shape shape, int splits) {
    const double count = double(shape.batch) * shape.plane;
    for (int64 channel = grid_thread(); channel < shape.channels; channel += grid_threads()) {
        if (count == 0) {  // the mean of nothing
            statistics[channel] = statistics[shape.channels + channel] = 0 / count;
            continue;
        }
        double sum, squares;
        load_partial(partial, shape.channels, splits, channel, &sum, &squares);
        double mean = sum / count, variance = squares / count - mean * mean;
        statistics[channel] = double(widen(x[channel * shape.plane])) + mean;
        statistics[shape.channels + channel] = variance < 0 ? 0 : variance;
    }
}

// act((x - mean) * weight / sqrt(variance + eps) + bias + residual)
template <typename T, int LANES>
__device__ void forward(const T* x, const T* residual, const T* parameters, const double* statistics, T* y, Shape shape,
                        double eps, int rectify) {
    typedef Wide<T> W;
    const uint32 pieces = shape.plane / LANES, count = shape.batch * shape.channels * pieces;
    for (uint32 index = short_thread(); index < count; index += short_threads()) {
        const int64 offset_of_piece = int64(index) * LANES;
        const uint32 channel = index / pieces % shape.channels;
        const double mean = statistics[channel];
        const double scale = widen(parameters[channel]) / sqrt(statistics[shape.channels + channel] + eps);
        // Subtracting first keeps digits; what rounding took from the shift comes back in the offset.
        const W shift = W(mean), factor = W(scale);
        const W offset = W(widen(parameters[shape.channels + channel]) - (mean - shift) * scale);
        Piece<T, LANES> piece = load_piece<T, LANES>(x + offset_of_piece), added, result;
        if (residual) added = load_piece<T, LANES>(residual + offset_of_piece);
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            W value = (widen(piece.lane[lane]) - shift) * factor + offset;
            if (residual) value += widen(added.lane[lane]);
            if (rectify && value <= W(0)) value = W(0);
            result.lane[lane] = narrow<T>(value);
        }
        store_piece<T, LANES>(y + offset_of_piece, result);
    }
}

// The gradient behind the rectifier; `output` is null where there is none.
template <typename T, int LANES>
__device__ inline Piece<T, LANES> behind(const T* gradient, const T* output, int64 offset) {
    Piece<T, LANES> piece = load_piece<T, LANES>(gradient + offset);
    if (output) {
        Piece<T, LANES> result = load_piece<T, LANES>(output + offset);
#pragma unroll
        for (int lane = 0; lane < LANES; lane++)
            if (widen(result.lane[lane]) <= Wide<T>(0)) piece.lane[lane] = narrow<T>(Wide<T>(0));
    }
    return piece;
}

// sum g and sum g (x - mean), the mean rounded to the type of the tensors.
template <typename T, int LANES>
__device__ void sums(const T* x, const T* gradient, const T* output, const double* statistics, double* partial,
                     Shape shape) {
    typedef Wide<T> W;
    const W centre = W(statistics[blockIdx.x]);
    double sum = 0, product = 0;
    over_part<LANES>(shape, [&](int64 offset) {
        Piece<T, LANES> piece = load_piece<T, LANES>(x + offset), g = behind<T, LANES>(gradient, output, offset);
        W of_piece = 0, product_of_piece = 0;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            of_piece += widen(g.lane[lane]);
            product_of_piece += widen(g.lane[lane]) * (widen(piece.lane[lane]) - centre);
        }
        sum += of_piece;
        product += product_of_piece;
    });
    store_partial(sum, product, partial);
}

// Both sums of every channel, and the gradients of weights and biases (unless null).
template <typename T>
__device__ void finish_sums(const double* partial, const double* statistics, double* sums, T* parameters,
                            int64 channels, int splits, double eps) {
    for (int64 channel = grid_thread(); channel < channels; channel += grid_threads()) {
        double sum, product, mean = statistics[channel];
        load_partial(partial, channels, splits, channel, &sum, &product);
        product -= (mean - double(Wide<T>(mean))) * sum;
        sums[channel] = sum;
        sums[channels + channel] = product;
        if (parameters) {
            parameters[channel] = narrow<T>(Wide<T>(product / sqrt(statistics[channels + channel] + eps)));
            parameters[channels + channel] = narrow<T>(Wide<T>(sum));
        }
    }
}

// dx = p g + q (x - mean) + r, and g itself; either may be null, and so may `sums` where the
// statistics are not the batch's: then q and r are 0.
template <typename T, int LANES>
__device__ void backward(const T* x, const T* gradient, const T* output, const T* parameters, const double* statistics,
                         const double* sums, T* dx, T* masked, Shape shape, double eps) {
    typedef Wide<T> W;
    const uint32 pieces = shape.plane / LANES, all = shape.batch * shape.channels * pieces;
    const double count = double(shape.batch) * shape.plane;
    for (uint32 index = short_thread(); index < all; index += short_threads()) {
        const int64 offset = int64(index) * LANES;
        Piece<T, LANES> g = behind<T, LANES>(gradient, output, offset);
        if (masked) store_piece<T, LANES>(masked + offset, g);
        if (!dx) continue;
        const uint32 channel = index / pieces % shape.channels;
        const double mean = statistics[channel];
        const double inverse = 1 / sqrt(statistics[shape.channels + channel] + eps);
        const double scale = widen(parameters[channel]) * inverse;
        const W shift = W(mean), p = W(scale);
        Piece<T, LANES> result;
        if (sums) {
            const double slope = -scale * inverse * inverse * sums[shape.channels + channel] / count;
            const W q = W(slope), r = W(-scale * sums[channel] / count - slope * (mean - shift));
            Piece<T, LANES> piece = load_piece<T, LANES>(x + offset);
#pragma unroll
            for (int lane = 0; lane < LANES; lane++)
                result.lane[lane] =
                    narrow<T>(p * widen(g.lane[lane]) + (q * (widen(piece.lane[lane]) - shift) + r));
        } else {
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) result.lane[lane] = narrow<T>(p * widen(g.lane[lane]));
        }
        store_piece<T, LANES>(dx + offset, result);
    }
}

#define INSTANCE(T, suffix)                                                                                        \
    KERNEL(batch_norm_moments_##suffix, const T* x, double* partial, int batch, int channels, int plane,           \
           int packed) {                                                                                           \
        Shape shape = {uint32(batch), uint32(channels), uint32(plane)};                                                                    \
        if (packed)                                                                                                \
            moments<T, Pack<T>::LANES>(x, partial, shape);                                                         \
        else                                                                                                       \
            moments<T, 1>(x, partial, shape);                                                                      \
    }                                                                                                              \
    KERNEL(batch_norm_finish_moments_##suffix, const T* x, const double* partial, double* statistics, int batch, \
           int channels, int plane, int splits) {                                                              \
        finish_moments(x, partial, statistics, {uint32(batch), uint32(channels), uint32(plane)}, splits);                                  \
    }                                                                                                              \
    KERNEL(batch_norm_forward_##suffix, const T* x, const T* residual, const T* parameters,                        \
           const double* statistics, T* y, int batch, int channels, int plane, int packed, double eps,       \
           int rectify) {                                                                                          \
        Shape shape = {uint32(batch), uint32(channels), uint32(plane)};                                                                    \
        if (packed)                                                                                                \
            forward<T, Pack<T>::LANES>(x, residual, parameters, statistics, y, shape, eps, rectify);               \
        else                                                                                                       \
            forward<T, 1>(x, residual, parameters, statistics, y, shape, eps, rectify);                            \
    }                                                                                                              \
    KERNEL(batch_norm_sums_##suffix, const T* x, const T* gradient, const T* output, const double* statistics,     \
           double* partial, int batch, int channels, int plane, int packed) {                                \
        Shape shape = {uint32(batch), uint32(channels), uint32(plane)};                                                                    \
        if (packed)                                                                                                \
            sums<T, Pack<T>::LANES>(x, gradient, output, statistics, partial, shape);                              \
        else                                                                                                       \
            sums<T, 1>(x, gradient, output, statistics, partial, shape);                                           \
    }                                                                                                              \
    KERNEL(batch_norm_finish_sums_##suffix, const double* partial, const double* statistics, double* sums,         \
           T* parameters, int channels, int splits, double eps) {                                                \
        finish_sums(partial, statistics, sums, parameters, channels, splits, eps);                                 \
    }                                                                                                              \
    KERNEL(batch_norm_backward_##suffix, const T* x, const T* gradient, const T* output, const T* parameters,      \
           const double* statistics, const double* sums, T* dx, T* masked, int batch, int channels,            \
           int plane, int packed, double eps) {                                                                  \
        Shape shape = {uint32(batch), uint32(channels), uint32(plane)};                                                                    \
        if (packed)                                                                                                \
            backward<T, Pack<T>::LANES>(x, gradient, output, parameters, statistics, sums, dx, masked, shape,      \
                                        eps);                                                                      \
        else                                                                                                       \
            backward<T, 1>(x, gradient, output, parameters, statistics, sums, dx, masked, shape, eps);             \
    }
EACH_TYPE(INSTANCE)
