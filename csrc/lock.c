/* lock.c: see lock.h. */
#include "lock.h"

#include <stddef.h>
#include <string.h>

/* A wait lasts at most this long before the owner is looked at again: a death is noticed within it, and a wake-up that
   was given to a process killed on its way is not missed for longer. */
#define FIRST_LOOK_NS 20000000u
#define LAST_LOOK_NS 500000000u
#define SPINS 200
#define SOON_SPINS 40

static uint64_t next_look(uint64_t *step_ns, uint64_t deadline_ns) {
    uint64_t look = psn_clock_ns() + *step_ns;
    *step_ns = *step_ns * 2 > LAST_LOOK_NS ? LAST_LOOK_NS : *step_ns * 2;
    return look < deadline_ns ? look : deadline_ns;
}

void psn_lock_init(struct psn_lock *lock, bool recursive) {
    memset(lock, 0, sizeof *lock);
    lock->recursive = recursive;
}

bool psn_lock_is_mine(struct psn_arena *arena, struct psn_lock *lock) {
    return load_relaxed(&lock->owner) == arena->identity && load_relaxed(&lock->thread) == psn_thread_id();
}

static bool try_acquire(struct psn_arena *arena, struct psn_lock *lock) {
    uint32_t owner = 0;
    /* pairs with: psn_lock_release() swap.  What the last owner wrote is seen. */
    if (!cas32_acquire(&lock->owner, &owner, arena->identity))
        return false;
    store_relaxed(&lock->thread, psn_thread_id());
    lock->depth = 1;
    return true;
}

/* The owner was killed: free the lock; true for the one caller that is to be told. */
static bool free_dead(struct psn_arena *arena, struct psn_lock *lock, uint32_t owner, struct psn_death *death) {
    if (owner == PSN_LOCK_DEAD)
        *death = (struct psn_death){load_relaxed(&lock->dead_pid), (int32_t)load_relaxed(&lock->dead_exitcode)};
    else if (!psn_identity_has_died(arena, owner, death))
        return false;
    /* Take it over and let it go: only the owner may write `thread`, and a new owner may be here already. */
    if (!cas32_seq_cst(&lock->owner, &owner, arena->identity))
        return false;
    store_relaxed(&lock->thread, 0);
    owner = arena->identity;
    cas32_seq_cst(&lock->owner, &owner, 0);
    return true;
}

psn_status psn_lock_acquire(struct psn_arena *arena, struct psn_lock *lock, uint64_t deadline_ns, struct psn_death *death) {
    if (try_acquire(arena, lock))
        return PSN_OK;
    if (lock->recursive && psn_lock_is_mine(arena, lock)) {
        lock->depth++;
        return PSN_OK;
    }
    /* pairs with: lock_owner_died().  The evidence is seen. */
    uint32_t owner = load_acquire(&lock->owner);
    if (owner == PSN_LOCK_DEAD && free_dead(arena, lock, owner, death)) {
        psn_wake_one(&lock->released);
        return PSN_OWNER_DIED;
    }
    if (deadline_ns == 0)
        return try_acquire(arena, lock) ? PSN_OK : PSN_TIMED_OUT;
    for (int i = 0; i < SPINS; i++) {
        if (load_relaxed(&lock->owner) == 0 && try_acquire(arena, lock))
            return PSN_OK;
        cpu_pause();
    }
    for (uint64_t step_ns = FIRST_LOOK_NS;;) {
        uint32_t ticket = psn_wait_prepare(&lock->released);
        if (try_acquire(arena, lock))
            return PSN_OK;
        psn_status status = psn_wait_commit(&lock->released, ticket, next_look(&step_ns, deadline_ns));
        if (try_acquire(arena, lock))
            return PSN_OK;
        if (status == PSN_INTERRUPTED)
            return status;
        owner = load_acquire(&lock->owner); /* the same */
        if (owner && (status == PSN_TIMED_OUT || owner == PSN_LOCK_DEAD) && free_dead(arena, lock, owner, death)) {
            psn_wake_one(&lock->released);
            return PSN_OWNER_DIED;
        }
        if (status == PSN_TIMED_OUT && psn_clock_ns() >= deadline_ns)
            return PSN_TIMED_OUT;
    }
}

psn_status psn_lock_acquire_soon(struct psn_arena *arena, struct psn_lock *lock, struct psn_death *death) {
    if (try_acquire(arena, lock))
        return PSN_OK;
    for (int i = 0; i < SOON_SPINS; i++) {
        uint32_t owner = load_relaxed(&lock->owner);
        if (owner == arena->identity || owner == PSN_LOCK_DEAD)
            break; /* ours already, or a thread's that cannot let go while this one has the interpreter */
        if (owner == 0 && try_acquire(arena, lock))
            return PSN_OK;
        cpu_pause();
    }
    return psn_lock_acquire(arena, lock, 0, death);
}

psn_status psn_lock_release(struct psn_arena *arena, struct psn_lock *lock) {
    uint32_t owner = load_relaxed(&lock->owner);
    if (lock->recursive) {
        if (!psn_lock_is_mine(arena, lock))
            return PSN_NOT_OWNER;
        if (lock->depth > 1) {
            lock->depth--;
            return PSN_OK;
        }
    } else if (owner == 0 || owner == PSN_LOCK_DEAD) {
        return PSN_NOT_HELD;
    }
    store_relaxed(&lock->thread, 0);
    /* pairs with: try_acquire(). */
    if (swap_seq_cst(&lock->owner, 0) == 0)
        return PSN_NOT_HELD;
    psn_wake_one(&lock->released);
    return PSN_OK;
}

/* ---- semaphore ---- */

psn_status psn_semaphore_init(struct psn_semaphore *semaphore, uint32_t value, uint32_t limit) {
    memset(semaphore, 0, sizeof *semaphore);
    store_relaxed(&semaphore->value, value);
    semaphore->initial = value;
    semaphore->permits = value;
    semaphore->limit = limit;
    return psn_mutex_init(&semaphore->mutex);
}

static void lock_semaphore(struct psn_arena *arena, struct psn_semaphore *semaphore) {
    if (psn_mutex_lock(&semaphore->mutex) == PSN_OWNER_DIED) {
        /* A change commits by its store to one of the counts or to `permits`; `value` follows from them. */
        psn_counts_repair(arena, &semaphore->taken);
        if (semaphore->has_died && psn_counts_of(arena, &semaphore->taken, semaphore->dead))
            semaphore->has_died = 0; /* what it had has not come back yet: it will be told of when it does */
        store_relaxed(&semaphore->value, semaphore->permits - semaphore->taken.total);
        psn_mutex_repaired(&semaphore->mutex);
    }
}

static bool is_resource(const struct psn_semaphore *semaphore) { return semaphore->permits == semaphore->initial; }

static bool reclaim(struct psn_arena *arena, struct psn_semaphore *semaphore, uint32_t identity,
                    const struct psn_death *death) {
    if (!is_resource(semaphore) || !psn_counts_of(arena, &semaphore->taken, identity))
        return false;
    semaphore->dead = identity;
    semaphore->dead_exitcode = death->exitcode;
    in_this_order();
    semaphore->has_died = death->pid;
    in_this_order();
    psn_counts_clear(arena, &semaphore->taken, identity);
    store_relaxed(&semaphore->value, semaphore->permits - semaphore->taken.total);
    return true;
}

static void look_for_the_dead(struct psn_arena *arena, struct psn_semaphore *semaphore) {
    struct psn_death found;
    uint32_t identity;
    while (is_resource(semaphore) &&
           (identity = psn_counts_find_dead(arena, &semaphore->taken, psn_identity_has_died, &found)))
        reclaim(arena, semaphore, identity, &found);
}

psn_status psn_semaphore_acquire(struct psn_arena *arena, struct psn_semaphore *semaphore, uint64_t deadline_ns,
                                 struct psn_death *death) {
    uint32_t ticket = 0;
    bool is_counted = false; /* as a waiter: only once there was nothing to take, or each release would make a system call */
    bool has_extended = false;
    for (uint64_t step_ns = FIRST_LOOK_NS;;) {
        lock_semaphore(arena, semaphore);
        if (semaphore->has_died) {
            *death = (struct psn_death){semaphore->has_died, semaphore->dead_exitcode};
            semaphore->has_died = 0;
            psn_mutex_unlock(&semaphore->mutex);
            psn_wake_all(&semaphore->released);
            return PSN_OWNER_DIED;
        }
        if (load_relaxed(&semaphore->value)) {
            if (!psn_counts_add(arena, &semaphore->taken, arena->identity)) {
                if (!has_extended) {
                    psn_mutex_unlock(&semaphore->mutex);
                    (void)!psn_counts_extend(arena, &semaphore->taken, psn_offset_of(arena, semaphore));
                    has_extended = true; /* or there is no memory: then it is taken without a name */
                    continue;
                }
                psn_counts_add_other(&semaphore->taken);
            }
            add_relaxed(&semaphore->value, -1u);
            psn_mutex_unlock(&semaphore->mutex);
            return PSN_OK;
        }
        psn_mutex_unlock(&semaphore->mutex);
        if (deadline_ns == 0)
            return PSN_TIMED_OUT;
        if (!is_counted) {
            ticket = psn_wait_prepare(&semaphore->released);
            is_counted = true;
            continue;
        }
        psn_status status = psn_wait_commit(&semaphore->released, ticket, next_look(&step_ns, deadline_ns));
        is_counted = false;
        if (status == PSN_INTERRUPTED)
            return status;
        if (status != PSN_TIMED_OUT)
            continue;
        lock_semaphore(arena, semaphore);
        look_for_the_dead(arena, semaphore);
        bool retry = semaphore->has_died || load_relaxed(&semaphore->value);
        psn_mutex_unlock(&semaphore->mutex);
        if (!retry && psn_clock_ns() >= deadline_ns)
            return PSN_TIMED_OUT;
    }
}

psn_status psn_semaphore_release(struct psn_arena *arena, struct psn_semaphore *semaphore) {
    lock_semaphore(arena, semaphore);
    if (load_relaxed(&semaphore->value) >= semaphore->limit) {
        psn_mutex_unlock(&semaphore->mutex);
        return PSN_NOT_HELD;
    }
    if (!psn_counts_remove(arena, &semaphore->taken, arena->identity))
        semaphore->permits++; /* commit; a signal: what was taken before, if anything, was another's */
    add_relaxed(&semaphore->value, 1);
    psn_mutex_unlock(&semaphore->mutex);
    psn_wake_one(&semaphore->released);
    return PSN_OK;
}

/* ---- what a sweep does ---- */

static void lock_owner_died(struct psn_arena *arena, void *payload, uint32_t identity, const struct psn_death *death) {
    (void)arena;
    struct psn_lock *lock = payload;
    uint32_t owner = identity;
    if (load_relaxed(&lock->owner) != identity)
        return;
    store_relaxed(&lock->dead_pid, death->pid);
    store_relaxed(&lock->dead_exitcode, (uint32_t)death->exitcode);
    if (cas32_seq_cst(&lock->owner, &owner, PSN_LOCK_DEAD))
        psn_wake_one(&lock->released);
}

static void semaphore_holder_died(struct psn_arena *arena, void *payload, uint32_t identity,
                                  const struct psn_death *death) {
    struct psn_semaphore *semaphore = payload;
    lock_semaphore(arena, semaphore);
    bool returned = reclaim(arena, semaphore, identity, death);
    psn_mutex_unlock(&semaphore->mutex);
    if (returned)
        psn_wake_all(&semaphore->released);
}

void psn_lock_register_kinds(void) {
    psn_kinds[PSN_LOCK].process_died = lock_owner_died;
    psn_kinds[PSN_SEMAPHORE].process_died = semaphore_holder_died;
    psn_kinds[PSN_SEMAPHORE].counts = offsetof(struct psn_semaphore, taken);
}
