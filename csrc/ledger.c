/* ledger.c: see ledger.h. */
#include "ledger.h"

#include <stddef.h>
#include <string.h>

/* A wait lasts at most this long before it looks again: for the dead, and for a wake-up that was given to one of them. */
#define FIRST_LOOK_NS 20000000u
#define LAST_LOOK_NS 500000000u

static uint64_t sooner(uint64_t a, uint64_t b) { return a < b ? a : b; }

static struct psn_channel *channel_of(struct psn_arena *arena, struct psn_ledger *ledger) {
    return psn_at(arena, ledger->channel.offset);
}

psn_status psn_ledger_create(struct psn_arena *arena, struct psn_handle channel, struct psn_handle *out) {
    psn_status status = psn_block_allocate(arena, PSN_LEDGER, sizeof(struct psn_ledger), out);
    if (status != PSN_OK)
        return status;
    struct psn_ledger *ledger = psn_at(arena, out->offset);
    ledger->channel = channel;
    ledger->noted = load_acquire(&channel_of(arena, ledger)->head);
    status = psn_mutex_init(&ledger->take_mutex);
    if (status == PSN_OK)
        status = psn_mutex_init(&ledger->mutex);
    if (status != PSN_OK)
        psn_block_drop(arena, *out);
    return status;
}

/* ---- with the mutex held ---- */

/* The channel is gone only if nobody will look here any more, while a sweep still may. */
static uint64_t head_of(struct psn_arena *arena, struct psn_ledger *ledger) {
    /* pairs with: psn_channel_take() commit. */
    return psn_block_find(arena, ledger->channel) ? load_acquire(&channel_of(arena, ledger)->head) : ledger->noted;
}

/* Whoever took the message is done with the channel or dead, and nobody has taken since: the head stands still. */
static void end_noting(struct psn_arena *arena, struct psn_ledger *ledger) {
    uint32_t taker = load_relaxed(&ledger->taker);
    if (psn_counts_of(arena, &ledger->taken, taker) < ledger->taker_count)
        (void)!psn_counts_add(arena, &ledger->taken, taker); /* its place was free before it took, and still is */
    in_this_order();
    ledger->noted = head_of(arena, ledger);
    in_this_order();
    ledger->step = PSN_LEDGER_WHOLE;
}

/* No message is being taken any more: if one was taken, its taker has it. */
static void end_take(struct psn_arena *arena, struct psn_ledger *ledger) {
    uint32_t taker = load_relaxed(&ledger->taker);
    if (taker && head_of(arena, ledger) != ledger->noted) {
        ledger->taker_count = psn_counts_of(arena, &ledger->taken, taker) + 1;
        in_this_order();
        ledger->step = PSN_LEDGER_NOTING; /* commit */
        in_this_order();
        end_noting(arena, ledger);
    }
    in_this_order();
    store_relaxed(&ledger->taker, 0);
}

static void end_clearing(struct psn_arena *arena, struct psn_ledger *ledger) {
    ledger->early = ledger->next_early;
    ledger->lost = ledger->next_lost;
    psn_counts_clear(arena, &ledger->taken, ledger->dead);
    in_this_order();
    ledger->step = PSN_LEDGER_WHOLE;
}

static void lock_ledger(struct psn_arena *arena, struct psn_ledger *ledger) {
    if (psn_mutex_lock(&ledger->mutex) == PSN_OWNER_DIED) {
        psn_counts_repair(arena, &ledger->taken);
        if (ledger->step == PSN_LEDGER_NOTING)
            end_noting(arena, ledger);
        else if (ledger->step == PSN_LEDGER_CLEARING)
            end_clearing(arena, ledger);
        psn_mutex_repaired(&ledger->mutex);
    }
}

static uint64_t unfinished(struct psn_arena *arena, struct psn_ledger *ledger) {
    return load_acquire(&channel_of(arena, ledger)->tail) - ledger->noted + ledger->taken.total - ledger->early;
}

/* What this process has it will never say to be done.  True if it had any. */
static bool write_off(struct psn_arena *arena, struct psn_ledger *ledger, uint32_t identity, const struct psn_death *death) {
    if (load_relaxed(&ledger->taker) == identity)
        end_take(arena, ledger);
    uint32_t had = psn_counts_of(arena, &ledger->taken, identity);
    if (had == 0)
        return false;
    /* What others said to be done for it is not lost. */
    uint32_t done = ledger->early < had ? ledger->early : had;
    ledger->next_early = ledger->early - done;
    ledger->next_lost = ledger->lost + (had - done);
    ledger->dead = identity;
    if (had > done) {
        ledger->dead_pid = death->pid;
        ledger->dead_exitcode = death->exitcode;
    }
    in_this_order();
    ledger->step = PSN_LEDGER_CLEARING; /* commit */
    in_this_order();
    end_clearing(arena, ledger);
    return true;
}

static void look_for_the_dead(struct psn_arena *arena, struct psn_ledger *ledger) {
    struct psn_death death;
    uint32_t identity = load_relaxed(&ledger->taker);
    if (identity && psn_identity_has_failed(arena, identity, &death))
        write_off(arena, ledger, identity, &death);
    while ((identity = psn_counts_find_dead(arena, &ledger->taken, psn_identity_has_failed, &death)))
        write_off(arena, ledger, identity, &death);
}

/* ---- take ---- */

static psn_status lock_take(struct psn_arena *arena, struct psn_ledger *ledger) {
    if (psn_mutex_lock(&ledger->take_mutex) == PSN_OWNER_DIED) {
        lock_ledger(arena, ledger);
        end_take(arena, ledger);
        psn_mutex_unlock(&ledger->mutex);
        psn_mutex_repaired(&ledger->take_mutex);
    }
    for (bool has_extended = false;; has_extended = true) {
        lock_ledger(arena, ledger);
        bool has_place = psn_counts_has_place(arena, &ledger->taken, arena->identity);
        if (has_place)
            store_relaxed(&ledger->taker, arena->identity);
        psn_mutex_unlock(&ledger->mutex);
        if (has_place)
            return PSN_OK;
        if (has_extended || !psn_counts_extend(arena, &ledger->taken, psn_offset_of(arena, ledger))) {
            psn_mutex_unlock(&ledger->take_mutex);
            return PSN_NO_MEMORY;
        }
    }
}

/* Wait for a message without sleeping, if the writer is on another cpu. */
static bool spin(struct psn_channel *c, uint32_t spin_us) {
    if (spin_us == 0 || load_relaxed(&c->put_cpu) == psn_cpu())
        return false;
    for (uint64_t end = psn_clock_ns() + spin_us * UINT64_C(1000); psn_clock_ns() < end;)
        for (int i = 0; i < 32; i++) {
            cpu_pause();
            if (psn_channel_count(c))
                return true;
        }
    return false;
}

psn_status psn_ledger_take(struct psn_arena *arena, struct psn_ledger *ledger, uint64_t deadline_ns, uint32_t spin_us,
                           struct psn_slot *out) {
    struct psn_channel *c = channel_of(arena, ledger);
    for (;;) {
        if (psn_channel_count(c) == 0) {
            if (load_acquire(&c->is_closed) && psn_channel_count(c) == 0)
                return PSN_CLOSED;
            if (deadline_ns == 0)
                return PSN_EMPTY;
            if (!spin(c, spin_us)) {
                uint32_t ticket = psn_wait_prepare(&c->items);
                atomic_thread_fence(memory_order_seq_cst); /* pairs with: announce() in channel.c */
                if (psn_channel_count(c) == 0 && !load_acquire(&c->is_closed)) {
                    uint64_t now = psn_clock_ns();
                    if (now >= deadline_ns)
                        return PSN_EMPTY;
                    if (psn_wait_commit(&c->items, ticket, sooner(now + LAST_LOOK_NS, deadline_ns)) == PSN_INTERRUPTED)
                        return PSN_INTERRUPTED;
                    continue;
                }
            }
        }
        psn_status status = lock_take(arena, ledger);
        if (status != PSN_OK)
            return status;
        uint32_t taken;
        uint64_t first;
        status = psn_channel_take(arena, ledger->channel.offset, 1, NULL, 0, 0, out, &taken, &first);
        lock_ledger(arena, ledger);
        end_take(arena, ledger);
        psn_mutex_unlock(&ledger->mutex);
        psn_mutex_unlock(&ledger->take_mutex);
        if (status != PSN_EMPTY)
            return status;
    }
}

/* ---- done, join ---- */

psn_status psn_ledger_done(struct psn_arena *arena, struct psn_ledger *ledger) {
    lock_ledger(arena, ledger);
    uint64_t left = unfinished(arena, ledger);
    if (left && !psn_counts_remove(arena, &ledger->taken, arena->identity))
        ledger->early++; /* commit */
    psn_mutex_unlock(&ledger->mutex);
    if (left == 1)
        psn_wake_all(&ledger->finished);
    return left ? PSN_OK : PSN_NOT_HELD;
}

psn_status psn_ledger_join(struct psn_arena *arena, struct psn_ledger *ledger, uint64_t deadline_ns, struct psn_death *death,
                           uint32_t *lost) {
    uint32_t ticket = 0;
    bool is_counted = false; /* as a waiter: only once there was something to wait for */
    for (uint64_t step_ns = FIRST_LOOK_NS;;) {
        lock_ledger(arena, ledger);
        *lost = ledger->lost;
        *death = (struct psn_death){ledger->dead_pid, ledger->dead_exitcode};
        ledger->lost = 0; /* commit */
        uint64_t left = unfinished(arena, ledger);
        psn_mutex_unlock(&ledger->mutex);
        if (*lost)
            return PSN_OWNER_DIED;
        if (left == 0)
            return PSN_OK;
        if (deadline_ns == 0)
            return PSN_TIMED_OUT;
        if (!is_counted) {
            ticket = psn_wait_prepare(&ledger->finished);
            is_counted = true;
            continue;
        }
        psn_status status = psn_wait_commit(&ledger->finished, ticket, sooner(psn_clock_ns() + step_ns, deadline_ns));
        is_counted = false;
        step_ns = sooner(2 * step_ns, LAST_LOOK_NS);
        if (status == PSN_INTERRUPTED)
            return status;
        if (status != PSN_TIMED_OUT)
            continue;
        lock_ledger(arena, ledger);
        look_for_the_dead(arena, ledger);
        psn_mutex_unlock(&ledger->mutex);
        if (psn_clock_ns() >= deadline_ns)
            deadline_ns = 0; /* one more look */
    }
}

uint64_t psn_ledger_unfinished(struct psn_arena *arena, struct psn_ledger *ledger) {
    lock_ledger(arena, ledger);
    uint64_t left = unfinished(arena, ledger);
    psn_mutex_unlock(&ledger->mutex);
    return left;
}

/* ---- what a sweep does ---- */

static void taker_failed(struct psn_arena *arena, void *payload, uint32_t identity, const struct psn_death *death) {
    struct psn_ledger *ledger = payload;
    lock_ledger(arena, ledger);
    bool had_any = write_off(arena, ledger, identity, death);
    psn_mutex_unlock(&ledger->mutex);
    if (had_any)
        psn_wake_all(&ledger->finished);
}

void psn_ledger_register_kinds(void) {
    psn_kinds[PSN_LEDGER].process_failed = taker_failed;
    psn_kinds[PSN_LEDGER].counts = offsetof(struct psn_ledger, taken);
}
