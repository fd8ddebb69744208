// Sums over any axes of a contiguous tensor, added in double in an order that the shape fixes.
//
// The tensor is up to four axes that are kept, up to four that are summed over, and runs of
// adjacent elements that belong to one sum (runs) or to neighbouring sums (columns). The rows of
// a sum are cut into parts: one double a part and sum, which a second kernel adds up.
#include "taper.cuh"

struct Axis {
    int64 length, stride;
};

#define AXES_PARAMETERS(name)                                                                         \
    int64 name##0, int64 name##1, int64 name##2, int64 name##3, int64 name##4, int64 name##5, int64 name##6, \
        int64 name##7
#define AXES(name) \
    { {name##0, name##1}, {name##2, name##3}, {name##4, name##5}, {name##6, name##7} }

__device__ inline int64 place(const Axis (&axes)[4], int64 index) {
    int64 place = 0;
#pragma unroll
    for (int axis = 3; axis >= 0; axis--) {
        place += index % axes[axis].length * axes[axis].stride;
        index /= axes[axis].length;
    }
    return place;
}

// A block takes one part of one sum; threads side by side read along the run.
template <typename T>
__device__ void sum_runs(const T* x, double* partial, int64 outputs, int64 terms, int64 parts, int64 run,
                         const Axis (&kept)[4], const Axis (&summed)[4]) {
    const int64 part = (terms + parts - 1) / parts;
    for (int64 number = blockIdx.x; number < outputs * parts; number += gridDim.x) {
        int64 base = place(kept, number % outputs), first = number / outputs * part;
        int64 end = first + part < terms ? first + part : terms;
        double sum = 0;
        for (int64 term = first + threadIdx.x; term < end; term += THREADS)
            sum += widen(x[base + place(summed, term / run) + term % run]);
        sum = block_sum(sum);
        if (threadIdx.x == 0) partial[number] = sum;
    }
}

// A thread takes one part of one sum; threads side by side have neighbouring sums.
template <typename T>
__device__ void sum_columns(const T* x, double* partial, int64 outputs, int64 rows, int64 parts, int64 run,
                            const Axis (&kept)[4], const Axis (&summed)[4]) {
    const int64 part = (rows + parts - 1) / parts;
    for (int64 number = grid_thread(); number < outputs * parts; number += grid_threads()) {
        int64 output = number % outputs, first = number / outputs * part;
        int64 base = place(kept, output / run) + output % run;
        int64 end = first + part < rows ? first + part : rows;
        double sum = 0;
        for (int64 row = first; row < end; row++) sum += widen(x[base + place(summed, row)]);
        partial[number] = sum;
    }
}

template <typename T>
__device__ void finish(const double* partial, T* sums, int64 outputs, int64 parts) {
    for (int64 output = grid_thread(); output < outputs; output += grid_threads()) {
        double sum = 0;
        for (int64 part = 0; part < parts; part++) sum += partial[part * outputs + output];
        sums[output] = narrow<T>(Wide<T>(sum));
    }
}

#define INSTANCE(T, suffix)                                                                                    \
    KERNEL(sum_runs_##suffix, const T* x, double* partial, int64 outputs, int64 terms, int64 parts, int64 run, \
           AXES_PARAMETERS(kept), AXES_PARAMETERS(summed)) {                                                   \
        sum_runs(x, partial, outputs, terms, parts, run, AXES(kept), AXES(summed));                            \
    }                                                                                                          \
    KERNEL(sum_columns_##suffix, const T* x, double* partial, int64 outputs, int64 rows, int64 parts,          \
           int64 run, AXES_PARAMETERS(kept), AXES_PARAMETERS(summed)) {                                        \
        sum_columns(x, partial, outputs, rows, parts, run, AXES(kept), AXES(summed));                          \
    }                                                                                                          \
    KERNEL(sum_finish_##suffix, const double* partial, T* sums, int64 outputs, int64 parts) {                  \
        finish(partial, sums, outputs, parts);                                                                 \
    }
EACH_TYPE(INSTANCE)
