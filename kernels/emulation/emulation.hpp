// CUDA's device language for a C++20 compiler: each CUDA thread is a fiber, blocks run one
// after another. Under the thread sanitizer fibers are threads, so a missing barrier and two
// blocks that write one address are reported as races; memory is allocated to the byte and
// poisoned, so the address sanitizer sees accesses out of bounds and tests see what was
// never written.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __align__(n) alignas(n)

struct uint3 {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

namespace emulation {
struct Place {
    uint3 thread, block, grid_size, block_size;
};
// Where the running fiber is. (By value, so that the sanitizers see no shared variable.)
Place place();
void block_barrier();
// Memory of the running block, the same for the same key.
void* shared(const void* key, size_t bytes);
// What lane `source` of the warp has at `mine`, written to `theirs`.
void exchange(const void* mine, void* theirs, size_t bytes, unsigned source);
void add_kernel(const char* name, void* function, void (*call)(void*, void* const*));

template <typename... Arguments, size_t... Index>
void call_with(void (*function)(Arguments...), void* const* arguments, std::index_sequence<Index...>) {
    function(*static_cast<std::remove_reference_t<Arguments>*>(arguments[Index])...);
}
template <typename... Arguments>
struct Registration {
    Registration(const char* name, void (*function)(Arguments...)) {
        add_kernel(name, reinterpret_cast<void*>(function), [](void* function, void* const* arguments) {
            call_with(reinterpret_cast<void (*)(Arguments...)>(function), arguments,
                      std::index_sequence_for<Arguments...>());
        });
    }
};
template <typename... Arguments>
Registration(const char*, void (*)(Arguments...)) -> Registration<Arguments...>;
}  // namespace emulation

#define threadIdx (emulation::place().thread)
#define blockIdx (emulation::place().block)
#define blockDim (emulation::place().block_size)
#define gridDim (emulation::place().grid_size)

#define KERNEL(name, ...)                                      \
    extern "C" void name(__VA_ARGS__);                         \
    static emulation::Registration registration_##name(#name, name); \
    extern "C" void name(__VA_ARGS__)

// A local class is a different one in every function and instantiation: its static is the key.
#define BLOCK_SHARED(type, name, count)                                           \
    static const char name##_key = 0;                                             \
    type* const name = static_cast<type*>(emulation::shared(&name##_key, sizeof(type) * (count)))

inline void __syncthreads() { emulation::block_barrier(); }
inline void __syncwarp(unsigned = 0xffffffffu) {
    int mine = 0, theirs;
    emulation::exchange(&mine, &theirs, sizeof(int), 0);
}

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
    T theirs;
    emulation::exchange(&value, &theirs, sizeof(T), unsigned(lane) % 32);
    return theirs;
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask) {
    return __shfl_sync(mask, value, int(threadIdx.x % 32) ^ lane_mask);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned step) {
    unsigned lane = threadIdx.x % 32;
    return __shfl_sync(mask, value, int(lane + step < 32 ? lane + step : lane));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned step) {
    unsigned lane = threadIdx.x % 32;
    return __shfl_sync(mask, value, int(lane >= step ? lane - step : lane));
}

template <typename T>
T __ldg(const T* address) {
    return *address;
}

inline float atomicAdd(float* address, float value) {
    float old = __atomic_load_n(reinterpret_cast<uint32_t*>(address), __ATOMIC_RELAXED);
    uint32_t expected, desired;
    __atomic_load(reinterpret_cast<uint32_t*>(address), &expected, __ATOMIC_RELAXED);
    do {
        memcpy(&old, &expected, 4);
        float sum = old + value;
        memcpy(&desired, &sum, 4);
    } while (!__atomic_compare_exchange_n(reinterpret_cast<uint32_t*>(address), &expected, desired, false,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
inline int atomicAdd(int* address, int value) { return __atomic_fetch_add(address, value, __ATOMIC_RELAXED); }

template <typename T>
std::enable_if_t<std::is_arithmetic_v<T>, T> min(T a, T b) {
    return b < a ? b : a;
}
template <typename T>
std::enable_if_t<std::is_arithmetic_v<T>, T> max(T a, T b) {
    return a < b ? b : a;
}
inline float __int_as_float(int bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline double rsqrt(double value) { return 1.0 / std::sqrt(value); }
using std::isinf;
using std::isnan;

// 16-bit floating point numbers: stored only; kernels widen before they compute.
struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
    uint32_t bits = uint32_t(value.bits) << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (value != value) return {0x7fff};
    return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
inline float __half2float(__half value) {
    unsigned exponent = (value.bits >> 10) & 31, fraction = value.bits & 1023;
    float magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                      : exponent == 0 ? std::ldexp(float(fraction), -24)
                                      : std::ldexp(float(fraction + 1024), int(exponent) - 25);
    return value.bits & 0x8000 ? -magnitude : magnitude;
}
inline __half __float2half_rn(float value) {
    uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    float magnitude = std::fabs(value);
    if (value != value) return {0x7fff};
    if (magnitude >= 65520.0f) return {uint16_t(sign | 0x7c00)};
    if (magnitude < 6.103515625e-05f)  // below the smallest normal number: steps of 2^-24
        return {uint16_t(sign | uint16_t(std::nearbyint(std::ldexp(magnitude, 24))))};
    int exponent;
    float fraction = std::frexp(magnitude, &exponent);  // 0.5 … 1
    unsigned steps = unsigned(std::nearbyint(std::ldexp(fraction, 11)));  // 1024 … 2048
    return {uint16_t(sign | (((unsigned(exponent) + 14) << 10) + (steps - 1024)))};
}
