// ctc_loss: the sums over all alignments, a block a sample; the recursion of cpu.rs.
//
// Numbers are m · 2^e with doubles m and e, so that nothing underflows. A row holds mantissas
// and exponents of the blanks, then of the labels, `width` each (the longest target and 2).
// plan: batch + 1 starts of targets, batch numbers of frames, all targets, and for each target
// its labels' indices in order of their classes.
#include "taper.cuh"

constexpr double ZERO = -1e300, LEAST = -1e299, LN_2 = 0.693147180559945309417;
constexpr int FRAMES_UNTIL_NORMALISED = 32;

struct Number {
    double m, e;
};

__device__ inline double power_of_two(double power) {
    int64 bits = int64((power < -1023.0 ? -1023.0 : power) + 1023.0) << 52;
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

__device__ inline Number number_exp(double x) {
    if (x < -1e12) return {1.0, x * (1.0 / LN_2) < ZERO ? ZERO : x * (1.0 / LN_2)};
    double e = rint(x * (1.0 / LN_2));
    return {exp(x - e * LN_2), e == e ? e : 0.0};
}

__device__ inline Number times(Number a, Number b) { return {a.m * b.m, a.e + b.e}; }

__device__ inline Number plus(Number a, Number b) {
    double e = a.e > b.e ? a.e : b.e;
    return {a.m * power_of_two(a.e - e) + b.m * power_of_two(b.e - e), e};
}

__device__ inline Number normalised(Number a) {
    if (!(a.m - a.m == 0.0)) return a;  // NaN and infinity
    if (a.e < LEAST) return {1.0, ZERO};
    int64 bits;
    memcpy(&bits, &a.m, sizeof(bits));
    double power = double((bits >> 52) & 0x7ff) - 1023.0;
    return {a.m * power_of_two(-power), a.e + power};
}

struct Plan {
    const uint32 *starts, *frames, *targets, *order;

    __device__ Plan(const uint32* plan, int64 batch)
        : starts(plan), frames(plan + batch + 1), targets(plan + 2 * batch + 1),
          order(plan + 2 * batch + 1 + plan[batch]) {}
};

struct States {
    double* row;
    int64 width;

    __device__ Number blank(int64 i) const { return {row[i], row[width + i]}; }
    __device__ Number label(int64 i) const { return {row[2 * width + i], row[3 * width + i]}; }
    __device__ void set_blank(int64 i, Number value) const { row[i] = value.m, row[width + i] = value.e; }
    __device__ void set_label(int64 i, Number value) const { row[2 * width + i] = value.m, row[3 * width + i] = value.e; }
};

// α of the last `kept` frames of each sample, its probability (two doubles) and its loss.
template <typename T>
__device__ void alpha(const T* log_probs, const uint32* plan_memory, double* history, double* probability, double* losses,
                      int64 kept, int64 batch, int64 classes, int64 width, int blank, int zero_infinity) {
    const Plan plan(plan_memory, batch);
    for (int64 sample = blockIdx.x; sample < batch; sample += gridDim.x) {
        const uint32* targets = plan.targets + plan.starts[sample];
        const int64 labels = plan.starts[sample + 1] - plan.starts[sample], frames = plan.frames[sample];
        double* rows = history + sample * kept * 4 * width;
        Number total = {1.0, labels == 0 ? 0.0 : ZERO};
        for (int64 frame = 0; frame < frames; frame++) {
            const T* row = log_probs + (frame * batch + sample) * classes;
            const Number of_blank = number_exp(widen(row[blank]));
            const States before{rows + (frame + kept - 1) % kept * 4 * width, width};
            const States after{rows + frame % kept * 4 * width, width};
            for (int64 i = threadIdx.x; i <= labels; i += THREADS) {
                Number ways = {1.0, i == 0 ? 0.0 : ZERO}, enter = ways;
                if (frame > 0) {
                    Number here = before.blank(i), earlier = before.label(i);
                    ways = plus(here, earlier);
                    if (i == 0 || i == labels || targets[i] == targets[i - 1]) earlier = {1.0, ZERO};
                    if (i < labels) enter = plus(plus(before.label(i + 1), here), earlier);
                }
                Number found = times(ways, of_blank);
                if (frame % FRAMES_UNTIL_NORMALISED == 0) found = normalised(found);
                after.set_blank(i, found);
                if (i == 0) after.set_label(0, {1.0, ZERO});
                if (i < labels) {
                    found = times(enter, number_exp(widen(row[targets[i]])));
                    if (frame % FRAMES_UNTIL_NORMALISED == 0) found = normalised(found);
                    after.set_label(i + 1, found);
                }
            }
            __syncthreads();
            if (frame + 1 == frames) total = normalised(plus(after.blank(labels), after.label(labels)));
        }
        if (threadIdx.x == 0) {
            double loss = -(log(total.m) + total.e * LN_2);
            if (total.e < LEAST && total.m == total.m) loss = zero_infinity ? 0.0 : infinity<double>();
            probability[2 * sample] = total.m, probability[2 * sample + 1] = total.e;
            losses[sample] = loss;
        }
        __syncthreads();
    }
}

// The gradient of Σ weight · loss; the weight is 1, or with `mean` 1 / (labels · batch).
// work: for each sample two rows and `width` doubles.
template <typename T>
__device__ void beta(const T* log_probs, const uint32* plan_memory, const double* history, const double* probability,
                     double* work, T* gradient, int64 all_frames, int64 batch, int64 classes, int64 width, int blank,
                     int zero_infinity, int mean) {
    const Plan plan(plan_memory, batch);
    for (int64 sample = blockIdx.x; sample < batch; sample += gridDim.x) {
        const uint32 start = plan.starts[sample], *targets = plan.targets + start, *order = plan.order + start;
        const int64 labels = plan.starts[sample + 1] - start, frames = plan.frames[sample];
        const Number total = {probability[2 * sample], probability[2 * sample + 1]};
        const Number whole = {1.0 / total.m, -total.e};
        const bool never = total.e < LEAST && total.m == total.m, finite = total.m - total.m == 0.0 && !never;
        const double weight = mean ? 1.0 / (double(labels > 0 ? labels : 1) * double(batch)) : 1.0;
        const double fill = finite || (never && zero_infinity) ? 0.0 : double(infinity<float>()) - double(infinity<float>());
        for (int64 frame = 0; frame < all_frames; frame++)
            for (int64 c = threadIdx.x; c < classes; c += THREADS)
                gradient[(frame * batch + sample) * classes + c] = narrow<T>(Wide<T>(frame < frames ? fill : 0.0));
        double *rows = work + sample * 9 * width, *shares = rows + 8 * width;
        const States ends[2] = {{rows, width}, {rows + 4 * width, width}};
        for (int64 i = threadIdx.x; i < width; i += THREADS) {
            ends[0].set_blank(i, {1.0, i == labels ? 0.0 : ZERO});
            ends[0].set_label(i, {1.0, ZERO});
            ends[1].set_label(i, {1.0, ZERO});
        }
        __syncthreads();
        for (int64 frame = finite ? frames - 1 : -1; frame >= 0; frame--) {
            const int64 at = (frame * batch + sample) * classes;
            const Number of_blank = number_exp(widen(log_probs[at + blank]));
            const States now = ends[(frames - 1 - frame) % 2], next = ends[(frames - frame) % 2];
            const States forward{const_cast<double*>(history) + (sample * all_frames + frame) * 4 * width, width};
            double blanks = 0;
            for (int64 i = threadIdx.x; i <= labels; i += THREADS) {
                Number same = now.label(i), ways = plus(now.blank(i), same);
                Number share = times(times(ways, forward.blank(i)), whole);
                blanks += share.m * power_of_two(share.e);
                Number found = times(ways, of_blank);
                next.set_blank(i, frame % FRAMES_UNTIL_NORMALISED == 0 ? normalised(found) : found);
                if (i == labels) continue;
                ways = plus(same, now.blank(i + 1));
                if (i + 1 < labels && targets[i] != targets[i + 1]) ways = plus(ways, now.label(i + 1));
                share = times(times(ways, forward.label(i + 1)), whole);
                shares[i] = share.m * power_of_two(share.e);
                found = times(ways, number_exp(widen(log_probs[at + targets[i]])));
                next.set_label(i, frame % FRAMES_UNTIL_NORMALISED == 0 ? normalised(found) : found);
            }
            blanks = block_sum(blanks);
            if (threadIdx.x == 0) gradient[at + blank] = narrow<T>(Wide<T>(-weight * blanks));
            for (int64 i = threadIdx.x; i < labels; i += THREADS) {
                const uint32 class_of = targets[order[i]];
                if (i > 0 && targets[order[i - 1]] == class_of) continue;  // another thread's
                double sum = 0;
                for (int64 j = i; j < labels && targets[order[j]] == class_of; j++) sum += shares[order[j]];
                gradient[at + class_of] = narrow<T>(Wide<T>(-weight * sum));
            }
            __syncthreads();
        }
        __syncthreads();
    }
}

// reduction 0: all losses; 1: the mean of loss / labels; 2: the sum. One block.
template <typename T>
__device__ void reduce(const double* losses, const uint32* plan_memory, T* result, int64 batch, int reduction) {
    double sum = 0;
    for (int64 sample = threadIdx.x; sample < batch; sample += THREADS) {
        const uint32 labels = plan_memory[sample + 1] - plan_memory[sample];
        if (reduction == 0) result[sample] = narrow<T>(Wide<T>(losses[sample]));
        sum += losses[sample] * (reduction == 1 ? 1.0 / (double(labels > 0 ? labels : 1) * double(batch)) : 1.0);
    }
    if (reduction == 0) return;
    sum = block_sum(sum);
    if (reduction == 1 && batch == 0) sum = infinity<double>() - infinity<double>();
    if (threadIdx.x == 0) *result = narrow<T>(Wide<T>(sum));
}

#define INSTANCE(T, suffix)                                                                                        \
    KERNEL(ctc_alpha_##suffix, const T* log_probs, const uint32* plan, double* history, double* probability,       \
           double* losses, int64 kept, int64 batch, int64 classes, int64 width, int blank, int zero_infinity) {    \
        alpha(log_probs, plan, history, probability, losses, kept, batch, classes, width, blank, zero_infinity);   \
    }                                                                                                              \
    KERNEL(ctc_beta_##suffix, const T* log_probs, const uint32* plan, const double* history,                       \
           const double* probability, double* work, T* gradient, int64 frames, int64 batch, int64 classes,         \
           int64 width, int blank, int zero_infinity, int mean) {                                                  \
        beta(log_probs, plan, history, probability, work, gradient, frames, batch, classes, width, blank,          \
             zero_infinity, mean);                                                                                 \
    }                                                                                                              \
    KERNEL(ctc_reduce_##suffix, const double* losses, const uint32* plan, T* result, int64 batch, int reduction) { \
        reduce(losses, plan, result, batch, reduction);                                                            \
    }
EACH_TYPE(INSTANCE)
