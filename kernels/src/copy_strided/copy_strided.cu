// Contiguous copies of strided views: elements are moved as words of 1, 2, 4 or 8 bytes.
#include "taper.cuh"

typedef unsigned char word8;
typedef unsigned short word16;
typedef unsigned int word32;
typedef unsigned long long word64;

// An axis of a view: its length, its step in the source and, where tiles are turned, in the result.
struct Axis {
    int64 length, from, to;
};

#define AXIS_PARAMETERS(name) int64 name##0, int64 name##1, int64 name##2
#define AXIS(name) {name##0, name##1, name##2}

// Element by element: threads side by side write side by side.
template <typename T>
__device__ void copy(const T* source, T* result, int64 count, const Axis (&axes)[6]) {
    for (int64 i = grid_thread(); i < count; i += grid_threads()) {
        int64 rest = i, from = 0;
#pragma unroll
        for (int axis = 5; axis >= 0; axis--) {
            int64 length = axes[axis].length;
            from += rest % length * axes[axis].from;
            rest /= length;
        }
        result[i] = source[from];
    }
}

constexpr int TILE = 32;

// result[plane.to + r * row_step + c] = source[plane.from + r + c * step]: tiles of 32 × 32 go through
// shared memory, so that both sides are read and written along rows.
template <typename T>
__device__ void turn(const T* source, T* result, int64 rows, int64 columns, int64 step, int64 row_step,
                     const Axis (&axes)[4]) {
    BLOCK_SHARED(T, tile, TILE * (TILE + 1));
    constexpr int LINES = THREADS / TILE;
    const int64 down = (rows + TILE - 1) / TILE, across = (columns + TILE - 1) / TILE;
    const int64 planes = axes[0].length * axes[1].length * axes[2].length * axes[3].length;
    const int lane = threadIdx.x % TILE, line = threadIdx.x / TILE;
    for (int64 number = blockIdx.x; number < planes * down * across; number += gridDim.x) {
        int64 rest = number / (down * across), from = 0, to = 0;
#pragma unroll
        for (int axis = 3; axis >= 0; axis--) {
            int64 length = axes[axis].length, index = rest % length;
            from += index * axes[axis].from;
            to += index * axes[axis].to;
            rest /= length;
        }
        int64 row = number / across % down * TILE, column = number % across * TILE;
        for (int c = line; c < TILE; c += LINES)
            if (row + lane < rows && column + c < columns)
                tile[c * (TILE + 1) + lane] = source[from + row + lane + (column + c) * step];
        __syncthreads();
        for (int r = line; r < TILE; r += LINES)
            if (row + r < rows && column + lane < columns)
                result[to + (row + r) * row_step + column + lane] = tile[lane * (TILE + 1) + r];
        __syncthreads();
    }
}

#define INSTANCE(T)                                                                                             \
    KERNEL(copy_strided_##T, const T* source, T* result, int64 count, AXIS_PARAMETERS(a), AXIS_PARAMETERS(b),   \
           AXIS_PARAMETERS(c), AXIS_PARAMETERS(d), AXIS_PARAMETERS(e), AXIS_PARAMETERS(f)) {                    \
        copy(source, result, count, {AXIS(a), AXIS(b), AXIS(c), AXIS(d), AXIS(e), AXIS(f)});                    \
    }                                                                                                           \
    KERNEL(copy_turned_##T, const T* source, T* result, int64 rows, int64 columns, int64 step, int64 row_step,  \
           AXIS_PARAMETERS(a), AXIS_PARAMETERS(b), AXIS_PARAMETERS(c), AXIS_PARAMETERS(d)) {                    \
        turn(source, result, rows, columns, step, row_step, {AXIS(a), AXIS(b), AXIS(c), AXIS(d)});              \
    }
INSTANCE(word8)
INSTANCE(word16)
INSTANCE(word32)
INSTANCE(word64)
