// What the kernels share: types of number, 16-byte accesses, sums over a block.
//
// Compiled three ways: by nvcc to PTX, by NVRTC to machine code (a check), and by a C++20
// compiler against emulation/ (TAPER_EMULATION), where each kernel runs on the CPU.
#pragma once

#if defined(TAPER_EMULATION)
#include "emulation.hpp"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// A kernel, found by name: KERNEL(relu_f32, const float* x, float* y, int64 length) { … }
#define KERNEL(name, ...) extern "C" __global__ void __launch_bounds__(THREADS) name(__VA_ARGS__)

// `count` elements of memory that the threads of a block share. (A macro, since the
// emulation gives every block memory of its own.)
#define BLOCK_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#endif

typedef long long int64;
typedef unsigned int uint32;

// Threads of every block, in one dimension. (Fewer in the emulation, where each takes time.)
#if defined(TAPER_EMULATION)
constexpr int THREADS = TAPER_THREADS;
#else
constexpr int THREADS = 256;
#endif
constexpr int WARP = 32;
constexpr uint32 ALL_LANES = 0xffffffffu;

typedef __half f16;
typedef __nv_bfloat16 bf16;

// INSTANCE(type, suffix) for each type of number that tensors have.
#define EACH_TYPE(INSTANCE) \
    INSTANCE(float, f32)    \
    INSTANCE(double, f64)   \
    INSTANCE(f16, f16)      \
    INSTANCE(bf16, bf16)

// The type that a kernel computes in: float for the types of 16 bits.
template <typename T>
struct WideType {
    typedef float type;
};
template <>
struct WideType<double> {
    typedef double type;
};
template <typename T>
using Wide = typename WideType<T>::type;

__device__ inline float widen(float value) { return value; }
__device__ inline double widen(double value) { return value; }
__device__ inline float widen(f16 value) { return __half2float(value); }
__device__ inline float widen(bf16 value) { return __bfloat162float(value); }

// To the nearest T, ties to even.
template <typename T>
__device__ inline T narrow(Wide<T> value) {
    return T(value);
}
template <>
__device__ inline f16 narrow<f16>(float value) {
    return __float2half_rn(value);
}
template <>
__device__ inline bf16 narrow<bf16>(float value) {
    return __float2bfloat16_rn(value);
}

// 16 bytes that one thread reads or writes at once.
template <typename T>
struct alignas(16) Pack {
    static constexpr int LANES = 16 / sizeof(T);
    T lane[LANES];
};

// The pack at a multiple of 16 bytes.
template <typename T>
__device__ inline Pack<T> load_pack(const T* address) {
    uint4 raw = *reinterpret_cast<const uint4*>(address);
    Pack<T> pack;
    memcpy(&pack, &raw, sizeof(raw));
    return pack;
}

template <typename T>
__device__ inline void store_pack(T* address, const Pack<T>& pack) {
    uint4 raw;
    memcpy(&raw, &pack, sizeof(raw));
    *reinterpret_cast<uint4*>(address) = raw;
}

// A pack, or one element in its place.
template <typename T, int LANES>
struct Piece {
    T lane[LANES];
};

template <typename T, int LANES>
__device__ inline Piece<T, LANES> load_piece(const T* address) {
    Piece<T, LANES> piece;
    if constexpr (LANES == 1) {
        piece.lane[0] = *address;
    } else {
        Pack<T> pack = load_pack(address);
        memcpy(&piece, &pack, sizeof(pack));
    }
    return piece;
}

template <typename T, int LANES>
__device__ inline void store_piece(T* address, const Piece<T, LANES>& piece) {
    if constexpr (LANES == 1) {
        *address = piece.lane[0];
    } else {
        Pack<T> pack;
        memcpy(&pack, &piece, sizeof(pack));
        store_pack(address, pack);
    }
}

// This thread among all of the grid's x dimension, and how many there are:
// for (int64 i = grid_thread(); i < length; i += grid_threads())
__device__ inline int64 grid_thread() { return int64(blockIdx.x) * THREADS + threadIdx.x; }
__device__ inline int64 grid_threads() { return int64(gridDim.x) * THREADS; }

// The same in 32 bits, for fewer than 2^31 items (the host refuses more): where items are
// divided into coordinates, since a division in 64 bits is a call that spills registers.
__device__ inline uint32 short_thread() { return blockIdx.x * THREADS + threadIdx.x; }
__device__ inline uint32 short_threads() { return gridDim.x * THREADS; }

template <typename W>
__device__ inline W infinity() {
    return W(__int_as_float(0x7f800000));
}

template <typename W>
struct Sum {
    __device__ static W empty() { return W(0); }
    __device__ static W of(W a, W b) { return a + b; }
};

// As PyTorch has it: NaN wins.
template <typename W>
struct Maximum {
    __device__ static W empty() { return -infinity<W>(); }
    __device__ static W of(W a, W b) { return (a > b || a != a) ? a : b; }
};

// The values of a block's threads combined in a fixed tree; every thread gets the result.
template <template <typename> class Combine, typename W>
__device__ inline W block_combine(W value) {
    constexpr int WARPS = THREADS / WARP;
    BLOCK_SHARED(W, of_warp, WARPS);
    for (int step = WARP / 2; step > 0; step /= 2)
        value = Combine<W>::of(value, __shfl_xor_sync(ALL_LANES, value, step));
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();
    W combined = Combine<W>::empty();
    for (int warp = 0; warp < WARPS; warp++) combined = Combine<W>::of(combined, of_warp[warp]);
    __syncthreads();  // the memory may be used again
    return combined;
}

template <typename W>
__device__ inline W block_sum(W value) {
    return block_combine<Sum>(value);
}

template <typename W>
__device__ inline W block_maximum(W value) {
    return block_combine<Maximum>(value);
}

// Rows that a whole block or, for short ones, a warp goes through together:
//   Row<WHOLE> row; for (int64 i = row.first(); i < rows; i += row.step())
//       for (int64 column = row.lane(); column < columns; column += row.width()) …
//       … row.sum(value) …
template <bool WHOLE>
struct Row {
    static constexpr int EACH_BLOCK = WHOLE ? 1 : THREADS / WARP;

    __device__ int lane() const { return WHOLE ? threadIdx.x : threadIdx.x % WARP; }
    __device__ int width() const { return WHOLE ? THREADS : WARP; }
    __device__ int64 first() const {
        return WHOLE ? int64(blockIdx.x) : int64(blockIdx.x) * EACH_BLOCK + threadIdx.x / WARP;
    }
    __device__ int64 step() const { return int64(gridDim.x) * EACH_BLOCK; }
    template <template <typename> class Combine, typename W>
    __device__ W combine(W value) const {
        if constexpr (WHOLE) {
            return block_combine<Combine>(value);
        } else {
            for (int step = WARP / 2; step > 0; step /= 2)
                value = Combine<W>::of(value, __shfl_xor_sync(ALL_LANES, value, step));
            return value;
        }
    }
    template <typename W>
    __device__ W sum(W value) const {
        return combine<Sum>(value);
    }
    template <typename W>
    __device__ W maximum(W value) const {
        return combine<Maximum>(value);
    }
};

__device__ inline float exponential(float value) { return expf(value); }
__device__ inline double exponential(double value) { return exp(value); }
