/* condition.c: see condition.h.  Source of the idea that only earlier waiters may take a notification: the two groups of
   glibc's pthread_cond_t (nptl/pthread_cond_wait.c), here as one horizon, because tickets never run out. */
#include "condition.h"

#include <stddef.h>
#include <string.h>

/* A wait lasts at most this long before it looks again: a wake-up that was given to a process killed on its way is not
   missed for longer. */
#define LOOK_NS 500000000u

static uint64_t next_look(uint64_t deadline_ns) {
    uint64_t look = psn_clock_ns() + LOOK_NS;
    return look < deadline_ns ? look : deadline_ns;
}

psn_status psn_condition_init(struct psn_condition *condition) {
    memset(condition, 0, sizeof *condition);
    return psn_mutex_init(&condition->mutex);
}

static void keep_bounds(struct psn_condition *condition) {
    if (condition->eligible > condition->waiting.total)
        condition->eligible = condition->waiting.total;
    if (condition->permits > condition->eligible)
        condition->permits = condition->eligible;
}

static void lock_condition(struct psn_arena *arena, struct psn_condition *condition) {
    if (psn_mutex_lock(&condition->mutex) == PSN_OWNER_DIED) {
        psn_counts_repair(arena, &condition->waiting);
        keep_bounds(condition);
        psn_mutex_repaired(&condition->mutex);
    }
}

static void count_out(struct psn_arena *arena, struct psn_condition *condition) {
    (void)!psn_counts_remove(arena, &condition->waiting, arena->identity); /* after a fork it may be its parent's */
}

void psn_condition_begin(struct psn_arena *arena, struct psn_condition *condition, uint64_t *ticket) {
    lock_condition(arena, condition);
    if (!psn_counts_add(arena, &condition->waiting, arena->identity)) {
        psn_mutex_unlock(&condition->mutex);
        (void)!psn_counts_extend(arena, &condition->waiting, psn_offset_of(arena, condition));
        lock_condition(arena, condition);
        if (!psn_counts_add(arena, &condition->waiting, arena->identity)) /* there is no memory */
            psn_counts_add_other(&condition->waiting);
    }
    *ticket = condition->arrivals++;
    psn_mutex_unlock(&condition->mutex);
}

/* With the mutex held: take a permit if there is one for this ticket. */
static bool take_permit(struct psn_arena *arena, struct psn_condition *condition, uint64_t ticket) {
    if (condition->permits == 0 || ticket >= condition->horizon)
        return false;
    condition->permits--;
    condition->eligible--;
    count_out(arena, condition);
    return true;
}

psn_status psn_condition_wait(struct psn_arena *arena, struct psn_condition *condition, uint64_t ticket,
                              uint64_t deadline_ns) {
    uint32_t sequence = 0;
    bool is_counted = false; /* as a sleeper: only once there was nothing to take, or each notify would make a system call */
    bool is_woken = false, has_passed = false;
    for (;;) {
        lock_condition(arena, condition);
        bool is_notified = take_permit(arena, condition, ticket);
        bool is_anothers = !is_notified && condition->permits;
        psn_mutex_unlock(&condition->mutex);
        if (is_notified)
            return PSN_OK;
        if (deadline_ns == 0)
            return PSN_TIMED_OUT;
        if (!is_counted) {
            /* Woken in place of one who waits for longer: the wake-up is his.  Passed on once until the next look, because
               he may be dead, and two who came later would wake each other for ever. */
            if (is_woken && is_anothers) {
                is_woken = false;
                has_passed = true;
                psn_wake_one(&condition->changed);
            }
            sequence = psn_wait_prepare(&condition->changed);
            is_counted = true;
            continue;
        }
        psn_status status = psn_wait_commit(&condition->changed, sequence, next_look(deadline_ns));
        is_counted = false;
        if (status == PSN_INTERRUPTED)
            return status;
        is_woken = status == PSN_OK && !has_passed;
        if (status == PSN_TIMED_OUT) {
            has_passed = false;
            if (psn_clock_ns() >= deadline_ns)
                deadline_ns = 0; /* one more look */
        }
    }
}

bool psn_condition_leave(struct psn_arena *arena, struct psn_condition *condition, uint64_t ticket, bool pass) {
    lock_condition(arena, condition);
    bool is_notified = !pass && take_permit(arena, condition, ticket);
    if (!is_notified) {
        if (ticket < condition->horizon && condition->eligible)
            condition->eligible--;
        count_out(arena, condition);
        keep_bounds(condition);
    }
    bool is_anothers = condition->permits != 0;
    psn_mutex_unlock(&condition->mutex);
    if (is_anothers)
        psn_wake_one(&condition->changed);
    return is_notified;
}

void psn_condition_notify(struct psn_arena *arena, struct psn_condition *condition, uint32_t count) {
    lock_condition(arena, condition);
    uint32_t waiting = condition->waiting.total, left = waiting - condition->permits;
    condition->horizon = condition->arrivals;
    condition->eligible = waiting;
    if (count > left)
        count = left;
    condition->permits += count;
    psn_mutex_unlock(&condition->mutex);
    if (count == left) {
        psn_wake_all(&condition->changed);
        return;
    }
    while (count--)
        psn_wake_one(&condition->changed);
}

uint32_t psn_condition_waiting(struct psn_arena *arena, struct psn_condition *condition) {
    lock_condition(arena, condition);
    uint32_t waiting = condition->waiting.total - condition->permits;
    psn_mutex_unlock(&condition->mutex);
    return waiting;
}

static void condition_waiter_died(struct psn_arena *arena, void *payload, uint32_t identity,
                                  const struct psn_death *death) {
    struct psn_condition *condition = payload;
    (void)death;
    lock_condition(arena, condition);
    psn_counts_clear(arena, &condition->waiting, identity);
    keep_bounds(condition);
    psn_mutex_unlock(&condition->mutex);
}

/* ---- event ---- */

void psn_event_init(struct psn_event *event) { memset(event, 0, sizeof *event); }

void psn_event_set(struct psn_event *event) {
    add_relaxed(&event->sets, 1);
    /* pairs with: psn_event_wait().  What was done before the set is seen after the wait. */
    store_seq_cst(&event->is_set, 1);
    psn_wake_all(&event->changed);
}

void psn_event_clear(struct psn_event *event) { store_seq_cst(&event->is_set, 0); }

psn_status psn_event_wait(struct psn_event *event, uint32_t seen, uint64_t deadline_ns) {
    for (;;) {
        uint32_t sequence = 0;
        if (deadline_ns)
            sequence = psn_wait_prepare(&event->changed);
        /* pairs with: psn_event_set() store. */
        if (load_acquire(&event->is_set) || load_acquire(&event->sets) != seen)
            return PSN_OK;
        if (deadline_ns == 0)
            return PSN_TIMED_OUT;
        psn_status status = psn_wait_commit(&event->changed, sequence, next_look(deadline_ns));
        if (status == PSN_INTERRUPTED)
            return status;
        if (status == PSN_TIMED_OUT && psn_clock_ns() >= deadline_ns)
            deadline_ns = 0; /* one more look */
    }
}

void psn_condition_register_kinds(void) {
    psn_kinds[PSN_CONDITION].process_died = condition_waiter_died;
    psn_kinds[PSN_CONDITION].counts = offsetof(struct psn_condition, waiting);
}
