// rk_step: the arithmetic of Catch-Up Distillation, each function one pass over memory.
//
// An item is a piece of one sample: 16 bytes, or one element where the samples are not a
// multiple of that (`pieces` of them make a sample). A thread reads all operands of an item,
// computes in the wide type and writes all results. Numbers of a sample (t, dt, ω) have the
// wide type; those of a call are doubles. Items count in 32 bits: the host refuses more.
#include "taper.cuh"

constexpr int MOST_SLOPES = 4;
constexpr int MOST_STATES = 3;
constexpr int MOST_HEADS = 4;

// State j is x - steps[j] * dt * Σ_i weight[j][i] * slope[i]; a slope of weight 0 is no part of it.
template <typename W>
struct Rule {
    W weight[MOST_STATES][MOST_SLOPES];
    W steps[MOST_STATES];
};

#define RULE_ARGUMENTS                                                                                            \
    double steps0, double steps1, double steps2, double w00, double w01, double w02, double w03, double w10,      \
        double w11, double w12, double w13, double w20, double w21, double w22, double w23
#define RULE(W)                                                                                                   \
    Rule<W> {                                                                                                     \
        {{W(w00), W(w01), W(w02), W(w03)}, {W(w10), W(w11), W(w12), W(w13)}, {W(w20), W(w21), W(w22), W(w23)}}, { \
            W(steps0), W(steps1), W(steps2)                                                                       \
        }                                                                                                         \
    }

// slope[i] may be null. State j is written `length` elements behind the one before.
template <typename T, int LANES>
__device__ void states(const T* x, const T* const (&slope)[MOST_SLOPES], const Wide<T>* dt, T* state, Rule<Wide<T>> rule,
                       int count, uint32 items, uint32 pieces, int64 length) {
    typedef Wide<T> W;
    for (uint32 item = short_thread(); item < items; item += short_threads()) {
        const int64 at = int64(item) * LANES;
        const W h = dt[item / pieces];
        Piece<T, LANES> from = load_piece<T, LANES>(x + at), k[MOST_SLOPES];
#pragma unroll
        for (int i = 0; i < MOST_SLOPES; i++)
            if (slope[i]) k[i] = load_piece<T, LANES>(slope[i] + at);
#pragma unroll
        for (int j = 0; j < MOST_STATES; j++) {
            if (j >= count) break;
            W mean[LANES] = {};
#pragma unroll
            for (int i = 0; i < MOST_SLOPES; i++) {
                if (!slope[i] || rule.weight[j][i] == W(0)) continue;
#pragma unroll
                for (int lane = 0; lane < LANES; lane++) mean[lane] += rule.weight[j][i] * widen(k[i].lane[lane]);
            }
            Piece<T, LANES> to;
#pragma unroll
            for (int lane = 0; lane < LANES; lane++)
                to.lane[lane] = narrow<T>(widen(from.lane[lane]) - rule.steps[j] * h * mean[lane]);
            store_piece<T, LANES>(state + j * length + at, to);
        }
    }
}

// From the states' gradients ds: dx = Σ_j ds_j if `of_x`, and dk_i = -dt Σ_j steps[j] weight[j][i] ds_j,
// `slopes` of them, one after the other.
template <typename T, int LANES>
__device__ void state_gradients(const T* ds, const Wide<T>* dt, T* found, Rule<Wide<T>> rule, int count, int of_x,
                                int slopes, uint32 items, uint32 pieces, int64 length) {
    typedef Wide<T> W;
    T *const dx = of_x ? found : nullptr, *const dk = of_x ? found + length : found;
    for (uint32 item = short_thread(); item < items; item += short_threads()) {
        const int64 at = int64(item) * LANES;
        const W h = dt[item / pieces];
        Piece<T, LANES> loaded[MOST_STATES], to;
#pragma unroll
        for (int j = 0; j < MOST_STATES; j++)
            if (j < count) loaded[j] = load_piece<T, LANES>(ds + j * length + at);
        if (dx) {
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) {
                W sum = W(0);
#pragma unroll
                for (int j = 0; j < MOST_STATES; j++)
                    if (j < count) sum += widen(loaded[j].lane[lane]);
                to.lane[lane] = narrow<T>(sum);
            }
            store_piece<T, LANES>(dx + at, to);
        }
#pragma unroll
        for (int i = 0; i < MOST_SLOPES; i++) {
            if (i >= slopes) break;
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) {
                W sum = W(0);
#pragma unroll
                for (int j = 0; j < MOST_STATES; j++)
                    if (j < count) sum += rule.steps[j] * rule.weight[j][i] * widen(loaded[j].lane[lane]);
                to.lane[lane] = narrow<T>(-h * sum);
            }
            store_piece<T, LANES>(dk + i * length + at, to);
        }
    }
}

// products[sample] = Σ_j steps[j] Σ_d ds_j Σ_i weight[j][i] slope[i], in double; a block takes a sample.
template <typename T>
__device__ void sample_products(const T* ds, const T* const (&slope)[MOST_SLOPES], Wide<T>* products, Rule<double> rule,
                                int count, int64 batch, int64 image) {
    for (int64 sample = blockIdx.x; sample < batch; sample += gridDim.x) {
        double sum = 0;
        for (int64 i = threadIdx.x; i < image; i += THREADS) {
            const int64 at = sample * image + i;
            double k[MOST_SLOPES] = {};
#pragma unroll
            for (int n = 0; n < MOST_SLOPES; n++)
                if (slope[n]) k[n] = double(widen(slope[n][at]));
#pragma unroll
            for (int j = 0; j < MOST_STATES; j++) {
                if (j >= count) break;
                double mean = 0;
#pragma unroll
                for (int n = 0; n < MOST_SLOPES; n++)
                    if (slope[n] && rule.weight[j][n] != 0) mean += rule.weight[j][n] * k[n];
                sum += rule.steps[j] * mean * double(widen(ds[j * batch * image + at]));
            }
        }
        sum = block_sum(sum);
        if (threadIdx.x == 0) products[sample] = Wide<T>(sum);
    }
}

// x_t = t z + (1 - t) x, and g = z - x unless null.
template <typename T, int LANES>
__device__ void interpolate(const T* x, const T* z, const Wide<T>* t, T* x_t, T* g, uint32 items, uint32 pieces) {
    typedef Wide<T> W;
    for (uint32 item = short_thread(); item < items; item += short_threads()) {
        const int64 at = int64(item) * LANES;
        const W time = t[item / pieces], rest = W(1) - time;
        Piece<T, LANES> data = load_piece<T, LANES>(x + at), noise = load_piece<T, LANES>(z + at), to;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++)
            to.lane[lane] = narrow<T>(time * widen(noise.lane[lane]) + rest * widen(data.lane[lane]));
        store_piece<T, LANES>(x_t + at, to);
        if (g) {
#pragma unroll
            for (int lane = 0; lane < LANES; lane++)
                to.lane[lane] = narrow<T>(widen(noise.lane[lane]) - widen(data.lane[lane]));
            store_piece<T, LANES>(g + at, to);
        }
    }
}

// (1 - t) ds if `of_x`, then t ds if `of_z`.
template <typename T, int LANES>
__device__ void interpolate_gradients(const T* ds, const Wide<T>* t, T* found, int of_x, int of_z, uint32 items,
                                      uint32 pieces, int64 length) {
    typedef Wide<T> W;
    T *const dx = of_x ? found : nullptr, *const dz = !of_z ? nullptr : of_x ? found + length : found;
    for (uint32 item = short_thread(); item < items; item += short_threads()) {
        const int64 at = int64(item) * LANES;
        const W time = t[item / pieces], rest = W(1) - time;
        Piece<T, LANES> gradient = load_piece<T, LANES>(ds + at), to;
        if (dx) {
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) to.lane[lane] = narrow<T>(rest * widen(gradient.lane[lane]));
            store_piece<T, LANES>(dx + at, to);
        }
        if (dz) {
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) to.lane[lane] = narrow<T>(time * widen(gradient.lane[lane]));
            store_piece<T, LANES>(dz + at, to);
        }
    }
}

template <typename W>
__device__ inline W clamp(W value, W low, W high) {
    value = value < low ? low : value;
    return value > high ? high : value;  // NaN stays NaN
}

// estimate = clamp(x - t v), v' = (x - estimate) / t; next = x - h v', or x - h (3/2 v' - 1/2 previous).
// previous may be null; the estimate is written behind all of next if it is wanted.
template <typename T, int LANES>
__device__ void clamped(const T* x, const T* v, const T* previous, T* next, int wanted, double h, double t, double low,
                        double high, uint32 items, int64 length) {
    typedef Wide<T> W;
    T* const estimate = wanted ? next + length : nullptr;
    for (uint32 item = short_thread(); item < items; item += short_threads()) {
        const int64 at = int64(item) * LANES;
        Piece<T, LANES> from = load_piece<T, LANES>(x + at), velocity = load_piece<T, LANES>(v + at), before, to, data;
        if (previous) before = load_piece<T, LANES>(previous + at);
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            W value = widen(from.lane[lane]);
            W found = clamp(value - W(t) * widen(velocity.lane[lane]), W(low), W(high));
            W slope = (value - found) / W(t);
            if (previous) slope = W(1.5) * slope - W(0.5) * widen(before.lane[lane]);
            to.lane[lane] = narrow<T>(value - W(h) * slope);
            data.lane[lane] = narrow<T>(found);
        }
        store_piece<T, LANES>(next + at, to);
        if (estimate) store_piece<T, LANES>(estimate + at, data);
    }
}

// dx, and behind it dv, from the gradients of the next state and (unless null) of the estimate;
// share = h / t, times 3/2 with a previous velocity.
template <typename T, int LANES>
__device__ void clamped_gradients(const T* of_next, const T* of_estimate, const T* x, const T* v, T* dx, double share,
                                  double t, double low, double high, uint32 items, int64 length) {
    typedef Wide<T> W;
    T* const dv = dx + length;
    for (uint32 item = short_thread(); item < items; item += short_threads()) {
        const int64 at = int64(item) * LANES;
        Piece<T, LANES> from = load_piece<T, LANES>(x + at), velocity = load_piece<T, LANES>(v + at);
        Piece<T, LANES> upper = load_piece<T, LANES>(of_next + at), lower, to_x, to_v;
        if (of_estimate) lower = load_piece<T, LANES>(of_estimate + at);
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            W found = widen(from.lane[lane]) - W(t) * widen(velocity.lane[lane]);
            W state = widen(upper.lane[lane]), through = W(share) * state;
            if (of_estimate) through += widen(lower.lane[lane]);
            W inside = found >= W(low) && found <= W(high) ? through : W(0);
            to_x.lane[lane] = narrow<T>(state - W(share) * state + inside);
            to_v.lane[lane] = narrow<T>(-W(t) * inside);
        }
        store_piece<T, LANES>(dx + at, to_x);
        store_piece<T, LANES>(dv + at, to_v);
    }
}

// Some heads of the loss: predictions and what belongs to each.
template <typename T>
struct Heads {
    const T *p[MOST_HEADS], *u[MOST_HEADS];
    T* dp[MOST_HEADS];
    Wide<T> w1[MOST_HEADS], w2[MOST_HEADS];
};

// Σ omega (w1 (p - u)² + w2 (p - g)²) over a block's items goes to `partial`, one double a block.
// Where mask is 0 u is g, and not read. p[i], dp[i], dg, mask and omega may be null; dg is
// added to unless this is the first launch.
template <typename T, int LANES>
__device__ void loss(const Heads<T>& heads, const T* g, T* dg, const unsigned char* mask, const Wide<T>* omega,
                     double* partial, double scale, int first, uint32 items, uint32 pieces) {
    typedef Wide<T> W;
    double sum = 0;
    for (uint32 item = short_thread(); item < items; item += short_threads()) {
        const int64 at = int64(item) * LANES;
        const uint32 sample = item / pieces;
        const bool open = mask ? mask[sample] != 0 : true;
        const W weight = omega ? omega[sample] : W(1), factor = W(scale) * weight;
        Piece<T, LANES> truth = load_piece<T, LANES>(g + at), to;
        W total[LANES] = {}, squares = W(0);
#pragma unroll
        for (int i = 0; i < MOST_HEADS; i++) {
            if (!heads.p[i]) break;
            Piece<T, LANES> predicted = load_piece<T, LANES>(heads.p[i] + at);
            Piece<T, LANES> target = truth;
            if (open) target = load_piece<T, LANES>(heads.u[i] + at);
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) {
                W value = widen(predicted.lane[lane]);
                W q = value - widen(target.lane[lane]), r = value - widen(truth.lane[lane]);
                squares += heads.w1[i] * (q * q) + heads.w2[i] * (r * r);
                total[lane] += heads.w2[i] * r;
                to.lane[lane] = narrow<T>(factor * (heads.w1[i] * q + heads.w2[i] * r));
            }
            if (heads.dp[i]) store_piece<T, LANES>(heads.dp[i] + at, to);
        }
        sum += double(weight) * double(squares);
        if (dg) {
            Piece<T, LANES> before;
            if (!first) before = load_piece<T, LANES>(dg + at);
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) {
                W value = -factor * total[lane];
                if (!first) value += widen(before.lane[lane]);
                to.lane[lane] = narrow<T>(value);
            }
            store_piece<T, LANES>(dg + at, to);
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block: the partial sums times `scale`.
template <typename T>
__device__ void finish_loss(const double* partial, T* loss, int count, double scale) {
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += THREADS) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *loss = narrow<T>(Wide<T>(sum * scale));
}

// values *= *factor; nothing is read or written where the factor is 1.
template <typename T>
__device__ void scale_in_place(T* values, const T* factor, int64 length) {
    Wide<T> by = widen(*factor);
    if (by == Wide<T>(1)) return;
    for (int64 i = grid_thread(); i < length; i += grid_threads()) values[i] = narrow<T>(widen(values[i]) * by);
}

// The kernels that work on pieces, once for 16 bytes and once for single elements.
#define PIECES(T, suffix, LANES)                                                                                  \
    KERNEL(rk_states_##suffix, const T* x, const T* k0, const T* k1, const T* k2, const T* k3, const Wide<T>* dt, \
           T* state, RULE_ARGUMENTS, int count, int64 items, int64 pieces, int64 length) {                        \
        const T* const slope[MOST_SLOPES] = {k0, k1, k2, k3};                                                     \
        states<T, LANES>(x, slope, dt, state, RULE(Wide<T>), count, items, pieces, length);                       \
    }                                                                                                             \
    KERNEL(rk_state_gradients_##suffix, const T* ds, const Wide<T>* dt, T* found, RULE_ARGUMENTS, int count,      \
           int of_x, int slopes, int64 items, int64 pieces, int64 length) {                                       \
        state_gradients<T, LANES>(ds, dt, found, RULE(Wide<T>), count, of_x, slopes, items, pieces, length);      \
    }                                                                                                             \
    KERNEL(rk_interpolate_##suffix, const T* x, const T* z, const Wide<T>* t, T* x_t, T* g, int64 items,          \
           int64 pieces) {                                                                                        \
        interpolate<T, LANES>(x, z, t, x_t, g, items, pieces);                                                    \
    }                                                                                                             \
    KERNEL(rk_interpolate_gradients_##suffix, const T* ds, const Wide<T>* t, T* found, int of_x, int of_z,        \
           int64 items, int64 pieces, int64 length) {                                                             \
        interpolate_gradients<T, LANES>(ds, t, found, of_x, of_z, items, pieces, length);                         \
    }                                                                                                             \
    KERNEL(rk_clamped_##suffix, const T* x, const T* v, const T* previous, T* next, int estimate, double h,       \
           double t, double low, double high, int64 items, int64 length) {                                        \
        clamped<T, LANES>(x, v, previous, next, estimate, h, t, low, high, items, length);                        \
    }                                                                                                             \
    KERNEL(rk_clamped_gradients_##suffix, const T* of_next, const T* of_estimate, const T* x, const T* v, T* dx,  \
           double share, double t, double low, double high, int64 items, int64 length) {                          \
        clamped_gradients<T, LANES>(of_next, of_estimate, x, v, dx, share, t, low, high, items, length);          \
    }                                                                                                             \
    KERNEL(rk_loss_##suffix, const T* p0, const T* p1, const T* p2, const T* p3, const T* u0, const T* u1,        \
           const T* u2, const T* u3, T* dp0, T* dp1, T* dp2, T* dp3, double a0, double a1, double a2, double a3,  \
           double b0, double b1, double b2, double b3, const T* g, T* dg, const unsigned char* mask,              \
           const Wide<T>* omega, double* partial, double scale, int first, int64 items, int64 pieces) {           \
        typedef Wide<T> W;                                                                                        \
        const Heads<T> heads = {{p0, p1, p2, p3},                                                                 \
                                {u0, u1, u2, u3},                                                                 \
                                {dp0, dp1, dp2, dp3},                                                             \
                                {W(a0), W(a1), W(a2), W(a3)},                                                     \
                                {W(b0), W(b1), W(b2), W(b3)}};                                                    \
        loss<T, LANES>(heads, g, dg, mask, omega, partial, scale, first, items, pieces);                          \
    }

#define INSTANCE(T, suffix)                                                                                       \
    PIECES(T, packed_##suffix, Pack<T>::LANES)                                                                    \
    PIECES(T, suffix, 1)                                                                                          \
    KERNEL(rk_sample_products_##suffix, const T* ds, const T* k0, const T* k1, const T* k2, const T* k3,          \
           Wide<T>* products, RULE_ARGUMENTS, int count, int64 batch, int64 image) {                              \
        const T* const slope[MOST_SLOPES] = {k0, k1, k2, k3};                                                     \
        sample_products<T>(ds, slope, products, RULE(double), count, batch, image);                               \
    }                                                                                                             \
    KERNEL(rk_loss_finish_##suffix, const double* partial, T* loss, int count, double scale) {                    \
        finish_loss(partial, loss, count, scale);                                                                 \
    }                                                                                                             \
    KERNEL(rk_scale_##suffix, T* values, const T* factor, int64 length) { scale_in_place(values, factor, length); }
EACH_TYPE(INSTANCE)
