// The emulated device: memory, launches, and the fibers that are its threads. Commands come
// on standard input (kernels/src/cuda/emulation.rs writes them), answers go to standard output.
//
// Compiled without instrumentation, so that the sanitizers watch the kernels only; what
// orders two threads (a barrier, a shuffle, the end of a kernel) is told to the thread
// sanitizer here.

#include "emulation.hpp"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

extern "C" {
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_switch_to_fiber(void* fiber, unsigned flags);
[[gnu::weak]] void __tsan_acquire(void* address);
[[gnu::weak]] void __tsan_release(void* address);
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, size_t* size);
}

namespace {

constexpr size_t STACK = 256 * 1024;
constexpr unsigned SWITCH_WITHOUT_ORDER = 1;

[[noreturn]] void fail(const std::string& message) {
    fprintf(stderr, "emulation: %s\n", message.c_str());
    fflush(stderr);
    _exit(2);
}

void acquire(void* address) {
    if (__tsan_acquire) __tsan_acquire(address);
}
void release(void* address) {
    if (__tsan_release) __tsan_release(address);
}

// memcpy, but not the one that the thread sanitizer watches.
void copy(void* to, const void* from, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) static_cast<volatile char*>(to)[i] = static_cast<const char*>(from)[i];
}

struct Kernel {
    void* function;
    void (*call)(void*, void* const*);
};
std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

enum class State { Ready, WantsMemory, AtBlockBarrier, AtWarpBarrier, Done };

struct Fiber {
    ucontext_t context;
    emulation::Place place;
    State state = State::Ready;
    char* stack = nullptr;
    void* of_thread_sanitizer = nullptr;
    void* fake_stack = nullptr;
};

struct Warp {
    char values[32][16];
    char order;  // an address that barriers of the warp order accesses by
};

struct Block {
    std::vector<Fiber*> fibers;  // by thread
    std::vector<Warp> warps;
    std::map<const void*, void*> shared;
    const void* wanted_key = nullptr;
    size_t wanted_bytes = 0;
    char order;
};

ucontext_t scheduler;
void* scheduler_of_thread_sanitizer = nullptr;
void* scheduler_fake_stack = nullptr;
const void* scheduler_stack = nullptr;
size_t scheduler_stack_size = 0;
Block* block = nullptr;
Fiber* running = nullptr;
const Kernel* kernel = nullptr;
void* const* kernel_arguments = nullptr;
// The shared memory of all blocks of this launch: given back when all are known to be over.
std::vector<void*> shared_memories;
// The fibers serve all blocks, each block's thread 0 another one: that two blocks' threads of
// one number conflict is seen, too.
std::vector<Fiber> pool;
size_t blocks_run = 0;
char kernel_start;
char kernel_end;

void to_scheduler() {
    Fiber* self = running;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&self->fake_stack, scheduler_stack, scheduler_stack_size);
    if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(scheduler_of_thread_sanitizer, SWITCH_WITHOUT_ORDER);
    swapcontext(&self->context, &scheduler);
    if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(self->fake_stack, nullptr, nullptr);
}

void to_fiber(Fiber& fiber) {
    running = &fiber;
    if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber.stack, STACK);
    if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(fiber.of_thread_sanitizer, SWITCH_WITHOUT_ORDER);
    swapcontext(&scheduler, &fiber.context);
    if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
    running = nullptr;
}

void fiber_main() {
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
    for (;;) {
        acquire(&kernel_start);
        kernel->call(kernel->function, kernel_arguments);
        release(&kernel_end);
        running->state = State::Done;
        to_scheduler();
    }
}

void wait(State barrier, char* order) {
    release(order);
    running->state = barrier;
    to_scheduler();
    acquire(order);
}

// Lets those go on that all have arrived; false if none could.
bool open_barriers() {
    bool opened = false;
    for (size_t first = 0; first < block->fibers.size(); first += 32) {
        size_t end = std::min(first + 32, block->fibers.size());
        bool arrived = true;
        for (size_t lane = first; lane < end; lane++)
            arrived = arrived && block->fibers[lane]->state == State::AtWarpBarrier;
        if (!arrived) continue;
        for (size_t lane = first; lane < end; lane++) block->fibers[lane]->state = State::Ready;
        opened = true;
    }
    if (opened) return true;
    for (Fiber* fiber : block->fibers)
        if (fiber->state != State::AtBlockBarrier) return false;
    for (Fiber* fiber : block->fibers) fiber->state = State::Ready;
    return true;
}

// Shared memory is allocated by the scheduler: what one thread allocates, others would race for.
void allocate_shared() {
    void* memory = malloc(block->wanted_bytes);  // 16-byte aligned, and its end is known to the byte
    memset(memory, 0xff, block->wanted_bytes);
    release(memory);
    block->shared[block->wanted_key] = memory;
    shared_memories.push_back(memory);
}

void make_fibers(size_t count) {
    char* stacks = static_cast<char*>(
        mmap(nullptr, STACK * count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks == MAP_FAILED) fail("no memory for stacks");
    pool.resize(count);
    for (Fiber& fiber : pool) {
        fiber.stack = stacks;
        stacks += STACK;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, fiber_main, 0);
        if (__tsan_create_fiber) fiber.of_thread_sanitizer = __tsan_create_fiber(0);
    }
}

void run_block(uint3 index, uint3 grid, uint3 threads) {
    size_t count = threads.x;
    if (pool.empty()) make_fibers(count);
    if (pool.size() != count) fail("blocks of another size");
    Block here;
    block = &here;
    here.warps.resize((count + 31) / 32);
    for (size_t thread = 0; thread < count; thread++) {
        Fiber& fiber = pool[(thread + blocks_run) % count];
        fiber.place = {{unsigned(thread), 0, 0}, index, grid, threads};
        fiber.state = State::Ready;
        here.fibers.push_back(&fiber);
    }
    blocks_run++;
    for (;;) {
        bool all_done = true;
        for (Fiber* fiber : here.fibers) {
            while (fiber->state == State::Ready) {
                to_fiber(*fiber);
                if (fiber->state != State::WantsMemory) break;
                allocate_shared();
                fiber->state = State::Ready;
            }
            all_done = all_done && fiber->state == State::Done;
        }
        if (all_done) break;
        if (!open_barriers()) fail("the threads of a block do not meet at one barrier");
    }
    block = nullptr;
}

// Commands.

bool read_all(void* target, size_t bytes) {
    return bytes == 0 || fread(target, 1, bytes, stdin) == bytes;
}
template <typename T>
T read_value() {
    T value;
    if (!read_all(&value, sizeof(T))) fail("the command ends early");
    return value;
}
void answer(const void* bytes, size_t length) {
    fwrite(bytes, 1, length, stdout);
    fflush(stdout);
}

std::map<uint64_t, std::pair<char*, size_t>> memories;

std::pair<char*, size_t> memory(uint64_t name) {
    auto found = memories.find(name);
    if (found == memories.end()) fail("unknown or freed memory");
    return found->second;
}

void launch() {
    std::string name(read_value<uint32_t>(), ' ');
    read_all(name.data(), name.size());
    uint3 grid = read_value<uint3>();
    uint3 threads = {read_value<uint32_t>(), 1, 1};
    std::vector<uint64_t> values(read_value<uint32_t>());
    std::vector<void*> arguments;
    for (uint64_t& value : values) {
        char kind = read_value<char>();
        value = read_value<uint64_t>();
        if (kind == 'p') {  // a memory, and an offset in bytes
            uint64_t offset = read_value<uint64_t>();
            auto [start, length] = memory(value);
            if (offset > length) fail(name + ": an argument starts behind its memory");
            value = reinterpret_cast<uint64_t>(start + offset);
        }
        arguments.push_back(&value);
    }
    auto found = kernels().find(name);
    if (found == kernels().end()) fail("no kernel named " + name);
    kernel = &found->second;
    kernel_arguments = arguments.data();
    release(&kernel_start);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) run_block({x, y, z}, grid, threads);
    acquire(&kernel_end);
    for (void* memory : shared_memories) free(memory);
    shared_memories.clear();
    answer("k", 1);
}

}  // namespace

namespace emulation {

Place place() { return running->place; }

void block_barrier() { wait(State::AtBlockBarrier, &block->order); }

void* shared(const void* key, size_t bytes) {
    auto found = block->shared.find(key);
    if (found == block->shared.end()) {
        block->wanted_key = key;
        block->wanted_bytes = bytes;
        running->state = State::WantsMemory;
        to_scheduler();
        found = block->shared.find(key);
    }
    acquire(found->second);
    return found->second;
}

void exchange(const void* mine, void* theirs, size_t bytes, unsigned source) {
    if (bytes > sizeof(Warp::values[0])) fail("a shuffle of more than 16 bytes");
    unsigned thread = running->place.thread.x;
    Warp& warp = block->warps[thread / 32];
    copy(warp.values[thread % 32], mine, bytes);
    wait(State::AtWarpBarrier, &warp.order);
    copy(theirs, warp.values[source], bytes);
    wait(State::AtWarpBarrier, &warp.order);
}

void add_kernel(const char* name, void* function, void (*call)(void*, void* const*)) {
    kernels()[name] = {function, call};
}

}  // namespace emulation

int main() {
    if (__tsan_get_current_fiber) scheduler_of_thread_sanitizer = __tsan_get_current_fiber();
    answer("k", 1);
    for (char command; read_all(&command, 1);) {
        switch (command) {
            case 'a': {  // allocate: name, bytes. Filled with 0xff: NaN until written.
                auto name = read_value<uint64_t>(), bytes = read_value<uint64_t>();
                char* start = static_cast<char*>(malloc(bytes));
                memset(start, 0xff, bytes);
                memories[name] = {start, bytes};
                break;
            }
            case 'w': {  // write: name, the bytes
                auto [start, bytes] = memory(read_value<uint64_t>());
                if (!read_all(start, bytes)) fail("the command ends early");
                break;
            }
            case 'r': {  // read: name
                auto [start, bytes] = memory(read_value<uint64_t>());
                answer(start, bytes);
                break;
            }
            case 'f': {  // free: name
                auto name = read_value<uint64_t>();
                free(memory(name).first);
                memories.erase(name);
                break;
            }
            case 'l': launch(); break;
            default: fail("unknown command");
        }
    }
    for (auto& [name, memory] : memories) free(memory.first);
    return 0;
}
