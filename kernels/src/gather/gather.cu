// gather, index_select, scatter and scatter_add, and their derivatives.
//
// The index is walked as blocks of up to four axes, the indexed axis, and a run of adjacent
// elements (walk.rs). What is picked is shared out element by element. What goes into the data
// is shared out by places: a thread has one block, one element of the run and a range of the
// data's axis, goes through the indices in order and takes those of its range. So what meets in
// one place is added, or replaced, in the order of the index, with no atomics.
#include "taper.cuh"

struct Steps {
    int64 length, index, picked, data;
};

// The axis has no step in the data: that is `stride` times the index.
struct Walk {
    Steps block[4], axis, run;
    int64 bound, stride;
};

struct At {
    int64 index, picked, data;
};

__device__ inline void step(At& at, const Steps& steps, int64 count) {
    at.index += steps.index * count;
    at.picked += steps.picked * count;
    at.data += steps.data * count;
}

__device__ inline int64 blocks(const Walk& walk) {
    int64 count = 1;
#pragma unroll
    for (int axis = 0; axis < 4; axis++) count *= walk.block[axis].length;
    return count;
}

// Where element `column` of the run of block `number` begins.
__device__ inline At start(const Walk& walk, int64 number, int64 column) {
    At at = {0, 0, 0};
#pragma unroll
    for (int axis = 3; axis >= 0; axis--) {
        int64 length = walk.block[axis].length;
        step(at, walk.block[axis], number % length);
        number /= length;
    }
    step(at, walk.run, column);
    return at;
}

#define STEPS_PARAMETERS(name) int64 name##0, int64 name##1, int64 name##2, int64 name##3
#define STEPS(name) {name##0, name##1, name##2, name##3}
#define WALK_PARAMETERS                                                                              \
    STEPS_PARAMETERS(a), STEPS_PARAMETERS(b), STEPS_PARAMETERS(c), STEPS_PARAMETERS(d),              \
        STEPS_PARAMETERS(axis), STEPS_PARAMETERS(run), int64 bound, int64 stride
#define WALK \
    Walk { {STEPS(a), STEPS(b), STEPS(c), STEPS(d)}, STEPS(axis), STEPS(run), bound, stride }

// `write(position in picked, position in data or -1 outside, row)` for every element of the index.
template <typename I, typename Write>
__device__ void pick(const I* index, const Walk& walk, Write write) {
    const int64 rows = walk.axis.length, run = walk.run.length, total = blocks(walk) * rows * run;
    for (int64 i = grid_thread(); i < total; i += grid_threads()) {
        int64 column = i % run, row = i / run % rows;
        At at = start(walk, i / run / rows, column);
        step(at, walk.axis, row);
        int64 chosen = int64(index[at.index]);
        bool inside = chosen >= 0 && chosen < walk.bound;
        write(at.picked, inside ? at.data + chosen * walk.stride : int64(-1), row);
    }
}

// For each block of threads: minus the first position of an index outside, or -infinity.
template <typename I>
__device__ void check(const I* index, double* first_outside, int64 length, int64 bound) {
    double outside = -infinity<double>();
    for (int64 i = grid_thread(); i < length; i += grid_threads())
        if (int64(index[i]) < 0 || int64(index[i]) >= bound) outside = Maximum<double>::of(outside, -double(i));
    outside = block_maximum(outside);
    if (threadIdx.x == 0) first_outside[blockIdx.x] = outside;
}

// `change(position in data, position in picked, row)` for every element of the index inside the
// bound; for one place in the data in the order of the rows. `segments` ranges of the data's axis.
template <typename I, typename Change>
__device__ void put(const I* index, int64 segments, const Walk& walk, Change change) {
    const int64 rows = walk.axis.length, run = walk.run.length, lines = blocks(walk) * run;
    const int64 segment = (walk.bound + segments - 1) / segments;
    for (int64 i = grid_thread(); i < lines * segments; i += grid_threads()) {
        int64 line = i % lines, first = i / lines * segment;
        At at = start(walk, line / run, line % run);
        for (int64 row = 0; row < rows; row++) {
            int64 chosen = int64(index[at.index]);
            if (chosen >= first && chosen < first + segment && chosen < walk.bound)
                change(at.data + chosen * walk.stride, at.picked, row);
            step(at, walk.axis, 1);
        }
    }
}

// y = x, or zeros.
template <typename T>
__device__ void begin(const T* x, T* y, int64 length) {
    for (int64 i = grid_thread(); i < length; i += grid_threads()) y[i] = x ? x[i] : narrow<T>(Wide<T>(0));
}

// Sums of 16-bit numbers are kept in float until they are complete.
template <typename T>
__device__ void begin_wide(const T* x, Wide<T>* y, int64 length) {
    for (int64 i = grid_thread(); i < length; i += grid_threads()) y[i] = x ? widen(x[i]) : Wide<T>(0);
}

template <typename T>
__device__ void finish_wide(const Wide<T>* x, T* y, int64 length) {
    for (int64 i = grid_thread(); i < length; i += grid_threads()) y[i] = narrow<T>(x[i]);
}

#define EACH_INDEX(INSTANCE, T, suffix) INSTANCE(T, suffix, uint32, u32) INSTANCE(T, suffix, int64, i64)

#define OF_INDEX(T, suffix, I, index_suffix)                                                                      \
    KERNEL(gather_pick_##suffix##_##index_suffix, const T* data, const I* index, T* picked,                       \
           WALK_PARAMETERS) {                                                                                     \
        pick(index, WALK, [=](int64 to, int64 from, int64) {                                       \
            picked[to] = from < 0 ? narrow<T>(Wide<T>(0)) : data[from];                                           \
        });                                                                                                       \
    }                                                                                                             \
    KERNEL(gather_add_##suffix##_##index_suffix, const T* picked, const I* index, Wide<T>* data, int64 segments,  \
           WALK_PARAMETERS) {                                                                                     \
        put(index, segments, WALK, [=](int64 to, int64 from, int64) {                                             \
            data[to] += widen(picked[from]);                                                                      \
        });                                                                                                       \
    }                                                                                                             \
    KERNEL(scatter_replace_##suffix##_##index_suffix, const T* picked, const I* index, T* data, int64 segments,   \
           WALK_PARAMETERS) {                                                                                     \
        put(index, segments, WALK, [=](int64 to, int64 from, int64) {                                             \
            data[to] = picked ? picked[from] : narrow<T>(Wide<T>(0));                                             \
        });                                                                                                       \
    }                                                                                                             \
    KERNEL(scatter_source_gradient_##suffix##_##index_suffix, const T* gradient, const I* index,                  \
           const uint32* last, T* picked, WALK_PARAMETERS) {                                                      \
        pick(index, WALK, [=](int64 to, int64 from, int64 row) {                                         \
            bool stayed = from >= 0 && (!last || last[from] == uint32(row));                                      \
            picked[to] = stayed ? gradient[from] : narrow<T>(Wide<T>(0));                                         \
        });                                                                                                       \
    }

#define INSTANCE(T, suffix)                                                                        \
    KERNEL(gather_begin_##suffix, const T* x, T* y, int64 length) { begin(x, y, length); }             \
    KERNEL(gather_begin_wide_##suffix, const T* x, Wide<T>* y, int64 length) { begin_wide(x, y, length); } \
    KERNEL(gather_finish_wide_##suffix, const Wide<T>* x, T* y, int64 length) { finish_wide(x, y, length); } \
    EACH_INDEX(OF_INDEX, T, suffix)
EACH_TYPE(INSTANCE)

// The row of the index that each place of the data was left with; the first positions outside.
#define OF_INDEX_ALONE(T, suffix, I, index_suffix)                                                        \
    KERNEL(gather_check_##index_suffix, const I* index, double* first_outside, int64 length,              \
           int64 bound) {                                                                                 \
        check(index, first_outside, length, bound);                                                       \
    }                                                                                                     \
    KERNEL(scatter_last_##index_suffix, const I* index, uint32* last, int64 segments, WALK_PARAMETERS) {  \
        put(index, segments, WALK, [=](int64 to, int64, int64 row) { last[to] = uint32(row); });          \
    }
EACH_INDEX(OF_INDEX_ALONE, float, f32)

// One block: minus the first position outside among those of the blocks, or -infinity.
KERNEL(gather_outside, const double* first_outside, double* found, int count) {
    double outside = -infinity<double>();
    for (int i = threadIdx.x; i < count; i += THREADS) outside = Maximum<double>::of(outside, first_outside[i]);
    outside = block_maximum(outside);
    if (threadIdx.x == 0) *found = outside;
}
