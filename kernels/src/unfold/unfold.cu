// The derivative of unfold: frames added where they overlap, in their order.
#include "taper.cuh"

// Lines of `count` frames of `size` elements, one every `step`, to lines of `length` elements.
template <typename T>
__device__ void fold(const T* frames, T* result, int64 lines, int64 length, int64 count, int64 size, int64 step) {
    for (int64 i = grid_thread(); i < lines * length; i += grid_threads()) {
        int64 line = i / length, at = i % length;
        int64 first = at < size ? 0 : (at - size) / step + 1;
        Wide<T> sum = 0;
        for (int64 frame = first; frame < count && frame * step <= at; frame++)
            sum += widen(frames[(line * count + frame) * size + at - frame * step]);
        result[i] = narrow<T>(sum);
    }
}

#define INSTANCE(T, suffix)                                                                                      \
    KERNEL(fold_##suffix, const T* frames, T* result, int64 lines, int64 length, int64 count, int64 size,        \
           int64 step) {                                                                                         \
        fold(frames, result, lines, length, count, size, step);                                                  \
    }
EACH_TYPE(INSTANCE)
