/* arena.h: the one memory that all processes of a program share, given out in blocks.
   One anonymous sparse file as large as the machine's RAM, mapped whole by every process, so it never grows or moves.
   Everything in it is named by offset and generation, never by pointer.  Nothing here sleeps but on the arena's mutex.

     header | process slots | names | page descriptors | pages of 16 KiB: slabs of small blocks, runs of pages for large ones

   What is *true* is in the descriptors' kind and length and in the blocks' headers, each changed by one committing store.
   Free lists and counts are *derived*: if the mutex's holder died, the next one rebuilds them (psn_arena_rebuild).
   Slabs and bins of runs are as in mimalloc and dlmalloc; the layout is in docs/layout.md. */
#ifndef PSN_ARENA_H
#define PSN_ARENA_H

#include "platform.h"

#define PSN_MAGIC 0x6e6f697373636f72u /* "rocssion" */
#define PSN_LAYOUT_VERSION 5u
#define PSN_PAGE 16384u
#define PSN_SLOTS 1024u /* processes of one program at one time */
#define PSN_CLASSES 13u
#define PSN_BINS 32u

/* ---- processes ---- */

enum psn_process_state {
    PSN_SLOT_FREE = 0,
    PSN_SLOT_STARTING, /* taken by a parent for a child that has not run yet; pid is 0 or the child's */
    PSN_SLOT_RUNNING,
    PSN_SLOT_ENDED, /* in order: what it holds may be legal, and anyone may release it */
    PSN_SLOT_SWEPT, /* ended, and holds nothing any more; its parent may still want to read the claim, then sweeps it itself */
};

/* Which messages a worker has taken, and how far it is.  Written by the worker before the store that takes them; read by
   the parent after the worker's death.  from >= to: nothing is claimed.  A worker that was killed between the claim and the
   store that takes leaves a claim to what others will take: so read the channel's head first, then the claim, and believe it
   only if `from` is below that head.  (Before anyone else takes, the channel's repair makes such a claim void.)

   What was taken and is not begun can be taken back.  A bit of `begun` belongs to whoever sets it first: the worker, who then
   runs the message, or the one who takes it back.  The word's low bits are those of `from`, so that nobody sets a bit for a
   claim that is not there any more. */
struct psn_claim {
    psn_a64 from;    /* positions in the channel: first taken, one past the last */
    psn_a64 to;
    psn_a64 running; /* the message that runs now; PSN_NOT_RUNNING until the first does, PSN_INITIALIZING before the first take */
    psn_a64 item;    /* which of its items */
    psn_a64 began;   /* when that was begun */
    psn_a64 begun;   /* one bit for each message, from PSN_BEGUN_TAG_BITS on; below, the low bits of `from` */
};

#define PSN_NOT_RUNNING UINT64_MAX
#define PSN_INITIALIZING (UINT64_MAX - 1)
#define PSN_ANY_ITEM UINT64_MAX /* as condemned_item: whichever runs */
#define PSN_BEGUN_TAG_BITS 16u
#define PSN_CLAIM_LIMIT (64u - PSN_BEGUN_TAG_BITS) /* messages that one claim can name */

static inline uint64_t psn_begun_none(uint64_t from) { return from & ((UINT64_C(1) << PSN_BEGUN_TAG_BITS) - 1); }
static inline uint64_t psn_begun_bit(uint64_t from, uint64_t position) {
    return UINT64_C(1) << (PSN_BEGUN_TAG_BITS + (position - from));
}

/* By the worker, before it runs a message: false if that was taken back.  The bit first: a death between the stores leaves a
   message that never began. */
static inline bool psn_claim_begin(struct psn_claim *claim, uint64_t position) {
    uint64_t bit = psn_begun_bit(load_relaxed(&claim->from), position);
    if (or_seq_cst(&claim->begun, bit) & bit)
        return false;
    store_relaxed(&claim->item, 0);
    store_relaxed(&claim->began, psn_clock_ns());
    store_release(&claim->running, position);
    return true;
}

struct psn_process {
    psn_a32 state;
    psn_a32 identity; /* reuse count << 10 | slot; tells this process from earlier ones in the same slot */
    psn_a32 pid;
    psn_a32 parent; /* identity of the process that started it */
    psn_a64 started; /* start time, so that a reused pid is not mistaken for it; 0 while unknown */
    psn_a64 boot;    /* message with what a fresh interpreter must know to begin */
    struct psn_claim claim;
    psn_a32 exitcode;     /* what a process that ended in order said */
    psn_a32 is_dismissed; /* it is to leave as soon as it has done what it has claimed */
    /* The item that its parent wants ended; no item at all while `condemned` is PSN_NOT_RUNNING. */
    psn_a64 condemned;
    psn_a64 condemned_item;
    psn_a64 told; /* when one of its children has last said what all of them would say */
    psn_a64 spare[2];
};
_Static_assert(sizeof(struct psn_process) == 128, "shared layout changed: bump PSN_LAYOUT_VERSION");

/* Who was killed, and how: negative for a signal, PSN_EXIT_UNKNOWN where nobody has told. */
struct psn_death {
    uint32_t pid;
    int32_t exitcode;
};

/* ---- names: names.c ---- */

#define PSN_NAME_LIMIT 255u  /* bytes of the name of a segment, as the system has it */
#define PSN_NAMES 65536u     /* fewer in a small arena; as many mappings as a process can have */

struct psn_name {
    psn_a64 state; /* see names.c; 0: free */
    psn_a64 device;
    psn_a64 inode;
    psn_a64 text[(PSN_NAME_LIMIT + 1) / 8];
};
_Static_assert(sizeof(struct psn_name) == 280, "shared layout changed: bump PSN_LAYOUT_VERSION");

struct psn_names {
    psn_a64 top; /* places from here on were never used */
    struct psn_name places[];
};
_Static_assert(sizeof(struct psn_names) == 8, "shared layout changed: bump PSN_LAYOUT_VERSION");

/* ---- blocks ---- */

enum psn_block_state { PSN_BLOCK_FREE = 0, PSN_BLOCK_HELD = 0x48454c44 };

enum psn_block_kind {
    PSN_DATA = 0,  /* bytes */
    PSN_LOCK,      /* struct psn_lock */
    PSN_SEMAPHORE, /* struct psn_semaphore */
    PSN_MESSAGE,   /* struct psn_message, then the body */
    PSN_CHANNEL,   /* struct psn_channel */
    PSN_RING,      /* slots of a channel */
    PSN_HOLDERS,   /* further holder bits of a block */
    PSN_CONDITION, /* struct psn_condition */
    PSN_EVENT,     /* struct psn_event */
    PSN_LEDGER,    /* struct psn_ledger */
    PSN_COUNTS,    /* struct psn_count for each process slot, part of what it counts for */
    PSN_KINDS
};

/* A block lives as long as anything refers to it:
     owner    the one process that has it (a message being written or read); identity, 0 for none
     home     the block that it is part of (a message in a channel, a channel's ring); payload offset
     pins     messages that carry a reference to it; derived, recounted by a rebuild
     holders  bits, one per process slot that has a handle; a bit is idempotent, so cleaning up after a death is "clear it
              everywhere"
   A transfer sets the new reference before it clears the old, so a block in transit is never without one. */
struct psn_block {
    psn_a32 state;
    uint32_t kind;
    psn_a64 generation; /* serial number of the allocation; never used twice */
    uint64_t size;      /* payload bytes that were asked for */
    uint64_t next;      /* free: free list, derived.  A message at home in a channel: its position */
    psn_a32 owner;
    psn_a32 pins;
    psn_a64 home;
    uint64_t holders;      /* slots 0 to 63 */
    uint64_t more_holders; /* block of 15 words for the other slots; 0 while none was needed */
};
_Static_assert(sizeof(struct psn_block) == 64, "shared layout changed: bump PSN_LAYOUT_VERSION");

/* A message: references to other blocks, then `body_size` bytes.  Freed messages let go of what they refer to. */
struct psn_message {
    uint32_t ref_room;
    uint32_t ref_count;
    uint64_t body_size;
    uint64_t refs[]; /* payload offsets; they are pinned, so no generation is needed */
};
_Static_assert(sizeof(struct psn_message) == 16, "shared layout changed: bump PSN_LAYOUT_VERSION");

/* ---- pages ---- */

enum psn_page_kind { PSN_PAGE_NONE = 0, PSN_PAGE_FREE, PSN_PAGE_RUN, PSN_PAGE_SLAB };

/* Of a run of pages only the first descriptor counts; the others may hold anything. */
struct psn_page {
    psn_a32 kind;
    uint32_t size_class; /* slab */
    psn_a64 pages;       /* length; the store that splits or joins runs */
    uint32_t warm;       /* the pages exist: they were touched since they were last given back */
    uint32_t live;       /* slab: blocks held; derived */
    uint64_t first_free; /* slab: payload offset; derived */
    uint64_t before;     /* length of the run before this one; derived */
    uint64_t next;       /* bin or class list, as page number + 1; derived */
    uint64_t prev;
    uint64_t spare;
    struct psn_block block; /* header of a run's block */
};
_Static_assert(sizeof(struct psn_page) == 128, "shared layout changed: bump PSN_LAYOUT_VERSION");

struct psn_arena_header {
    uint64_t magic;
    uint32_t version;
    uint32_t slots;
    uint64_t size;
    uint64_t slots_offset;
    uint64_t pages_offset;
    uint64_t data_offset;
    uint64_t page_count;
    uint64_t warm_limit; /* free pages that may stay touched */
    struct psn_mutex mutex;
    psn_a64 serial;    /* last generation given out */
    psn_a64 top;       /* pages from here on were never used */
    psn_a64 warm_free; /* touched free pages; derived */
    psn_a64 rebuilds;
    psn_a64 blocks_held; /* derived */
    psn_a64 swept_at;    /* clock of the last look for dead processes */
    uint64_t classes[PSN_CLASSES]; /* slabs with free blocks, page number + 1; derived */
    uint64_t bins[2][PSN_BINS];    /* free runs by log2 of length: cold, warm; derived */
    uint64_t last_run; /* length of the run that ends at the top; derived */
    psn_a64 large_at;  /* clock of the last time that a large run was taken or given */
    psn_a64 tended_at; /* clock of the last time that somebody began to give idle memory back */
    uint64_t names_offset; /* struct psn_names; on a page of the system's, so that it can be mapped alone */
    uint64_t name_limit;   /* places in it */
    uint64_t spare[4];
};
_Static_assert(sizeof(struct psn_arena_header) == 840, "shared layout changed: bump PSN_LAYOUT_VERSION");

/* One process's view of the arena. */
struct psn_arena {
    struct psn_arena_header *header;
    uint8_t *base;
    uint64_t size;
    int fd;            /* see psn_arena_fd() */
    uint64_t file;     /* what `fd` is */
    uint32_t slot;     /* of this process */
    uint32_t identity; /* of this process */
};

PSN_MUST_CHECK psn_status psn_arena_create(struct psn_arena *arena, uint64_t size);
PSN_MUST_CHECK psn_status psn_arena_attach(struct psn_arena *arena, int fd);
void psn_arena_detach(struct psn_arena *arena);
/* -1 if the program has closed it: another file may go by that number, which must not be written to. */
int psn_arena_fd(const struct psn_arena *arena);
/* The mutex; rebuilds what a dead holder left. */
void psn_arena_lock(struct psn_arena *arena);
void psn_arena_unlock(struct psn_arena *arena);
/* Give touched free pages back to the system until at most `keep_bytes` of them are left. */
void psn_arena_trim(struct psn_arena *arena, uint64_t keep_bytes);
/* Some of them, if no large data has come or gone for five seconds.  Cheap; for those who have nothing else to do. */
void psn_arena_tend(struct psn_arena *arena);
/* NULL if every invariant holds, else the first that does not. */
const char *psn_arena_check(struct psn_arena *arena);

static inline void *psn_at(const struct psn_arena *arena, uint64_t offset) { return arena->base + offset; }
static inline uint64_t psn_offset_of(const struct psn_arena *arena, const void *payload) {
    return (uint64_t)((const uint8_t *)payload - arena->base);
}
static inline struct psn_page *psn_page_at(const struct psn_arena *arena, uint64_t page) {
    return (struct psn_page *)psn_at(arena, arena->header->pages_offset) + page;
}
static inline uint64_t psn_page_offset(const struct psn_arena *arena, uint64_t page) {
    return arena->header->data_offset + page * PSN_PAGE;
}
static inline struct psn_process *psn_process_at(const struct psn_arena *arena, uint32_t slot) {
    return (struct psn_process *)psn_at(arena, arena->header->slots_offset) + slot;
}

/* ---- blocks: block.c ---- */

struct psn_handle {
    uint64_t offset; /* of the payload */
    uint64_t generation;
};

/* A new block, held by this process (holder bit), or owned by it alone (`psn_block_allocate_owned`). */
PSN_MUST_CHECK psn_status psn_block_allocate(struct psn_arena *arena, enum psn_block_kind kind, uint64_t size,
                                             struct psn_handle *out);
PSN_MUST_CHECK psn_status psn_block_allocate_owned(struct psn_arena *arena, enum psn_block_kind kind, uint64_t size,
                                                   struct psn_handle *out);
/* Set this process's bit; GONE if the block was freed. */
PSN_MUST_CHECK psn_status psn_block_hold(struct psn_arena *arena, struct psn_handle handle);
/* Set this process's bit on a block that a message pins; gives its generation. */
PSN_MUST_CHECK psn_status psn_block_hold_pinned(struct psn_arena *arena, uint64_t offset, struct psn_handle *out);
void psn_block_drop(struct psn_arena *arena, struct psn_handle handle);
/* Let the only owner go: frees the block unless it has a home or holders. */
void psn_block_disown(struct psn_arena *arena, struct psn_handle handle);
/* The header of the block with this payload, or NULL if there is none of this generation.  With the mutex held, or for a
   block that nobody can free meanwhile. */
struct psn_block *psn_block_find(const struct psn_arena *arena, struct psn_handle handle);
/* The same without the generation, for callers that know that the block is alive. */
struct psn_block *psn_block_of(const struct psn_arena *arena, uint64_t offset);
/* Whether all or most of its pages existed before this allocation. */
bool psn_block_is_warm(const struct psn_arena *arena, uint64_t offset);

/* ---- large copies: copy.c; without the mutex ----
   Copy into memory of a block of ours, in the way that is cheapest for its pages.  NO_MEMORY: part of it may be written. */
PSN_MUST_CHECK psn_status psn_arena_fill(struct psn_arena *arena, uint64_t offset, const void *source, uint64_t size);
/* The same with a second thread, if there can be one, whether it pays or not. */
PSN_MUST_CHECK psn_status psn_arena_fill_by_two(struct psn_arena *arena, uint64_t offset, const void *source,
                                                uint64_t size);

PSN_MUST_CHECK psn_status psn_message_allocate(struct psn_arena *arena, uint32_t ref_room, uint64_t body_size,
                                               struct psn_handle *out);
/* Pin `target` for as long as the message lives. */
PSN_MUST_CHECK psn_status psn_message_refer(struct psn_arena *arena, uint64_t message, struct psn_handle target);
/* Make another process the owner of a message of ours. */
void psn_message_give(struct psn_arena *arena, struct psn_handle message, uint32_t identity);
/* Become the owner of a message that was given away and whose handle has come by another road; GONE if it was freed. */
PSN_MUST_CHECK psn_status psn_message_adopt(struct psn_arena *arena, struct psn_handle message);
static inline uint8_t *psn_message_body(struct psn_message *m) { return (uint8_t *)(m->refs + m->ref_room); }

typedef void (*psn_part)(struct psn_arena *arena, uint64_t part, uint64_t home);

/* What a kind must do besides, with the arena's mutex held.  `visit_parts` calls `part` on each block whose home this is. */
struct psn_kind {
    void (*visit_parts)(struct psn_arena *arena, uint64_t offset, psn_part part);
    void (*process_died)(struct psn_arena *arena, void *payload, uint32_t identity, const struct psn_death *death);
    /* The same also of those that ended in order, but with an exit code other than 0. */
    void (*process_failed)(struct psn_arena *arena, void *payload, uint32_t identity, const struct psn_death *death);
    /* Whether `part` is at home here in name only: the process that owns it has carried it off. */
    bool (*has_lost)(const void *payload, const struct psn_block *part);
    size_t counts; /* where in the payload its struct psn_counts lies; 0 if it has none */
};
extern struct psn_kind psn_kinds[PSN_KINDS];

/* Every held block in address order, with the mutex held. */
typedef void (*psn_visitor)(struct psn_arena *arena, uint64_t offset, struct psn_block *block, void *argument);
void psn_blocks_visit(struct psn_arena *arena, psn_visitor visit, void *argument);
/* With the mutex held: free the block if nothing refers to it. */
void psn_block_settle(struct psn_arena *arena, uint64_t offset, struct psn_block *block);
/* With the mutex held: if `home` is the home of the block with this payload, it is so no longer. */
void psn_block_leave_home(struct psn_arena *arena, uint64_t offset, uint64_t home);
void psn_blocks_rebuild(struct psn_arena *arena);

/* ---- runs of pages: pages.c; all with the mutex held ---- */
PSN_MUST_CHECK psn_status psn_pages_take(struct psn_arena *arena, uint64_t pages, uint64_t *first);
void psn_pages_give(struct psn_arena *arena, uint64_t first);
void psn_pages_give_cold(struct psn_arena *arena, uint64_t first); /* the system has them back */
/* Take at most `pages` touched free pages, to give them back to the system: gives their number, 0 if no more than `keep_pages`
   are there.  The run is in no bin, and a rebuild would find it free. */
uint64_t psn_pages_take_warm(struct psn_arena *arena, uint64_t pages, uint64_t keep_pages, uint64_t *first);
void psn_pages_rebuild(struct psn_arena *arena);
const char *psn_pages_check(struct psn_arena *arena);

/* ---- processes: process.c ---- */
/* Take a slot for a child that is about to start. */
PSN_MUST_CHECK psn_status psn_process_reserve(struct psn_arena *arena, uint32_t *identity);
/* The child's first act: this process is the one that `identity` was reserved for. */
void psn_process_enter(struct psn_arena *arena, uint32_t identity);
/* This process is leaving in order. */
void psn_process_leave(struct psn_arena *arena, uint32_t exitcode);
/* Give the child that `identity` stands for everything that this process holds; before a fork. */
PSN_MUST_CHECK psn_status psn_process_inherit(struct psn_arena *arena, uint32_t identity);
/* The process has ended: clear its bits everywhere, free what only it had, mark what it held.  Idempotent. */
void psn_process_sweep(struct psn_arena *arena, uint32_t identity, bool died);
/* The same for those who know how it ended, or with PSN_EXIT_UNKNOWN; and leave the slot in this state: FREE, or SWEPT. */
void psn_process_sweep_to(struct psn_arena *arena, uint32_t identity, bool died, int32_t exitcode,
                          enum psn_process_state state);
/* Sweep every process that ended.  The slots of those whose parent lives are kept for it, until slots run out. */
uint32_t psn_process_sweep_dead(struct psn_arena *arena);
bool psn_identity_is_alive(struct psn_arena *arena, uint32_t identity);
/* True if the process was killed (or left without a word), false while it runs or if it ended in order. */
bool psn_identity_has_died(struct psn_arena *arena, uint32_t identity, struct psn_death *death);
/* The same, or it ended in order, but with an exit code other than 0; it has not been swept yet. */
bool psn_identity_has_failed(struct psn_arena *arena, uint32_t identity, struct psn_death *death);

static inline uint32_t psn_identity_slot(uint32_t identity) { return identity & (PSN_SLOTS - 1); }

#endif
