/* lock.h: locks and semaphores that know who holds them, in shared memory.
   If the holder was *killed*, the next to acquire gets OWNER_DIED once, and the lock is free again.  A process that ended in
   order while holding a lock leaves it held: anyone may release it, as with the standard library's.
   Uncontended acquire and release are one atomic operation each and make no system call. */
#ifndef PSN_LOCK_H
#define PSN_LOCK_H

#include "counts.h"

/* owner    | meaning
     0      | free
     id     | held by the process of that identity, even if it has ended since
     DEAD   | its holder was killed and swept away; the next to acquire learns of it
   `thread` is written only by the owner, after it took the lock and before it lets go; so "owner is me and thread is me"
   can be true only for the thread that holds it. */
struct psn_lock {
    psn_a32 owner;
    psn_a32 thread;
    uint32_t depth; /* acquisitions of a recursive lock; touched by the owner only */
    uint32_t recursive;
    struct psn_waitable released;
    psn_a32 dead_pid; /* evidence for OWNER_DIED: a struct psn_death */
    psn_a32 dead_exitcode;
    psn_a32 cpu; /* where the owner was when it took the lock */
    uint32_t spare[5];
};
_Static_assert(sizeof(struct psn_lock) == 64, "shared layout changed: bump PSN_LAYOUT_VERSION");

#define PSN_LOCK_DEAD UINT32_MAX

void psn_lock_init(struct psn_lock *lock, bool recursive);
/* OK, TIMED_OUT, INTERRUPTED, OWNER_DIED (not acquired; `death` says who and how).  A deadline of 0 does not wait. */
PSN_MUST_CHECK psn_status psn_lock_acquire(struct psn_arena *arena, struct psn_lock *lock, uint64_t deadline_ns,
                                           struct psn_death *death);
/* As with a deadline of 0, but looks for a microsecond or so at what another process holds: most is free again by then. */
PSN_MUST_CHECK psn_status psn_lock_acquire_soon(struct psn_arena *arena, struct psn_lock *lock, struct psn_death *death);
/* OK; NOT_HELD; NOT_OWNER if the lock is recursive and another thread's. */
PSN_MUST_CHECK psn_status psn_lock_release(struct psn_arena *arena, struct psn_lock *lock);
bool psn_lock_is_mine(struct psn_arena *arena, struct psn_lock *lock);

/* A semaphore remembers how many permits each process has taken.  If a killed process had some, and permits taken and
   permits left add up to the initial value (so the semaphore guards a resource, and is no signal from one process to
   another), its permits come back, and the next to wait in vain gets OWNER_DIED. */
struct psn_semaphore {
    struct psn_mutex mutex;
    psn_a32 value;     /* permits left; follows from what is below, which a dead holder's repair goes by */
    uint32_t initial;
    uint32_t limit;    /* release beyond it is NOT_HELD */
    uint32_t has_died; /* evidence that nobody has been told of yet: a pid */
    struct psn_waitable released;
    uint32_t permits; /* left and taken together; constant unless a release answers no acquire (a signal) */
    uint32_t dead;    /* identity of the process that `has_died` */
    struct psn_counts taken;
    int32_t dead_exitcode;
    uint32_t spare;
};
_Static_assert(sizeof(struct psn_semaphore) == 248, "shared layout changed: bump PSN_LAYOUT_VERSION");

PSN_MUST_CHECK psn_status psn_semaphore_init(struct psn_semaphore *semaphore, uint32_t value, uint32_t limit);
PSN_MUST_CHECK psn_status psn_semaphore_acquire(struct psn_arena *arena, struct psn_semaphore *semaphore,
                                                uint64_t deadline_ns, struct psn_death *death);
PSN_MUST_CHECK psn_status psn_semaphore_release(struct psn_arena *arena, struct psn_semaphore *semaphore);

/* Tell the arena what to do with locks of dead processes; once per process. */
void psn_lock_register_kinds(void);

#endif
