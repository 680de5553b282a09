/* block.c: blocks: small ones from slabs of one page each, large ones as runs of pages; who refers to a block, and its end. */
#include "arena.h"
#include "counts.h"

#include <string.h>

/* Header and payload together; three of 5440 fit a page. */
static const uint32_t class_sizes[PSN_CLASSES] = {128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 5440, 8192};

struct psn_kind psn_kinds[PSN_KINDS];

static unsigned class_of(uint64_t total) {
    unsigned c = 0;
    while (c < PSN_CLASSES && class_sizes[c] < total)
        c++;
    return c;
}

static struct psn_block *header_of(const struct psn_arena *arena, uint64_t payload) {
    return (struct psn_block *)psn_at(arena, payload - sizeof(struct psn_block));
}

/* ---- slabs ---- */

static void class_insert(struct psn_arena *arena, uint64_t page) {
    struct psn_page *p = psn_page_at(arena, page);
    uint64_t *head = &arena->header->classes[p->size_class];
    p->prev = 0;
    p->next = *head;
    if (*head)
        psn_page_at(arena, *head - 1)->prev = page + 1;
    *head = page + 1;
}

static void class_remove(struct psn_arena *arena, uint64_t page) {
    struct psn_page *p = psn_page_at(arena, page);
    if (p->prev)
        psn_page_at(arena, p->prev - 1)->next = p->next;
    else
        arena->header->classes[p->size_class] = p->next;
    if (p->next)
        psn_page_at(arena, p->next - 1)->prev = p->prev;
}

static psn_status slab_create(struct psn_arena *arena, unsigned size_class) {
    uint64_t page;
    psn_status status = psn_pages_take(arena, 1, &page);
    if (status != PSN_OK)
        return status;
    struct psn_page *p = psn_page_at(arena, page);
    uint32_t size = class_sizes[size_class];
    uint64_t start = psn_page_offset(arena, page);
    p->size_class = size_class;
    p->live = 0;
    p->first_free = 0;
    p->warm = 1;
    for (uint32_t i = PSN_PAGE / size; i-- > 0;) {
        uint64_t payload = start + (uint64_t)i * size + sizeof(struct psn_block);
        struct psn_block *block = header_of(arena, payload);
        store_relaxed(&block->state, PSN_BLOCK_FREE);
        block->next = p->first_free;
        p->first_free = payload;
    }
    store_release(&p->kind, PSN_PAGE_SLAB); /* commit */
    class_insert(arena, page);
    return PSN_OK;
}

static psn_status allocate(struct psn_arena *arena, enum psn_block_kind kind, uint64_t size, bool owned,
                           struct psn_handle *out);

/* ---- holders ---- */

/* The word with the bit of `slot`; NULL if there is none yet and none was asked for, or no memory for it. */
static uint64_t *holder_word(struct psn_arena *arena, struct psn_block *block, uint64_t offset, uint32_t slot, bool create) {
    if (slot < 64)
        return &block->holders;
    if (!block->more_holders) {
        struct psn_handle more;
        if (!create || allocate(arena, PSN_HOLDERS, 15 * sizeof(uint64_t), true, &more) != PSN_OK)
            return NULL;
        memset(psn_at(arena, more.offset), 0, 15 * sizeof(uint64_t));
        struct psn_block *words = psn_block_of(arena, more.offset);
        store_relaxed(&words->home, offset);
        in_this_order();
        block->more_holders = more.offset;
        in_this_order();
        store_relaxed(&words->owner, 0);
    }
    return (uint64_t *)psn_at(arena, block->more_holders) + (slot / 64 - 1);
}

static psn_status set_holder(struct psn_arena *arena, struct psn_block *block, uint64_t offset, uint32_t slot) {
    uint64_t *word = holder_word(arena, block, offset, slot, true);
    if (!word)
        return PSN_NO_MEMORY;
    *word |= UINT64_C(1) << (slot % 64);
    return PSN_OK;
}

static bool has_more_holders(struct psn_arena *arena, struct psn_block *block) {
    if (block->more_holders) {
        uint64_t *words = psn_at(arena, block->more_holders);
        for (int i = 0; i < 15; i++)
            if (words[i])
                return true;
    }
    return false;
}

static void clear_holder(struct psn_arena *arena, struct psn_block *block, uint64_t offset, uint32_t slot) {
    uint64_t *word = holder_word(arena, block, offset, slot, false);
    if (!word)
        return;
    *word &= ~(UINT64_C(1) << (slot % 64));
    if (slot >= 64 && !has_more_holders(arena, block)) {
        uint64_t more = block->more_holders;
        block->more_holders = 0; /* commit: a rebuild lets words go that no block names */
        in_this_order();
        psn_block_leave_home(arena, more, offset);
    }
}

static bool is_held_by(struct psn_arena *arena, struct psn_block *block, uint64_t offset, uint32_t slot) {
    uint64_t *word = holder_word(arena, block, offset, slot, false);
    return word && (*word >> (slot % 64) & 1);
}

static bool is_referred(struct psn_arena *arena, struct psn_block *block) {
    /* Owner twice: a message goes from its owner to a channel, or from a channel to its owner, without the mutex, and
       the new reference is set before the old is cleared. */
    if (load_seq_cst(&block->owner) || load_seq_cst(&block->home) || load_seq_cst(&block->owner) ||
        load_relaxed(&block->pins) || block->holders)
        return true;
    return has_more_holders(arena, block);
}

/* ---- allocate, find ---- */

/* All but the state.  Gives the generation. */
static uint64_t write_header(struct psn_arena *arena, struct psn_block *block, enum psn_block_kind kind, uint64_t size,
                             bool owned) {
    uint64_t generation = add_relaxed(&arena->header->serial, 1) + 1;
    block->kind = kind;
    block->size = size;
    block->next = 0;
    block->holders = 0;
    block->more_holders = 0;
    store_relaxed(&block->pins, 0);
    store_relaxed(&block->home, 0);
    store_relaxed(&block->owner, owned ? arena->identity : 0);
    store_relaxed(&block->generation, generation);
    return generation;
}

static psn_status allocate(struct psn_arena *arena, enum psn_block_kind kind, uint64_t size, bool owned,
                           struct psn_handle *out) {
    struct psn_arena_header *h = arena->header;
    struct psn_block *block;
    uint64_t offset, page;
    unsigned size_class = size > PSN_PAGE ? PSN_CLASSES : class_of(size + sizeof(struct psn_block));
    if (size_class < PSN_CLASSES) {
        if (!h->classes[size_class]) {
            psn_status status = slab_create(arena, size_class);
            if (status != PSN_OK)
                return status;
        }
        page = h->classes[size_class] - 1;
        struct psn_page *p = psn_page_at(arena, page);
        offset = p->first_free;
        block = header_of(arena, offset);
        p->first_free = block->next;
        p->live++;
        if (!p->first_free)
            class_remove(arena, page);
    } else {
        if (size > h->size)
            return PSN_NO_MEMORY;
        psn_status status = psn_pages_take(arena, (size + PSN_PAGE - 1) / PSN_PAGE, &page);
        if (status != PSN_OK)
            return status;
        struct psn_page *p = psn_page_at(arena, page);
        offset = psn_page_offset(arena, page);
        block = &p->block;
        store_relaxed(&block->state, PSN_BLOCK_FREE);
        store_release(&p->kind, PSN_PAGE_RUN); /* commit; a run whose block is free is swept up by a rebuild */
    }
    uint64_t generation = write_header(arena, block, kind, size, owned);
    /* A rebuild may read these at once. */
    if (kind == PSN_MESSAGE)
        memset(psn_at(arena, offset), 0, sizeof(struct psn_message));
    else if (kind == PSN_CHANNEL || kind == PSN_LOCK || kind == PSN_SEMAPHORE || kind == PSN_CONDITION ||
             kind == PSN_LEDGER)
        memset(psn_at(arena, offset), 0, size);
    if (!owned && arena->slot < 64)
        block->holders = UINT64_C(1) << arena->slot;
    else if (!owned)
        store_relaxed(&block->owner, arena->identity); /* until the bit has a place */
    store_release(&block->state, PSN_BLOCK_HELD); /* commit */
    add_relaxed(&h->blocks_held, 1);
    if (!owned && arena->slot >= 64) {
        psn_status status = set_holder(arena, block, offset, arena->slot);
        store_relaxed(&block->owner, 0);
        if (status != PSN_OK) {
            psn_block_settle(arena, offset, block);
            return status;
        }
    }
    out->offset = offset;
    out->generation = generation;
    return PSN_OK;
}

psn_status psn_block_allocate(struct psn_arena *arena, enum psn_block_kind kind, uint64_t size, struct psn_handle *out) {
    psn_arena_lock(arena);
    psn_status status = allocate(arena, kind, size, false, out);
    psn_arena_unlock(arena);
    return status;
}

psn_status psn_block_allocate_owned(struct psn_arena *arena, enum psn_block_kind kind, uint64_t size,
                                    struct psn_handle *out) {
    psn_arena_lock(arena);
    psn_status status = allocate(arena, kind, size, true, out);
    psn_arena_unlock(arena);
    return status;
}

struct psn_block *psn_block_of(const struct psn_arena *arena, uint64_t offset) {
    const struct psn_arena_header *h = arena->header;
    if (offset < h->data_offset || offset >= h->size)
        return NULL;
    uint64_t page = (offset - h->data_offset) / PSN_PAGE;
    uint64_t within = (offset - h->data_offset) % PSN_PAGE;
    if (page >= load_acquire(&((struct psn_arena_header *)h)->top))
        return NULL;
    struct psn_page *p = psn_page_at(arena, page);
    struct psn_block *block = NULL;
    switch (load_acquire(&p->kind)) {
    case PSN_PAGE_RUN:
        block = within == 0 ? &p->block : NULL;
        break;
    case PSN_PAGE_SLAB:
        if (p->size_class < PSN_CLASSES && within >= sizeof(struct psn_block) &&
            (within - sizeof(struct psn_block)) % class_sizes[p->size_class] == 0)
            block = header_of(arena, offset);
        break;
    default:
        break;
    }
    return block && load_acquire(&block->state) == PSN_BLOCK_HELD ? block : NULL;
}

struct psn_block *psn_block_find(const struct psn_arena *arena, struct psn_handle handle) {
    struct psn_block *block = psn_block_of(arena, handle.offset);
    return block && load_relaxed(&block->generation) == handle.generation ? block : NULL;
}

static struct psn_page *run_of(const struct psn_arena *arena, uint64_t offset) {
    struct psn_page *p = psn_page_at(arena, (offset - arena->header->data_offset) / PSN_PAGE);
    return load_relaxed(&p->kind) == PSN_PAGE_RUN ? p : NULL;
}

bool psn_block_is_warm(const struct psn_arena *arena, uint64_t offset) {
    struct psn_page *p = run_of(arena, offset);
    return !p || p->warm;
}

/* ---- the end of a block ---- */

/* The table of its counts, 0 if there is none. */
static uint64_t table_of(struct psn_arena *arena, uint64_t offset, struct psn_block *block) {
    size_t at = psn_kinds[block->kind].counts;
    return at ? load_relaxed(&((struct psn_counts *)psn_at(arena, offset + at))->table) : 0;
}

void psn_block_leave_home(struct psn_arena *arena, uint64_t offset, uint64_t home) {
    struct psn_block *block = psn_block_of(arena, offset);
    if (block && load_relaxed(&block->home) == home) {
        store_relaxed(&block->home, 0);
        psn_block_settle(arena, offset, block);
    }
}

void psn_block_settle(struct psn_arena *arena, uint64_t offset, struct psn_block *block) {
    if (is_referred(arena, block))
        return;
    void *payload = psn_at(arena, offset);
    /* From here on a rebuild sees a free block, and lets go of its parts and of what it pins by itself. */
    store_release(&block->state, PSN_BLOCK_FREE); /* commit */
    add_relaxed(&arena->header->blocks_held, -(uint64_t)1);
    if (block->more_holders)
        psn_block_leave_home(arena, block->more_holders, offset);
    uint64_t table = table_of(arena, offset, block);
    if (table)
        psn_block_leave_home(arena, table, offset);
    if (psn_kinds[block->kind].visit_parts)
        psn_kinds[block->kind].visit_parts(arena, offset, psn_block_leave_home);
    if (block->kind == PSN_MESSAGE) {
        struct psn_message *message = payload;
        for (uint32_t i = 0; i < message->ref_count; i++) {
            struct psn_block *target = psn_block_of(arena, message->refs[i]);
            if (target) {
                add_relaxed(&target->pins, -1u);
                psn_block_settle(arena, message->refs[i], target);
            }
        }
    }
    uint64_t page = (offset - arena->header->data_offset) / PSN_PAGE;
    struct psn_page *p = psn_page_at(arena, page);
    if (load_relaxed(&p->kind) == PSN_PAGE_RUN) {
        /* Whoever allocated it has written to it, as far as anyone can tell. */
        p->warm = 1;
        psn_pages_give(arena, page);
        return;
    }
    if (!p->first_free)
        class_insert(arena, page);
    block->next = p->first_free;
    p->first_free = offset;
    p->live--;
    /* An empty slab goes back, unless it is the only one of its class with room. */
    if (p->live == 0 && (p->next || p->prev)) {
        class_remove(arena, page);
        psn_pages_give(arena, page);
    }
}

psn_status psn_block_hold(struct psn_arena *arena, struct psn_handle handle) {
    psn_arena_lock(arena);
    struct psn_block *block = psn_block_find(arena, handle);
    psn_status status = block ? set_holder(arena, block, handle.offset, arena->slot) : PSN_GONE;
    psn_arena_unlock(arena);
    return status;
}

psn_status psn_block_hold_pinned(struct psn_arena *arena, uint64_t offset, struct psn_handle *out) {
    psn_arena_lock(arena);
    struct psn_block *block = psn_block_of(arena, offset);
    psn_status status = block ? set_holder(arena, block, offset, arena->slot) : PSN_GONE;
    if (status == PSN_OK) {
        out->offset = offset;
        out->generation = load_relaxed(&block->generation);
    }
    psn_arena_unlock(arena);
    return status;
}

static void trim_to_limit(struct psn_arena *arena);

void psn_block_drop(struct psn_arena *arena, struct psn_handle handle) {
    psn_arena_lock(arena);
    struct psn_block *block = psn_block_find(arena, handle);
    if (block) {
        clear_holder(arena, block, handle.offset, arena->slot);
        psn_block_settle(arena, handle.offset, block);
    }
    psn_arena_unlock(arena);
    trim_to_limit(arena);
}

void psn_block_disown(struct psn_arena *arena, struct psn_handle handle) {
    psn_arena_lock(arena);
    struct psn_block *block = psn_block_find(arena, handle);
    if (block && load_relaxed(&block->owner) == arena->identity) {
        store_relaxed(&block->owner, 0);
        psn_block_settle(arena, handle.offset, block);
    }
    psn_arena_unlock(arena);
    trim_to_limit(arena);
}

/* ---- giving memory back ---- */

#define TRIM_PIECE (UINT64_C(8) << 20)         /* others may wait that long to write to the file */
#define IDLE_KEEP (UINT64_C(4) << 20)          /* what stays touched of an idle program */
#define IDLE_AFTER_NS UINT64_C(5000000000)     /* without large data */
#define IDLE_PIECE (UINT64_C(128) << 20)       /* given back at a time, */
#define IDLE_STEP_NS UINT64_C(400000000)       /* by one process of the program */

/* The system takes its time, so the mutex is not held meanwhile: the pages are a block of ours.  If we die they are swept. */
static bool trim_piece(struct psn_arena *arena, uint64_t bytes, uint64_t keep_bytes) {
    uint64_t page;
    psn_arena_lock(arena);
    uint64_t pages = psn_pages_take_warm(arena, bytes / PSN_PAGE, keep_bytes / PSN_PAGE, &page);
    if (pages == 0) {
        psn_arena_unlock(arena);
        return false;
    }
    struct psn_page *p = psn_page_at(arena, page);
    struct psn_block *block = &p->block;
    struct psn_handle handle = {psn_page_offset(arena, page), 0};
    store_relaxed(&block->state, PSN_BLOCK_FREE);
    store_release(&p->kind, PSN_PAGE_RUN); /* commit, as in allocate() */
    handle.generation = write_header(arena, block, PSN_DATA, pages * PSN_PAGE, true);
    store_release(&block->state, PSN_BLOCK_HELD); /* commit */
    add_relaxed(&arena->header->blocks_held, 1);
    psn_arena_unlock(arena);

    psn_memory_discard(psn_arena_fd(arena), handle.offset, pages * PSN_PAGE);

    psn_arena_lock(arena);
    if (psn_block_find(arena, handle)) {
        store_release(&block->state, PSN_BLOCK_FREE); /* commit */
        add_relaxed(&arena->header->blocks_held, -(uint64_t)1);
        psn_pages_give_cold(arena, page);
    }
    psn_arena_unlock(arena);
    return true;
}

void psn_arena_trim(struct psn_arena *arena, uint64_t keep_bytes) {
    while (trim_piece(arena, TRIM_PIECE, keep_bytes))
        continue;
}

static void trim_to_limit(struct psn_arena *arena) {
    struct psn_arena_header *h = arena->header;
    if (load_relaxed(&h->warm_free) > h->warm_limit)
        psn_arena_trim(arena, h->warm_limit * PSN_PAGE);
}

void psn_arena_tend(struct psn_arena *arena) {
    struct psn_arena_header *h = arena->header;
    uint64_t now, last = load_relaxed(&h->tended_at), large_at = load_relaxed(&h->large_at);
    if (load_relaxed(&h->warm_free) <= IDLE_KEEP / PSN_PAGE || (now = psn_clock_ns()) < large_at + IDLE_AFTER_NS ||
        now < last + IDLE_STEP_NS || !cas64_seq_cst(&h->tended_at, &last, now))
        return;
    for (uint64_t given = 0; given < IDLE_PIECE && load_relaxed(&h->large_at) == large_at; given += TRIM_PIECE)
        if (!trim_piece(arena, TRIM_PIECE, IDLE_KEEP))
            return;
}

/* ---- messages ---- */

psn_status psn_message_allocate(struct psn_arena *arena, uint32_t ref_room, uint64_t body_size, struct psn_handle *out) {
    uint64_t head_size = sizeof(struct psn_message) + ref_room * sizeof(uint64_t), size = head_size + body_size;
    if (size < head_size)
        return PSN_NO_MEMORY;
    psn_status status = psn_block_allocate_owned(arena, PSN_MESSAGE, size, out);
    if (status == PSN_OK) {
        struct psn_message *message = psn_at(arena, out->offset);
        message->ref_room = ref_room;
        message->body_size = body_size;
    }
    return status;
}

psn_status psn_message_refer(struct psn_arena *arena, uint64_t message_offset, struct psn_handle target) {
    struct psn_message *message = psn_at(arena, message_offset);
    psn_arena_lock(arena);
    struct psn_block *block = psn_block_find(arena, target);
    psn_status status = block && message->ref_count < message->ref_room ? PSN_OK : PSN_GONE;
    if (status == PSN_OK) {
        message->refs[message->ref_count] = target.offset;
        in_this_order();
        message->ref_count++;
        add_relaxed(&block->pins, 1);
    }
    psn_arena_unlock(arena);
    return status;
}

void psn_message_give(struct psn_arena *arena, struct psn_handle message, uint32_t identity) {
    psn_arena_lock(arena);
    struct psn_block *block = psn_block_find(arena, message);
    if (block)
        store_seq_cst(&block->owner, identity);
    psn_arena_unlock(arena);
}

psn_status psn_message_adopt(struct psn_arena *arena, struct psn_handle message) {
    psn_arena_lock(arena);
    struct psn_block *block = psn_block_find(arena, message);
    bool is_there = block && block->kind == PSN_MESSAGE;
    if (is_there)
        store_seq_cst(&block->owner, arena->identity);
    psn_arena_unlock(arena);
    return is_there ? PSN_OK : PSN_GONE;
}

/* ---- all blocks ---- */

void psn_blocks_visit(struct psn_arena *arena, psn_visitor visit, void *argument) {
    uint64_t top = load_relaxed(&arena->header->top);
    for (uint64_t page = 0, length; page < top; page += length) {
        struct psn_page *p = psn_page_at(arena, page);
        length = load_relaxed(&p->pages);
        uint64_t start = psn_page_offset(arena, page);
        if (load_relaxed(&p->kind) == PSN_PAGE_RUN) {
            if (load_relaxed(&p->block.state) == PSN_BLOCK_HELD)
                visit(arena, start, &p->block, argument);
        } else if (load_relaxed(&p->kind) == PSN_PAGE_SLAB) {
            uint32_t size = class_sizes[p->size_class];
            /* A visit may free the slab's last block and give the page back: its kind is read anew each time. */
            for (uint32_t i = 0; i < PSN_PAGE / size && load_relaxed(&p->kind) == PSN_PAGE_SLAB; i++) {
                uint64_t payload = start + (uint64_t)i * size + sizeof(struct psn_block);
                struct psn_block *block = header_of(arena, payload);
                if (load_relaxed(&block->state) == PSN_BLOCK_HELD)
                    visit(arena, payload, block, argument);
            }
        }
    }
}

static void forget_pins(struct psn_arena *arena, uint64_t offset, struct psn_block *block, void *argument) {
    (void)arena, (void)offset, (void)argument;
    store_relaxed(&block->pins, 0);
}

static void recount(struct psn_arena *arena, uint64_t offset, struct psn_block *block, void *argument) {
    ++*(uint64_t *)argument;
    if (block->kind == PSN_MESSAGE) {
        struct psn_message *message = psn_at(arena, offset);
        for (uint32_t i = 0; i < message->ref_count; i++) {
            struct psn_block *target = psn_block_of(arena, message->refs[i]);
            if (target)
                add_relaxed(&target->pins, 1);
        }
    }
    uint64_t home = load_relaxed(&block->home);
    struct psn_block *at = home ? psn_block_of(arena, home) : NULL;
    if (home && (!at || (block->kind == PSN_HOLDERS && at->more_holders != offset) ||
                 (block->kind == PSN_COUNTS && table_of(arena, home, at) != offset)))
        store_relaxed(&block->home, 0);
}

static void settle(struct psn_arena *arena, uint64_t offset, struct psn_block *block, void *argument) {
    (void)argument;
    psn_block_settle(arena, offset, block);
}

void psn_blocks_rebuild(struct psn_arena *arena) {
    struct psn_arena_header *h = arena->header;
    for (unsigned c = 0; c < PSN_CLASSES; c++)
        h->classes[c] = 0;
    uint64_t top = load_relaxed(&h->top);
    for (uint64_t page = 0, length; page < top; page += length) {
        struct psn_page *p = psn_page_at(arena, page);
        length = load_relaxed(&p->pages);
        if (load_relaxed(&p->kind) == PSN_PAGE_RUN && load_relaxed(&p->block.state) != PSN_BLOCK_HELD) {
            store_release(&p->kind, PSN_PAGE_FREE);
        } else if (load_relaxed(&p->kind) == PSN_PAGE_SLAB) {
            uint32_t size = class_sizes[p->size_class];
            p->live = 0;
            p->first_free = 0;
            for (uint32_t i = PSN_PAGE / size; i-- > 0;) {
                uint64_t payload = psn_page_offset(arena, page) + (uint64_t)i * size + sizeof(struct psn_block);
                struct psn_block *block = header_of(arena, payload);
                if (load_relaxed(&block->state) == PSN_BLOCK_HELD) {
                    p->live++;
                } else {
                    block->next = p->first_free;
                    p->first_free = payload;
                }
            }
            if (p->first_free)
                class_insert(arena, page);
        }
    }
    psn_pages_rebuild(arena); /* runs that were half allocated have become free */
    uint64_t held = 0;
    psn_blocks_visit(arena, forget_pins, NULL);
    psn_blocks_visit(arena, recount, &held);
    store_relaxed(&h->blocks_held, held);
    psn_blocks_visit(arena, settle, NULL);
}

/* ---- what process.c does to all blocks ---- */

struct inheritance {
    uint32_t from, to;
    psn_status status;
};

static void inherit(struct psn_arena *arena, uint64_t offset, struct psn_block *block, void *argument) {
    struct inheritance *i = argument;
    if (i->status == PSN_OK && is_held_by(arena, block, offset, i->from))
        i->status = set_holder(arena, block, offset, i->to);
}

psn_status psn_process_inherit(struct psn_arena *arena, uint32_t identity) {
    struct inheritance i = {arena->slot, psn_identity_slot(identity), PSN_OK};
    psn_arena_lock(arena);
    psn_blocks_visit(arena, inherit, &i);
    psn_arena_unlock(arena);
    return i.status;
}

struct departure {
    uint32_t identity;
    bool died, failed;
    struct psn_death death;
};

static void depart(struct psn_arena *arena, uint64_t offset, struct psn_block *block, void *argument) {
    struct departure *d = argument;
    if (d->died && psn_kinds[block->kind].process_died)
        psn_kinds[block->kind].process_died(arena, psn_at(arena, offset), d->identity, &d->death);
    if (d->failed && psn_kinds[block->kind].process_failed)
        psn_kinds[block->kind].process_failed(arena, psn_at(arena, offset), d->identity, &d->death);
    /* Settle only what it referred to: other messages may be changing hands at this moment. */
    bool has_referred = is_held_by(arena, block, offset, psn_identity_slot(d->identity));
    if (has_referred)
        clear_holder(arena, block, offset, psn_identity_slot(d->identity));
    uint32_t owner = load_seq_cst(&block->owner);
    if (owner == d->identity) {
        /* A message that it carried off and had no time to call its own is in no queue: nobody else can have it by now. */
        uint64_t home = load_seq_cst(&block->home);
        struct psn_block *at = home ? psn_block_of(arena, home) : NULL;
        if (home && (!at || (psn_kinds[at->kind].has_lost && psn_kinds[at->kind].has_lost(psn_at(arena, home), block))))
            store_seq_cst(&block->home, 0);
        has_referred |= cas32_seq_cst(&block->owner, &owner, 0);
    }
    if (has_referred)
        psn_block_settle(arena, offset, block);
}

void psn_process_sweep(struct psn_arena *arena, uint32_t identity, bool died) {
    psn_process_sweep_to(arena, identity, died, PSN_EXIT_UNKNOWN, PSN_SLOT_FREE);
}

void psn_process_sweep_to(struct psn_arena *arena, uint32_t identity, bool died, int32_t exitcode,
                          enum psn_process_state state) {
    struct psn_process *process = psn_process_at(arena, psn_identity_slot(identity));
    psn_arena_lock(arena);
    uint32_t before = load_acquire(&process->state);
    if (load_relaxed(&process->identity) == identity && before != PSN_SLOT_FREE) {
        uint32_t pid = load_relaxed(&process->pid);
        /* Swept before: then by one who knew whether it ended in order. */
        died &= before != PSN_SLOT_SWEPT;
        if (died && exitcode == PSN_EXIT_UNKNOWN)
            exitcode = psn_process_exitcode(pid, load_relaxed(&process->started));
        else if (before == PSN_SLOT_ENDED)
            exitcode = (int32_t)load_relaxed(&process->exitcode);
        bool failed = died || (before == PSN_SLOT_ENDED && exitcode != 0);
        struct departure d = {identity, died, failed, {pid, exitcode}};
        psn_blocks_visit(arena, depart, &d);
        store_release(&process->state, state);
    }
    psn_arena_unlock(arena);
    trim_to_limit(arena);
}
