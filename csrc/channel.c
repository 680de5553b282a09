/* channel.c: see channel.h. */
#include "channel.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_RING_LOG 6u
#define SHRINK_RING_LOG 13u
#define HANDFUL 16u /* small messages that one reader takes sooner than another wakes up */
#define LONGEST_SLEEP_NS 500000000u /* a wake-up given to a reader that was killed on its way is made good within it */

static struct psn_channel *channel_at(struct psn_arena *arena, uint64_t offset) { return psn_at(arena, offset); }
static uint64_t ring_offset(uint64_t ring) { return ring & ~UINT64_C(63); }
static uint64_t ring_slots(uint64_t ring) { return UINT64_C(1) << (ring & 63); }

static struct psn_ring_slot *slot_at(struct psn_arena *arena, uint64_t ring, uint64_t position) {
    return (struct psn_ring_slot *)psn_at(arena, ring_offset(ring)) + (position & (ring_slots(ring) - 1));
}

static void copy_content(struct psn_slot *to, const struct psn_slot *from) {
    memcpy(&to->message, &from->message, from->size == PSN_SLOT_MESSAGE ? sizeof from->message : from->size);
}

/* A ring that nothing but this process's ownership keeps. */
static psn_status ring_create(struct psn_arena *arena, unsigned log, uint64_t *ring) {
    struct psn_handle handle;
    psn_status status = psn_block_allocate_owned(arena, PSN_RING, sizeof(struct psn_ring_slot) << log, &handle);
    if (status != PSN_OK)
        return status;
    /* Positions that no slot can have: a slot that was never written is told from one that was. */
    memset(psn_at(arena, handle.offset), 0xff, sizeof(struct psn_ring_slot) << log);
    *ring = handle.offset | log;
    return PSN_OK;
}

static void set_home(struct psn_arena *arena, uint64_t part, uint64_t home) {
    store_seq_cst(&psn_block_of(arena, part)->home, home);
}

/* The ring is in place: the channel alone keeps it now. */
static void ring_settle(struct psn_arena *arena, uint64_t ring) {
    struct psn_block *block = psn_block_of(arena, ring_offset(ring));
    psn_block_disown(arena, (struct psn_handle){ring_offset(ring), load_relaxed(&block->generation)});
}

static void block_leave_home(struct psn_arena *arena, uint64_t offset, uint64_t home) {
    psn_arena_lock(arena);
    psn_block_leave_home(arena, offset, home);
    psn_arena_unlock(arena);
}

psn_status psn_channel_create(struct psn_arena *arena, uint64_t limit, struct psn_handle *out) {
    psn_status status = psn_block_allocate(arena, PSN_CHANNEL, sizeof(struct psn_channel), out);
    if (status != PSN_OK)
        return status;
    struct psn_channel *c = channel_at(arena, out->offset);
    c->limit = limit;
    uint64_t ring = 0;
    status = psn_mutex_init(&c->put_mutex);
    if (status == PSN_OK)
        status = psn_mutex_init(&c->get_mutex);
    if (status == PSN_OK)
        status = ring_create(arena, FIRST_RING_LOG, &ring);
    if (status == PSN_OK) {
        store_release(&c->ring, ring);
        set_home(arena, ring_offset(ring), out->offset);
        ring_settle(arena, ring);
    } else {
        psn_block_drop(arena, *out);
    }
    return status;
}

/* ---- the two mutexes, and what a dead holder may have left ---- */

/* The block whose home is this channel but which no reader can reach, because its position was not committed. */
static void leave_uncommitted(struct psn_arena *arena, uint64_t offset, psn_part part) {
    struct psn_channel *c = channel_at(arena, offset);
    uint64_t tail = load_relaxed(&c->tail);
    struct psn_ring_slot *s = slot_at(arena, load_relaxed(&c->ring), tail);
    if (s->position == tail && s->slot.size == PSN_SLOT_MESSAGE && psn_block_find(arena, s->slot.message))
        part(arena, s->slot.message.offset, offset);
}

/* End a change of ring, whether it was committed or not. */
static void finish_change(struct psn_arena *arena, uint64_t offset) {
    struct psn_channel *c = channel_at(arena, offset);
    uint64_t ring = load_relaxed(&c->ring);
    if (c->new_ring && ring == c->new_ring) {
        ring_settle(arena, ring);
        block_leave_home(arena, ring_offset(c->old_ring), offset);
    } else if (c->new_ring) {
        block_leave_home(arena, ring_offset(c->new_ring), offset);
    }
    c->new_ring = 0;
    c->old_ring = 0;
}

static void repair_get(struct psn_arena *arena, uint64_t offset) {
    struct psn_channel *c = channel_at(arena, offset);
    finish_change(arena, offset);
    /* What the dead reader took it owns, and its sweep frees it.  What it claimed and did not take, others will take. */
    struct psn_process *claimer = psn_process_at(arena, psn_identity_slot(c->claimer));
    psn_arena_lock(arena);
    if (c->claimer && load_relaxed(&claimer->identity) == c->claimer &&
        load_relaxed(&claimer->claim.from) >= load_relaxed(&c->head))
        store_release(&claimer->claim.to, load_relaxed(&claimer->claim.from));
    psn_arena_unlock(arena);
    psn_mutex_repaired(&c->get_mutex);
}

static void lock_get(struct psn_arena *arena, uint64_t offset) {
    if (psn_mutex_lock(&channel_at(arena, offset)->get_mutex) == PSN_OWNER_DIED)
        repair_get(arena, offset);
}

static void repair_put(struct psn_arena *arena, uint64_t offset) {
    struct psn_channel *c = channel_at(arena, offset);
    lock_get(arena, offset); /* changing the ring takes both; it may be half done */
    finish_change(arena, offset);
    psn_arena_lock(arena);
    leave_uncommitted(arena, offset, psn_block_leave_home);
    psn_arena_unlock(arena);
    psn_mutex_unlock(&c->get_mutex);
    psn_mutex_repaired(&c->put_mutex);
}

static void lock_put(struct psn_arena *arena, uint64_t offset) {
    if (psn_mutex_lock(&channel_at(arena, offset)->put_mutex) == PSN_OWNER_DIED)
        repair_put(arena, offset);
}

/* With both mutexes held: move what is queued to a ring of 2^log slots. */
static psn_status change_ring(struct psn_arena *arena, uint64_t offset, unsigned log) {
    struct psn_channel *c = channel_at(arena, offset);
    uint64_t ring, old = load_relaxed(&c->ring), tail = load_relaxed(&c->tail);
    psn_status status = ring_create(arena, log, &ring);
    if (status != PSN_OK)
        return status;
    for (uint64_t position = load_relaxed(&c->head); position < tail; position++)
        *slot_at(arena, ring, position) = *slot_at(arena, old, position);
    c->old_ring = old;
    c->new_ring = ring;
    set_home(arena, ring_offset(ring), offset);
    store_release(&c->ring, ring); /* commit */
    finish_change(arena, offset);
    return PSN_OK;
}

/* ---- put ---- */

/* Whether a reader will look here by itself in a moment.  One that was killed or held up is believed only so long. */
static bool is_awaited(struct psn_channel *c) {
    uint64_t until = load_seq_cst(&c->awake_until);
    return until && psn_clock_ns() < until;
}

static void announce(struct psn_channel *c) {
    /* The commit is seen before the counts are read: a waiter counts itself before it looks for messages. */
    atomic_thread_fence(memory_order_seq_cst);
    if (load_relaxed(&c->items.waiters) && !is_awaited(c))
        psn_wake_one(&c->items);
    if (load_relaxed(&c->has_bells) == 0)
        return;
    for (int i = 0; i < PSN_BELLS; i++) {
        uint64_t bell = load_relaxed(&c->bells[i]) ? swap_seq_cst(&c->bells[i], 0) : 0;
        if (bell)
            psn_bell_ring(bell);
    }
}

/* Messages that there is room for, with the writers' mutex held; looks at the readers' line only if it seems too little. */
static uint64_t room_for(struct psn_channel *c, uint64_t wanted, uint64_t slots) {
    uint64_t tail = load_relaxed(&c->tail);
    if (slots - (tail - c->seen_head) < wanted || tail - c->seen_head > slots)
        c->seen_head = load_acquire(&c->head); /* pairs with: take() commit.  The slots before it are free. */
    uint64_t count = tail - c->seen_head;
    return count < slots ? slots - count : 0;
}

/* The slot is not seen before `tail` is stored beyond it. */
static void write_slot(struct psn_arena *arena, uint64_t ring, uint64_t position, const struct psn_slot *what) {
    struct psn_ring_slot *s = slot_at(arena, ring, position);
    s->slot.size = what->size;
    s->slot.tag = what->tag;
    copy_content(&s->slot, what);
    s->position = position;
}

/* Put a message block, or some that are inline. */
static psn_status put(struct psn_arena *arena, uint64_t offset, const struct psn_slot *what, uint32_t n,
                      uint64_t deadline_ns, uint32_t *done) {
    struct psn_channel *c = channel_at(arena, offset);
    for (*done = 0;;) {
        uint32_t ticket = 0;
        bool is_counted = c->limit && deadline_ns && psn_channel_count(c) >= c->limit;
        if (is_counted)
            ticket = psn_wait_prepare(&c->room);
        lock_put(arena, offset);
        if (load_relaxed(&c->is_closed)) {
            psn_mutex_unlock(&c->put_mutex);
            return PSN_CLOSED;
        }
        uint64_t left = n - *done, now_put = c->limit ? room_for(c, left, c->limit) : left;
        now_put = now_put < left ? now_put : left;
        if (now_put) {
            uint64_t tail = load_relaxed(&c->tail), ring = load_relaxed(&c->ring);
            while (room_for(c, now_put, ring_slots(ring)) < now_put) {
                lock_get(arena, offset);
                psn_status status = change_ring(arena, offset, (unsigned)(ring & 63) + 1);
                psn_mutex_unlock(&c->get_mutex);
                if (status != PSN_OK) {
                    psn_mutex_unlock(&c->put_mutex);
                    return status;
                }
                ring = load_relaxed(&c->ring);
            }
            for (uint64_t i = 0; i < now_put; i++)
                write_slot(arena, ring, tail + i, &what[*done + i]);
            if (what->size == PSN_SLOT_MESSAGE) {
                struct psn_block *block = psn_block_of(arena, what->message.offset);
                block->next = tail;
                /* A new reference before the old goes; the block is the reader's as soon as `tail` is stored. */
                store_seq_cst(&block->home, offset);
                store_seq_cst(&block->owner, 0);
            }
            store_relaxed(&c->put_cpu, psn_cpu());
            /* pairs with: take() load of tail. */
            store_release(&c->tail, tail + now_put); /* commit */
            psn_mutex_unlock(&c->put_mutex);
            announce(c);
            *done += (uint32_t)now_put;
            if (*done == n)
                return PSN_OK;
            continue;
        }
        psn_mutex_unlock(&c->put_mutex);
        uint64_t now = deadline_ns ? psn_clock_ns() : 0;
        if (now >= deadline_ns)
            return PSN_FULL;
        if (!is_counted)
            continue; /* it filled up while we came: count ourselves first */
        uint64_t look = now + LONGEST_SLEEP_NS < deadline_ns ? now + LONGEST_SLEEP_NS : deadline_ns;
        if (psn_wait_commit(&c->room, ticket, look) == PSN_INTERRUPTED)
            return PSN_INTERRUPTED;
    }
}

psn_status psn_channel_put(struct psn_arena *arena, uint64_t channel, uint32_t tag, const void *data, uint32_t size,
                           uint64_t deadline_ns) {
    struct psn_slot slot;
    uint32_t done;
    slot.size = size;
    slot.tag = tag;
    memcpy(&slot.message, data, size);
    return put(arena, channel, &slot, 1, deadline_ns, &done);
}

psn_status psn_channel_put_message(struct psn_arena *arena, uint64_t channel, uint32_t tag, struct psn_handle message,
                                   uint64_t deadline_ns) {
    struct psn_slot slot = {.size = PSN_SLOT_MESSAGE, .tag = tag, .message = message};
    uint32_t done;
    return put(arena, channel, &slot, 1, deadline_ns, &done);
}

psn_status psn_channel_put_many(struct psn_arena *arena, uint64_t channel, const struct psn_slot *slots, uint32_t count,
                                uint64_t deadline_ns, uint32_t *done) {
    return put(arena, channel, slots, count, deadline_ns, done);
}

/* ---- take ---- */

static bool has_items(struct psn_channel *c) { return load_acquire(&c->tail) != load_relaxed(&c->head); }

/* The same for a reader that means to take them: it looks at the writers' line only if nothing is left of what it has seen. */
static bool seems_filled(struct psn_channel *c) {
    return load_relaxed(&c->seen_tail) > load_relaxed(&c->head) || has_items(c);
}

/* Wait for a message without sleeping, if the writer is on another cpu and nobody else does. */
static bool spin(struct psn_channel *c, uint32_t spin_us) {
    if (spin_us == 0 || load_relaxed(&c->put_cpu) == psn_cpu())
        return false;
    uint64_t now = psn_clock_ns(), end = now + spin_us * UINT64_C(1000), other = load_relaxed(&c->awake_until);
    if (now < other && other != end && load_relaxed(&c->get_cpu) != psn_cpu())
        return false;
    store_seq_cst(&c->awake_until, end);
    bool found = false;
    do {
        for (int i = 0; i < 32 && !found; i++) {
            cpu_pause();
            found = has_items(c) || load_relaxed(&c->is_closed);
        }
    } while (!found && psn_clock_ns() < end && load_relaxed(&c->put_cpu) != psn_cpu());
    if (!found)
        store_seq_cst(&c->awake_until, 0); /* from here on a put must wake; we look once more before we sleep */
    return found;
}

/* Of `n` messages from `head` on, how many are to be taken together. */
static uint32_t alike(struct psn_arena *arena, uint64_t ring, uint64_t head, uint32_t n, uint32_t tag) {
    for (uint32_t i = 0; i < n; i++)
        if (slot_at(arena, ring, head + i)->slot.tag != tag)
            return i ? i : 1;
    return n;
}

static psn_status take(struct psn_arena *arena, uint64_t offset, uint32_t wanted, const uint32_t *tag,
                       struct psn_claim *claim, uint64_t deadline_ns, uint32_t spin_us, struct psn_slot *out, uint32_t *taken,
                       uint64_t *first) {
    struct psn_channel *c = channel_at(arena, offset);
    uint32_t limit = claim ? PSN_CLAIM_LIMIT : PSN_TAKE_LIMIT;
    wanted = wanted < 1 ? 1 : wanted > limit ? limit : wanted;
    for (;;) {
        if (!seems_filled(c)) {
            if (load_acquire(&c->is_closed) && !has_items(c))
                return PSN_CLOSED;
            if (deadline_ns == 0)
                return PSN_EMPTY;
            if (!spin(c, spin_us)) {
                uint32_t ticket = psn_wait_prepare(&c->items);
                atomic_thread_fence(memory_order_seq_cst); /* pairs with: announce() */
                if (!has_items(c) && !load_acquire(&c->is_closed)) {
                    uint64_t now = psn_clock_ns();
                    if (now >= deadline_ns)
                        return PSN_EMPTY;
                    uint64_t look = now + LONGEST_SLEEP_NS < deadline_ns ? now + LONGEST_SLEEP_NS : deadline_ns;
                    if (psn_wait_commit(&c->items, ticket, look) == PSN_INTERRUPTED)
                        return PSN_INTERRUPTED;
                    continue;
                }
            }
        }
        lock_get(arena, offset);
        uint64_t head = load_relaxed(&c->head), tail = load_relaxed(&c->seen_tail);
        if (tail - head < wanted || tail < head) {
            /* pairs with: put() commit.  The slots before `tail` are whole. */
            tail = load_acquire(&c->tail);
            store_relaxed(&c->seen_tail, tail);
        }
        uint64_t available = tail - head, ring = load_acquire(&c->ring);
        uint32_t n = available < wanted ? (uint32_t)available : wanted;
        if (tag)
            n = alike(arena, ring, head, n, *tag);
        if (n == 0) {
            psn_mutex_unlock(&c->get_mutex);
            continue;
        }
        if (claim) {
            c->claimer = arena->identity;
            store_relaxed(&claim->running, PSN_NOT_RUNNING);
            store_relaxed(&claim->item, 0);
            store_relaxed(&claim->begun, psn_begun_none(head));
            store_relaxed(&claim->from, head);
            store_release(&claim->to, head + n);
        }
        for (uint32_t i = 0; i < n; i++) {
            const struct psn_slot *slot = &slot_at(arena, ring, head + i)->slot;
            out[i].size = slot->size;
            out[i].tag = slot->tag;
            copy_content(&out[i], slot);
            /* Owned before it is taken: if we die in between, our sweep sees by its position which of the two it is. */
            if (out[i].size == PSN_SLOT_MESSAGE)
                store_seq_cst(&psn_block_of(arena, out[i].message.offset)->owner, arena->identity);
        }
        store_relaxed(&c->get_cpu, psn_cpu());
        store_release(&c->head, head + n); /* commit */
        for (uint32_t i = 0; i < n; i++)
            if (out[i].size == PSN_SLOT_MESSAGE)
                set_home(arena, out[i].message.offset, 0);
        /* A burst is over: give its ring back.  Never waits for a writer. */
        if (n == available && (ring & 63) >= SHRINK_RING_LOG) {
            psn_status status = psn_mutex_trylock(&c->put_mutex);
            if (status == PSN_OWNER_DIED) {
                psn_mutex_unlock(&c->get_mutex);
                repair_put(arena, offset);
                psn_mutex_unlock(&c->put_mutex);
                lock_get(arena, offset);
            } else if (status == PSN_OK) {
                if (load_relaxed(&c->tail) == head + n)
                    (void)!change_ring(arena, offset, FIRST_RING_LOG);
                psn_mutex_unlock(&c->put_mutex);
            }
        }
        psn_mutex_unlock(&c->get_mutex);
        if (c->limit) {
            atomic_thread_fence(memory_order_seq_cst); /* pairs with: psn_wait_prepare() in put() */
            for (uint32_t i = 0; i < n; i++)
                psn_wake_one(&c->room);
        }
        bool is_back_soon = claim && spin_us;
        if (is_back_soon)
            store_seq_cst(&c->awake_until, psn_clock_ns() + spin_us * UINT64_C(1000));
        else if (load_relaxed(&c->awake_until))
            store_seq_cst(&c->awake_until, 0);
        /* One wake-up may have stood for several puts, or they have relied on us: pass it on. */
        if (load_relaxed(&c->items.waiters)) {
            atomic_thread_fence(memory_order_seq_cst); /* pairs with: announce() */
            if (psn_channel_count(c) > (is_back_soon ? HANDFUL : 0))
                psn_wake_one(&c->items);
        }
        *taken = n;
        *first = head;
        return PSN_OK;
    }
}

psn_status psn_channel_take(struct psn_arena *arena, uint64_t channel, uint32_t wanted, struct psn_claim *claim,
                            uint64_t deadline_ns, uint32_t spin_us, struct psn_slot *out, uint32_t *taken, uint64_t *first) {
    return take(arena, channel, wanted, NULL, claim, deadline_ns, spin_us, out, taken, first);
}

psn_status psn_channel_take_alike(struct psn_arena *arena, uint64_t channel, uint32_t wanted, uint32_t tag,
                                  uint64_t deadline_ns, uint32_t spin_us, struct psn_slot *out, uint32_t *taken) {
    uint64_t first;
    return take(arena, channel, wanted, &tag, NULL, deadline_ns, spin_us, out, taken, &first);
}

/* ---- taking back ---- */

/* With the readers' mutex held: whether a claim that lasts names the position, and is nobody's else from now on. */
static bool claim_give_back(struct psn_claim *claim, uint64_t position) {
    uint64_t from = load_acquire(&claim->from), to = load_acquire(&claim->to);
    if (position < from || position >= to)
        return false;
    /* Its worker sets bits meanwhile, and may say that all is done; new claims wait for the mutex. */
    uint64_t begun = load_acquire(&claim->begun), bit = psn_begun_bit(from, position);
    while (!(begun & bit))
        if (cas64_seq_cst(&claim->begun, &begun, begun | bit))
            return true;
    return false;
}

psn_status psn_channel_withdraw(struct psn_arena *arena, uint64_t offset, uint64_t position, const uint32_t *readers,
                                uint32_t count, uint32_t tag) {
    struct psn_channel *c = channel_at(arena, offset);
    psn_status status = PSN_GONE;
    lock_get(arena, offset);
    if (position >= load_acquire(&c->tail)) {
        /* it was never put */
    } else if (position >= load_relaxed(&c->head)) {
        struct psn_slot *slot = &slot_at(arena, load_acquire(&c->ring), position)->slot;
        if (slot->tag != tag) {
            uint32_t size = slot->size;
            psn_arena_lock(arena); /* who visits the parts of a channel has it */
            slot->tag = tag;
            slot->size = 0; /* commit: only the message's home refers to it now */
            if (size == PSN_SLOT_MESSAGE)
                psn_block_leave_home(arena, slot->message.offset, offset);
            psn_arena_unlock(arena);
            status = PSN_OK;
        }
    } else {
        for (uint32_t i = 0; i < count && status != PSN_OK; i++) {
            struct psn_process *reader = psn_process_at(arena, psn_identity_slot(readers[i]));
            if (load_acquire(&reader->identity) == readers[i] && claim_give_back(&reader->claim, position))
                status = PSN_OK;
        }
    }
    psn_mutex_unlock(&c->get_mutex);
    return status;
}

/* ---- rouse, close, listen ---- */

void psn_channel_rouse(struct psn_arena *arena, uint64_t offset) {
    struct psn_channel *c = channel_at(arena, offset);
    atomic_thread_fence(memory_order_seq_cst);
    if (has_items(c))
        psn_wake_one(&c->items);
}

void psn_channel_close(struct psn_arena *arena, uint64_t offset) {
    struct psn_channel *c = channel_at(arena, offset);
    /* Under the writers' mutex: a put that saw it open is committed before any reader sees it closed. */
    lock_put(arena, offset);
    store_seq_cst(&c->is_closed, 1);
    psn_mutex_unlock(&c->put_mutex);
    psn_wake_all(&c->items);
    psn_wake_all(&c->room);
    announce(c);
}

psn_status psn_channel_listen(struct psn_arena *arena, uint64_t offset, uint64_t bell) {
    struct psn_channel *c = channel_at(arena, offset);
    for (int i = 0; i < PSN_BELLS; i++)
        if (load_relaxed(&c->bells[i]) == bell)
            return PSN_OK;
    for (int i = 0; i < PSN_BELLS; i++) {
        uint64_t none = 0;
        if (cas64_seq_cst(&c->bells[i], &none, bell)) {
            store_seq_cst(&c->has_bells, 1);
            return PSN_OK;
        }
    }
    return PSN_FULL;
}

void psn_channel_unlisten(struct psn_arena *arena, uint64_t offset, uint64_t bell) {
    struct psn_channel *c = channel_at(arena, offset);
    for (int i = 0; i < PSN_BELLS; i++) {
        uint64_t mine = bell;
        cas64_seq_cst(&c->bells[i], &mine, 0);
    }
}

/* ---- what the arena asks ---- */

static void visit_parts(struct psn_arena *arena, uint64_t offset, psn_part part) {
    struct psn_channel *c = channel_at(arena, offset);
    uint64_t ring = load_relaxed(&c->ring), tail = load_relaxed(&c->tail);
    if (!ring)
        return; /* it was never finished */
    for (uint64_t position = load_relaxed(&c->head); position < tail; position++) {
        struct psn_slot *slot = &slot_at(arena, ring, position)->slot;
        if (slot->size == PSN_SLOT_MESSAGE && psn_block_find(arena, slot->message))
            part(arena, slot->message.offset, offset);
    }
    leave_uncommitted(arena, offset, part);
    if (c->new_ring) {
        part(arena, ring_offset(c->new_ring), offset);
        part(arena, ring_offset(c->old_ring), offset);
    }
    part(arena, ring_offset(ring), offset);
}

static bool has_lost(const void *payload, const struct psn_block *part) {
    const struct psn_channel *c = payload;
    return part->kind == PSN_MESSAGE && part->next < load_acquire(&((struct psn_channel *)c)->head);
}

void psn_channel_register_kinds(void) {
    psn_kinds[PSN_CHANNEL].visit_parts = visit_parts;
    psn_kinds[PSN_CHANNEL].has_lost = has_lost;
}

const char *psn_channel_check(struct psn_arena *arena, uint64_t offset) {
    struct psn_channel *c = channel_at(arena, offset);
    const char *broken = NULL;
    lock_put(arena, offset);
    lock_get(arena, offset);
    uint64_t head = load_relaxed(&c->head), tail = load_relaxed(&c->tail), ring = load_relaxed(&c->ring);
    if (tail < head || tail - head > ring_slots(ring))
        broken = "a channel holds more messages than its ring has slots";
    if (c->limit && tail - head > c->limit)
        broken = "a channel holds more messages than its limit";
    for (uint64_t position = head; !broken && position < tail; position++) {
        struct psn_ring_slot *s = slot_at(arena, ring, position);
        struct psn_block *block = s->slot.size == PSN_SLOT_MESSAGE ? psn_block_find(arena, s->slot.message) : NULL;
        if (s->position != position)
            broken = "a slot does not hold the message of its position";
        else if (s->slot.size == PSN_SLOT_MESSAGE &&
                 (!block || load_relaxed(&block->home) != offset || block->next != position))
            broken = "a queued message is not at home in its channel";
        else if (s->slot.size != PSN_SLOT_MESSAGE && s->slot.size > PSN_INLINE)
            broken = "an inline message is larger than a slot";
    }
    psn_mutex_unlock(&c->get_mutex);
    psn_mutex_unlock(&c->put_mutex);
    return broken;
}
