// segment_match: loss and gradients in one pass over E and F_t.
//
// A thread keeps one piece of the teacher (16 bytes, or one element where the images are not
// a multiple of that) in registers while it goes through the slices: E and F_t are read once,
// dE and dF_t written once. Squares are added in the wide type over the slices of a piece and
// in double from there: over a thread's pieces, its block, and (a second kernel) the blocks,
// in an order that the shape alone fixes.
#include "taper.cuh"

// de and dt may be null. partial: one double a block.
template <typename T, int LANES>
__device__ void match(const T* expanded, const T* teacher, T* de, T* dt, double* partial, int64 batch, int slices,
                      int64 image, double scale) {
    typedef Wide<T> W;
    const int64 pieces = image / LANES;
    const W factor = W(scale);
    double loss = 0;
    for (int64 index = grid_thread(); index < batch * pieces; index += grid_threads()) {
        int64 of_batch = index / pieces, start = (index - of_batch * pieces) * LANES;
        Piece<T, LANES> loaded = load_piece<T, LANES>(teacher + of_batch * image + start);
        W target[LANES], total[LANES], squares = W(0);
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            target[lane] = widen(loaded.lane[lane]);
            total[lane] = W(0);
        }
        int64 at = of_batch * slices * image + start;
#pragma unroll 4
        for (int slice = 0; slice < slices; slice++, at += image) {
            Piece<T, LANES> student = load_piece<T, LANES>(expanded + at), gradient;
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) {
                W distance = widen(student.lane[lane]) - target[lane];
                squares += distance * distance;
                total[lane] += distance;
                gradient.lane[lane] = narrow<T>(distance * factor);
            }
            if (de) store_piece<T, LANES>(de + at, gradient);
        }
        loss += squares;
        if (dt) {
            Piece<T, LANES> gradient;
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) gradient.lane[lane] = narrow<T>(-total[lane] * factor);
            store_piece<T, LANES>(dt + of_batch * image + start, gradient);
        }
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0) partial[blockIdx.x] = loss;
}

// One block: the partial sums times `scale`.
template <typename T>
__device__ void finish(const double* partial, T* loss, int count, double scale) {
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

#define INSTANCE(T, suffix)                                                                                     \
    KERNEL(segment_match_packed_##suffix, const T* expanded, const T* teacher, T* de, T* dt, double* partial,   \
           int64 batch, int slices, int64 image, double scale) {                                                \
        match<T, Pack<T>::LANES>(expanded, teacher, de, dt, partial, batch, slices, image, scale);              \
    }                                                                                                           \
    KERNEL(segment_match_##suffix, const T* expanded, const T* teacher, T* de, T* dt, double* partial,          \
           int64 batch, int slices, int64 image, double scale) {                                                \
        match<T, 1>(expanded, teacher, de, dt, partial, batch, slices, image, scale);                           \
    }                                                                                                           \
    KERNEL(segment_match_finish_##suffix, const double* partial, T* loss, int count, double scale) {            \
        finish(partial, loss, count, scale);                                                                    \
    }                                                                                                           \
    KERNEL(segment_match_scale_##suffix, T* values, const T* factor, int64 length) {                            \
        scale_in_place(values, factor, length);                                                                 \
    }
EACH_TYPE(INSTANCE)
