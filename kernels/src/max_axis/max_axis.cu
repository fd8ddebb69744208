// Where along an axis the first largest element stands, as PyTorch has it: NaN wins.
#include "taper.cuh"

// Whether (value, at) stands before (other, other_at): larger or NaN, or equal and earlier.
template <typename W>
__device__ inline bool stands_before(W value, uint32 at, W other, uint32 other_at) {
    bool nan = value != value, other_nan = other != other;
    if (nan != other_nan) return nan;
    if (!nan && value != other) return value > other;
    return at < other_at;
}

// A thread has a line; threads side by side have lines side by side.
template <typename T>
__device__ void first_maxima(const T* x, uint32* found, int64 lines, int64 length, int64 inner) {
    for (int64 line = grid_thread(); line < lines; line += grid_threads()) {
        const T* at = x + line / inner * length * inner + line % inner;
        Wide<T> largest = widen(at[0]);
        uint32 first = 0;
        for (int64 row = 1; row < length; row++) {
            Wide<T> value = widen(at[row * inner]);
            if (stands_before(value, uint32(row), largest, first)) {
                largest = value;
                first = uint32(row);
            }
        }
        found[line] = first;
    }
}

// A warp has a line of adjacent elements.
template <typename T>
__device__ void first_maxima_of_runs(const T* x, uint32* found, int64 lines, int64 length) {
    const int lane = threadIdx.x % WARP;
    for (int64 line = grid_thread() / WARP; line < lines; line += grid_threads() / WARP) {
        const T* at = x + line * length;
        // A lane beyond a short line repeats its last element.
        uint32 first = uint32(lane < length ? lane : length - 1);
        Wide<T> largest = widen(at[first]);
        for (int64 row = lane + WARP; row < length; row += WARP) {
            Wide<T> value = widen(at[row]);
            if (stands_before(value, uint32(row), largest, first)) {
                largest = value;
                first = uint32(row);
            }
        }
        for (int step = WARP / 2; step > 0; step /= 2) {
            Wide<T> value = __shfl_xor_sync(ALL_LANES, largest, step);
            uint32 row = uint32(__shfl_xor_sync(ALL_LANES, int(first), step));
            if (stands_before(value, row, largest, first)) {
                largest = value;
                first = row;
            }
        }
        if (lane == 0) found[line] = first;
    }
}

#define INSTANCE(T, suffix)                                                                                  \
    KERNEL(first_maxima_##suffix, const T* x, uint32* found, int64 lines, int64 length, int64 inner) {       \
        first_maxima(x, found, lines, length, inner);                                                        \
    }                                                                                                        \
    KERNEL(first_maxima_of_runs_##suffix, const T* x, uint32* found, int64 lines, int64 length) {            \
        first_maxima_of_runs(x, found, lines, length);                                                       \
    }
EACH_TYPE(INSTANCE)
