/* atomic.h: the atomic operations that the core uses, with the memory order in the name.
   C11 atomics underneath, so that ThreadSanitizer understands every one of them. */
#ifndef PSN_ATOMIC_H
#define PSN_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic(uint32_t) psn_a32;
typedef _Atomic(uint64_t) psn_a64;

_Static_assert(sizeof(psn_a32) == 4 && sizeof(psn_a64) == 8, "atomics must be bare words: they lie in shared memory");

#define load_relaxed(p) atomic_load_explicit(p, memory_order_relaxed)
#define load_acquire(p) atomic_load_explicit(p, memory_order_acquire)
#define load_seq_cst(p) atomic_load_explicit(p, memory_order_seq_cst)
#define store_relaxed(p, v) atomic_store_explicit(p, v, memory_order_relaxed)
#define store_release(p, v) atomic_store_explicit(p, v, memory_order_release)
#define store_seq_cst(p, v) atomic_store_explicit(p, v, memory_order_seq_cst)
#define add_relaxed(p, v) atomic_fetch_add_explicit(p, v, memory_order_relaxed)
#define add_seq_cst(p, v) atomic_fetch_add_explicit(p, v, memory_order_seq_cst)
#define sub_seq_cst(p, v) atomic_fetch_sub_explicit(p, v, memory_order_seq_cst)
#define or_seq_cst(p, v) atomic_fetch_or_explicit(p, v, memory_order_seq_cst)
#define swap_seq_cst(p, v) atomic_exchange_explicit(p, v, memory_order_seq_cst)

/* Between two plain stores of which the second must not be there without the first when we are killed.  Only the compiler has
   to be told: a death falls between two instructions, and the kernel orders all before it for those who learn of it. */
#define in_this_order() atomic_signal_fence(memory_order_seq_cst)

static inline bool cas32_acquire(psn_a32 *p, uint32_t *expected, uint32_t desired) {
    return atomic_compare_exchange_strong_explicit(p, expected, desired, memory_order_acquire, memory_order_relaxed);
}

static inline bool cas32_seq_cst(psn_a32 *p, uint32_t *expected, uint32_t desired) {
    return atomic_compare_exchange_strong_explicit(p, expected, desired, memory_order_seq_cst, memory_order_relaxed);
}

static inline bool cas64_seq_cst(psn_a64 *p, uint64_t *expected, uint64_t desired) {
    return atomic_compare_exchange_strong_explicit(p, expected, desired, memory_order_seq_cst, memory_order_relaxed);
}

static inline void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
