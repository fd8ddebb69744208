// dropout: an element stays if the hash of its index and the key reaches the threshold.
#include "taper.cuh"

__device__ inline unsigned mix(unsigned x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ (x >> 16);
}

#define INSTANCE(T, suffix)                                                                           \
    KERNEL(dropout_##suffix, const T* x, T* y, int64 length, int64 key, int64 threshold,              \
           double scale) {                                                                            \
        typedef Wide<T> W;                                                                            \
        const unsigned lower = (unsigned)key, upper = (unsigned)((unsigned long long)key >> 32);      \
        for (int64 index = grid_thread(); index < length; index += grid_threads()) {                  \
            unsigned high = (unsigned)((unsigned long long)index >> 32);                              \
            unsigned hash = mix(mix((unsigned)index ^ lower) + (upper + high * 0x9E3779B9u));         \
            bool kept = hash >= (unsigned)threshold;                                                  \
            y[index] = narrow<T>(kept ? W(widen(x[index]) * W(scale)) : W(0));                        \
        }                                                                                             \
    }
EACH_TYPE(INSTANCE)
