/* Counts the bytes that a process holds from malloc, and the most it held at once.
 *
 *     cc -O2 -shared -fPIC -o malloc_peak.so malloc_peak.c -ldl
 *     LD_PRELOAD=./malloc_peak.so python step.py resnet20
 *
 * The counterpart of the counting allocator of the taper program: what is asked for and not yet
 * given back, whatever the allocator keeps besides. step.py reads the counters through ctypes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static _Atomic size_t live, peak;
static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void *(*real_memalign)(size_t, size_t);
static void (*real_free)(void *);

/* dlsym itself may allocate before the real functions are known. */
static char early[65536];
static size_t early_used;
static _Thread_local int resolving;

static void resolve(void) {
    if (real_free || resolving) return;
    resolving = 1;
    real_malloc = dlsym(RTLD_NEXT, "malloc");
    real_calloc = dlsym(RTLD_NEXT, "calloc");
    real_realloc = dlsym(RTLD_NEXT, "realloc");
    real_memalign = dlsym(RTLD_NEXT, "memalign");
    real_free = dlsym(RTLD_NEXT, "free");
    resolving = 0;
}

static void *early_block(size_t size) {
    size_t start = (early_used + 15) & ~(size_t)15;
    if (start + size > sizeof early) return NULL;
    early_used = start + size;
    return early + start;
}

static int is_early(void *block) {
    return (char *)block >= early && (char *)block < early + sizeof early;
}

static void *grow(void *block) {
    if (block) {
        size_t now = atomic_fetch_add(&live, malloc_usable_size(block)) + malloc_usable_size(block);
        size_t most = atomic_load(&peak);
        while (now > most && !atomic_compare_exchange_weak(&peak, &most, now)) {
        }
    }
    return block;
}

void *malloc(size_t size) {
    resolve();
    return real_malloc ? grow(real_malloc(size)) : early_block(size);
}

void *calloc(size_t count, size_t size) {
    resolve();
    return real_calloc ? grow(real_calloc(count, size)) : early_block(count * size);
}

void free(void *block) {
    if (!block || is_early(block)) return;
    resolve();
    atomic_fetch_sub(&live, malloc_usable_size(block));
    real_free(block);
}

void *realloc(void *block, size_t size) {
    resolve();
    if (is_early(block)) {
        void *moved = malloc(size);
        size_t rest = (size_t)(early + sizeof early - (char *)block);
        if (moved) memcpy(moved, block, size < rest ? size : rest);
        return moved;
    }
    size_t before = block ? malloc_usable_size(block) : 0;
    void *moved = real_realloc(block, size);
    if (moved || size == 0) atomic_fetch_sub(&live, before);
    return grow(moved);
}

void *memalign(size_t alignment, size_t size) {
    resolve();
    return grow(real_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    void *made = memalign(alignment, size);
    if (!made) return ENOMEM;
    *block = made;
    return 0;
}

size_t malloc_live_bytes(void) { return atomic_load(&live); }
size_t malloc_peak_bytes(void) { return atomic_load(&peak); }
void malloc_reset_peak(void) { atomic_store(&peak, atomic_load(&live)); }
