// Layer norm and group norm: runs of `size` elements, each normalised by itself; a block has a
// run. The mean comes first and deviations from it are summed on a second reading, out of the
// cache. statistics: shift, scale and offset of each run; x is normalised to
// (x - shift) scale + offset, where the offset returns what rounding took from the mean.
#include "taper.cuh"

template <typename W>
struct Statistics {
    W shift, scale, offset;
    __device__ W normalise(W x) const { return (x - shift) * scale + offset; }
};

template <typename T>
__device__ Statistics<Wide<T>> measure(const T* x, int size, double eps) {
    typedef Wide<T> W;
    W sum = W(0), deviations = W(0), squares = W(0);
    for (int i = threadIdx.x; i < size; i += THREADS) sum += widen(x[i]);
    const W shift = block_sum(sum) / W(size);
    for (int i = threadIdx.x; i < size; i += THREADS) {
        W deviation = widen(x[i]) - shift;
        deviations += deviation;
        squares += deviation * deviation;
    }
    const W rest = block_sum(deviations) / W(size);
    W variance = block_sum(squares) / W(size) - rest * rest;
    variance = variance < W(0) ? W(0) : variance;
    const W scale = W(1) / W(sqrt(variance + W(eps)));
    return {shift, scale, -rest * scale};
}

template <typename W>
__device__ inline W logistic(W x) {
    return W(1) / (W(1) + W(exp(-x)));
}

// Which weight an element of a run takes: by_channel, that of its channel (of `plane` elements;
// `grouped` channels a run, `groups` runs an image), else that of its place.
struct Places {
    int by_channel, plane, grouped, groups;
    __device__ int of(int64 row, int place) const {
        return by_channel ? int(row % groups) * grouped + place / plane : place;
    }
};

// The gradient before the silu function of z = normal weight + bias.
template <typename W>
__device__ inline W behind(W g, W normal, W weight, W bias, int silu) {
    if (!silu) return g;
    W z = normal * weight + bias, s = logistic(z);
    return g * (s * (W(1) + z * (W(1) - s)));
}

template <typename T>
__device__ void forward(const T* x, const T* weight, const T* bias, T* y, Wide<T>* statistics, int64 count, int size,
                        Places places, int silu, double eps) {
    typedef Wide<T> W;
    for (int64 row = blockIdx.x; row < count; row += gridDim.x) {
        const T* from = x + row * size;
        const Statistics<W> of_row = measure(from, size, eps);
        if (threadIdx.x == 0) {
            statistics[3 * row] = of_row.shift;
            statistics[3 * row + 1] = of_row.scale;
            statistics[3 * row + 2] = of_row.offset;
        }
        for (int i = threadIdx.x; i < size; i += THREADS) {
            int place = places.of(row, i);
            W z = of_row.normalise(widen(from[i])) * widen(weight[place]) + widen(bias[place]);
            y[row * size + i] = narrow<T>(silu ? z * logistic(z) : z);
        }
    }
}

// dx = scale (g weight - mean - normal slope), the mean and the slope being those of g weight and
// of g weight normal over the run.
template <typename T>
__device__ void gradient_of_x(const T* x, const T* weight, const T* bias, const T* gradient,
                              const Wide<T>* statistics, T* dx, int64 count, int size, Places places, int silu) {
    typedef Wide<T> W;
    for (int64 row = blockIdx.x; row < count; row += gridDim.x) {
        const Statistics<W> of_row = {statistics[3 * row], statistics[3 * row + 1], statistics[3 * row + 2]};
        const T *of_x = x + row * size, *of_gradient = gradient + row * size;
        W sum = W(0), product = W(0);
        for (int i = threadIdx.x; i < size; i += THREADS) {
            int place = places.of(row, i);
            W normal = of_row.normalise(widen(of_x[i])), by = widen(weight[place]);
            W g = behind(widen(of_gradient[i]), normal, by, widen(bias[place]), silu) * by;
            sum += g;
            product += g * normal;
        }
        const W mean = block_sum(sum) / W(size), slope = block_sum(product) / W(size);
        for (int i = threadIdx.x; i < size; i += THREADS) {
            int place = places.of(row, i);
            W normal = of_row.normalise(widen(of_x[i])), by = widen(weight[place]);
            W g = behind(widen(of_gradient[i]), normal, by, widen(bias[place]), silu) * by;
            dx[row * size + i] = narrow<T>(of_row.scale * ((g - mean) - normal * slope));
        }
    }
}

// Sums of g normal and of g over some runs, for every place: a thread has a place, a block of the
// grid's y dimension every gridDim.y-th run. partial: [gridDim.y][of weight, of bias][size]
template <typename T>
__device__ void sums_of_places(const T* x, const T* gradient, const Wide<T>* statistics, double* partial, int64 count,
                               int size) {
    typedef Wide<T> W;
    for (int64 place = grid_thread(); place < size; place += grid_threads()) {
        W of_weight = W(0), of_bias = W(0);
        for (int64 row = blockIdx.y; row < count; row += gridDim.y) {
            const Statistics<W> of_row = {statistics[3 * row], statistics[3 * row + 1], statistics[3 * row + 2]};
            W g = widen(gradient[row * size + place]);
            of_weight += g * of_row.normalise(widen(x[row * size + place]));
            of_bias += g;
        }
        partial[(2 * int64(blockIdx.y)) * size + place] = of_weight;
        partial[(2 * int64(blockIdx.y) + 1) * size + place] = of_bias;
    }
}

// The same over a channel of an image, a block's: partial: [images][of weight, of bias][channels]
template <typename T>
__device__ void sums_of_channels(const T* x, const T* weight, const T* bias, const T* gradient,
                                 const Wide<T>* statistics, double* partial, int64 images, Places places, int silu) {
    typedef Wide<T> W;
    const int channels = places.grouped * places.groups;
    for (int64 index = blockIdx.x; index < images * channels; index += gridDim.x) {
        const int64 image = index / channels;
        const int channel = int(index - image * channels);
        const int64 row = image * places.groups + channel / places.grouped;
        const Statistics<W> of_row = {statistics[3 * row], statistics[3 * row + 1], statistics[3 * row + 2]};
        const W by = widen(weight[channel]), shift = widen(bias[channel]);
        W of_weight = W(0), of_bias = W(0);
        for (int i = threadIdx.x; i < places.plane; i += THREADS) {
            W normal = of_row.normalise(widen(x[index * places.plane + i]));
            W g = behind(widen(gradient[index * places.plane + i]), normal, by, shift, silu);
            of_weight += g * normal;
            of_bias += g;
        }
        of_weight = block_sum(of_weight);
        of_bias = block_sum(of_bias);
        if (threadIdx.x == 0) {
            partial[2 * image * channels + channel] = of_weight;
            partial[(2 * image + 1) * channels + channel] = of_bias;
        }
    }
}

// The sums of `parts` partial sums of `length` numbers each.
template <typename T>
__device__ void total(const double* partial, T* sums, int64 parts, int64 length) {
    for (int64 i = grid_thread(); i < length; i += grid_threads()) {
        double sum = 0;
        for (int64 part = 0; part < parts; part++) sum += partial[part * length + i];
        sums[i] = narrow<T>(Wide<T>(sum));
    }
}

#define INSTANCE(T, suffix)                                                                                        \
    KERNEL(row_norm_##suffix, const T* x, const T* weight, const T* bias, T* y, Wide<T>* statistics, int64 count,  \
           int size, int by_channel, int plane, int grouped, int groups, int silu, double eps) {                   \
        forward(x, weight, bias, y, statistics, count, size, {by_channel, plane, grouped, groups}, silu, eps);     \
    }                                                                                                              \
    KERNEL(row_norm_gradient_##suffix, const T* x, const T* weight, const T* bias, const T* gradient,              \
           const Wide<T>* statistics, T* dx, int64 count, int size, int by_channel, int plane, int grouped,        \
           int groups, int silu) {                                                                                 \
        gradient_of_x(x, weight, bias, gradient, statistics, dx, count, size,                                      \
                      {by_channel, plane, grouped, groups}, silu);                                                 \
    }                                                                                                              \
    KERNEL(row_norm_places_##suffix, const T* x, const T* gradient, const Wide<T>* statistics, double* partial,    \
           int64 count, int size) {                                                                                \
        sums_of_places(x, gradient, statistics, partial, count, size);                                             \
    }                                                                                                              \
    KERNEL(row_norm_channels_##suffix, const T* x, const T* weight, const T* bias, const T* gradient,              \
           const Wide<T>* statistics, double* partial, int64 images, int plane, int grouped, int groups,           \
           int silu) {                                                                                             \
        sums_of_channels(x, weight, bias, gradient, statistics, partial, images, {1, plane, grouped, groups},      \
                         silu);                                                                                    \
    }                                                                                                              \
    KERNEL(row_norm_total_##suffix, const double* partial, T* sums, int64 parts, int64 length) {                   \
        total(partial, sums, parts, length);                                                                       \
    }
EACH_TYPE(INSTANCE)
