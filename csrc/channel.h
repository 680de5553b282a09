/* channel.h: messages from many writers to many readers, through the arena.  Unbounded, or bounded by count.
   Slots of 128 bytes, two cache lines: a small message lies in its slot, a larger one in a block that the slot names.  One of
   up to 48 bytes touches the first line only.
   Positions only grow (64 bit); index = position & (slots - 1), after Vyukov's and LMAX's rings.  When a ring is full it is
   copied to one of twice the size and swapped in by one store, so a burst costs memory only while it lasts.

   A put commits by one store to `tail`, a take by one store to `head`.  A process that is killed at any instant leaves the
   channel whole: what it had not committed was never visible; a block in transit that nobody refers to any more is found
   by the next locker in the one place where it can be. */
#ifndef PSN_CHANNEL_H
#define PSN_CHANNEL_H

#include "arena.h"

#define PSN_INLINE 112u    /* bytes that fit a slot */
#define PSN_TAKE_LIMIT 64u /* messages that one take may carry off */
#define PSN_BELLS 4

struct psn_slot {
    uint32_t size; /* bytes inline, or PSN_SLOT_MESSAGE */
    uint32_t tag;  /* the sender's own */
    struct psn_handle message;
    uint8_t tail[96]; /* inline data goes over `message` and this */
};
_Static_assert(sizeof(struct psn_slot) == 120, "shared layout changed: bump PSN_LAYOUT_VERSION");

#define PSN_SLOT_MESSAGE UINT32_MAX

struct psn_ring_slot {
    uint64_t position; /* of the message in it; tells a reused slot from a fresh one */
    struct psn_slot slot;
};
_Static_assert(sizeof(struct psn_ring_slot) == 128, "shared layout changed: bump PSN_LAYOUT_VERSION");

/* A cache line for each side, one that both read and that changes seldom, and one for what is not needed for every message:
   while messages are there, neither side touches the other's line. */
struct psn_channel {
    /* writers */
    struct psn_mutex put_mutex;
    psn_a64 tail;
    psn_a32 put_cpu; /* where the last writer ran: a reader spins only if that is not its own cpu */
    psn_a32 is_closed;
    uint64_t seen_head; /* as a writer has last looked: the head is here or beyond */
    /* readers */
    struct psn_mutex get_mutex;
    psn_a64 head;
    psn_a32 get_cpu;
    uint32_t claimer;  /* the last reader that claimed; its claim is void if it died before the commit */
    psn_a64 seen_tail; /* as a reader has last looked: the tail is here or beyond */
    /* both */
    psn_a64 ring; /* payload offset of the ring | log2 of its slots */
    struct psn_waitable items;
    struct psn_waitable room;
    psn_a32 has_bells; /* somebody has listened once; never taken back, so no death can leave it wrong */
    uint32_t spare;
    uint64_t limit; /* messages; 0 is unbounded */
    uint64_t spare2;
    psn_a64 bells[PSN_BELLS];
    psn_a64 awake_until; /* a reader looks here again by itself before that time: a put need not wake another */
    uint64_t old_ring;   /* while the ring is being changed: from which, ... */
    uint64_t new_ring;   /* ... to which; whoever finds the change half done ends it */
    uint64_t spare3;
};
_Static_assert(sizeof(struct psn_channel) == 256, "shared layout changed: bump PSN_LAYOUT_VERSION");

PSN_MUST_CHECK psn_status psn_channel_create(struct psn_arena *arena, uint64_t limit, struct psn_handle *out);

/* Deliver one message: when it returns OK, a reader can take it.  A deadline of 0 does not wait.
   OK, FULL (deadline passed), CLOSED, INTERRUPTED, NO_MEMORY.  Unless OK, a message block stays the caller's. */
PSN_MUST_CHECK psn_status psn_channel_put(struct psn_arena *arena, uint64_t channel, uint32_t tag, const void *data,
                                          uint32_t size, uint64_t deadline_ns);
PSN_MUST_CHECK psn_status psn_channel_put_message(struct psn_arena *arena, uint64_t channel, uint32_t tag,
                                                  struct psn_handle message, uint64_t deadline_ns);

/* Put inline messages in their order, as many at a time as there is room for: those of one time are seen all at once.
   The same, and `put` says how many are delivered. */
PSN_MUST_CHECK psn_status psn_channel_put_many(struct psn_arena *arena, uint64_t channel, const struct psn_slot *slots,
                                               uint32_t count, uint64_t deadline_ns, uint32_t *put);

/* Take up to `wanted` messages, at least one; `first` is the position of the first.  Message blocks are then owned by the
   caller.  `claim`, if given, names what is taken before it is taken, and `spin_us` says then, if not 0, that the caller will
   be back about so soon: until then nobody else is woken for less than a handful of messages (see psn_channel_rouse).  OK, EMPTY (deadline passed), CLOSED (and nothing is
   left), INTERRUPTED. */
PSN_MUST_CHECK psn_status psn_channel_take(struct psn_arena *arena, uint64_t channel, uint32_t wanted,
                                           struct psn_claim *claim, uint64_t deadline_ns, uint32_t spin_us,
                                           struct psn_slot *out, uint32_t *taken, uint64_t *first);

/* The same without a claim; but a message whose tag is not `tag` is taken alone. */
PSN_MUST_CHECK psn_status psn_channel_take_alike(struct psn_arena *arena, uint64_t channel, uint32_t wanted, uint32_t tag,
                                                 uint64_t deadline_ns, uint32_t spin_us, struct psn_slot *out,
                                                 uint32_t *taken);

/* Take the message at `position` back, so that nobody runs it: a queued one is emptied and gets `tag`, by which a reader knows
   it; one that one of the `readers` (identities) has claimed is begun by nobody.  OK; GONE if it was taken back before,
   is begun, done, or was never put. */
PSN_MUST_CHECK psn_status psn_channel_withdraw(struct psn_arena *arena, uint64_t channel, uint64_t position,
                                               const uint32_t *readers, uint32_t count, uint32_t tag);

static inline uint64_t psn_channel_count(struct psn_channel *channel) {
    uint64_t head = load_acquire(&channel->head); /* first: the tail never falls behind a head seen before it */
    return load_acquire(&channel->tail) - head;
}
/* Wake a reader if there are messages: for those who have relied on one to come back that does not. */
void psn_channel_rouse(struct psn_arena *arena, uint64_t channel);
void psn_channel_close(struct psn_arena *arena, uint64_t channel);
/* Have `bell` rung at the next put.  OK; FULL if there is no place for it (then poll). */
PSN_MUST_CHECK psn_status psn_channel_listen(struct psn_arena *arena, uint64_t channel, uint64_t bell);
void psn_channel_unlisten(struct psn_arena *arena, uint64_t channel, uint64_t bell);
const char *psn_channel_check(struct psn_arena *arena, uint64_t channel);
void psn_channel_register_kinds(void);

#endif
