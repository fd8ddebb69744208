// Kernels with a fault each, to see that the emulation reports them.
#include "taper.cuh"

KERNEL(right, float* values, int64) {
    BLOCK_SHARED(float, shared, THREADS);
    shared[threadIdx.x] = float(threadIdx.x);
    __syncthreads();
    values[grid_thread()] = shared[THREADS - 1 - threadIdx.x];
}

KERNEL(no_barrier, float* values, int64) {
    BLOCK_SHARED(float, shared, THREADS);
    shared[threadIdx.x] = float(threadIdx.x);
    values[grid_thread()] = shared[THREADS - 1 - threadIdx.x];
}

KERNEL(one_address_of_two_blocks, float* values, int64) {
    if (threadIdx.x == 0) values[0] = float(blockIdx.x);
}

KERNEL(behind_the_end, float* values, int64 length) { values[grid_thread() + 1] = float(length); }

KERNEL(behind_the_shared_end, float* values, int64) {
    BLOCK_SHARED(float, shared, THREADS);
    shared[threadIdx.x + 1] = 1.0f;
    values[grid_thread()] = shared[threadIdx.x];
}

KERNEL(misaligned, float* values, int64) { store_pack(values + 1, load_pack(values)); }

KERNEL(half_a_barrier, float* values, int64) {
    if (threadIdx.x < WARP) __syncthreads();
    values[grid_thread()] = 1.0f;
}

KERNEL(half_written, float* values, int64) {
    if (threadIdx.x % 2 == 0) values[grid_thread()] = 1.0f;
}
