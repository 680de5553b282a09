/* arena.c: making, mapping, locking and checking the arena. */
#include "arena.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t round_up(uint64_t n, uint64_t step) { return (n + step - 1) / step * step; }

psn_status psn_arena_create(struct psn_arena *arena, uint64_t size) {
    memset(arena, 0, sizeof *arena);
    /* Where address space is limited (ulimit -v) take what can be had. */
    psn_status status = PSN_OS_ERROR;
    errno = ENOMEM;
    for (size = round_up(size, PSN_PAGE); size >= 64u * PSN_PAGE; size = round_up(size / 2, PSN_PAGE)) {
        status = psn_memory_create(size, &arena->fd);
        if (status != PSN_OK)
            continue;
        arena->file = psn_memory_file(arena->fd);
        status = psn_memory_map(arena->fd, size, &arena->base);
        if (status == PSN_OK)
            break;
        psn_arena_detach(arena);
    }
    if (status != PSN_OK)
        return status;
    arena->size = size;
    struct psn_arena_header *h = arena->header = (struct psn_arena_header *)arena->base;
    h->version = PSN_LAYOUT_VERSION;
    h->slots = PSN_SLOTS;
    h->size = size;
    h->slots_offset = round_up(sizeof *h, 4096);
    h->names_offset = round_up(h->slots_offset + PSN_SLOTS * sizeof(struct psn_process), 4096);
    h->name_limit = size / 64 / sizeof(struct psn_name);
    if (h->name_limit > PSN_NAMES)
        h->name_limit = PSN_NAMES;
    h->pages_offset = round_up(h->names_offset + sizeof(struct psn_names) + h->name_limit * sizeof(struct psn_name), 4096);
    h->page_count = (size - h->pages_offset) / (PSN_PAGE + sizeof(struct psn_page));
    h->data_offset = round_up(h->pages_offset + h->page_count * sizeof(struct psn_page), PSN_PAGE);
    if (h->page_count > (size - h->data_offset) / PSN_PAGE) /* rounding up may have cost one */
        h->page_count = (size - h->data_offset) / PSN_PAGE;
    h->warm_limit = h->page_count / 8;
    /* Programs that run at one time or one after the other share no generations (none makes 16 blocks a nanosecond), so a
       handle that was kept in a file names nothing in the next. */
    store_relaxed(&h->serial, psn_clock_ns() << 4);
    status = psn_mutex_init(&h->mutex);
    if (status == PSN_OK) {
        h->magic = PSN_MAGIC;
        uint32_t identity;
        status = psn_process_reserve(arena, &identity);
        if (status == PSN_OK) {
            psn_process_enter(arena, identity);
            return PSN_OK;
        }
    }
    psn_arena_detach(arena);
    return status;
}

psn_status psn_arena_attach(struct psn_arena *arena, int fd) {
    memset(arena, 0, sizeof *arena);
    arena->fd = -1; /* the caller's until the end */
    psn_status status = psn_memory_map(fd, PSN_PAGE, &arena->base);
    if (status != PSN_OK)
        return status;
    struct psn_arena_header *h = (struct psn_arena_header *)arena->base;
    bool ours = h->magic == PSN_MAGIC && h->version == PSN_LAYOUT_VERSION && h->slots == PSN_SLOTS;
    uint64_t size = h->size;
    psn_memory_unmap(arena->base, PSN_PAGE);
    arena->base = NULL;
    if (!ours)
        return PSN_BAD_ARENA;
    status = psn_memory_map(fd, size, &arena->base);
    if (status != PSN_OK)
        return status;
    arena->header = (struct psn_arena_header *)arena->base;
    arena->size = size;
    arena->fd = fd;
    arena->file = psn_memory_file(fd);
    return PSN_OK;
}

int psn_arena_fd(const struct psn_arena *arena) {
    return arena->fd >= 0 && psn_memory_file(arena->fd) == arena->file ? arena->fd : -1;
}


void psn_arena_detach(struct psn_arena *arena) {
    if (arena->base)
        psn_memory_unmap(arena->base, arena->size);
    if (psn_arena_fd(arena) >= 0)
        close(arena->fd);
    memset(arena, 0, sizeof *arena);
    arena->fd = -1;
}

void psn_arena_lock(struct psn_arena *arena) {
    struct psn_arena_header *h = arena->header;
    if (psn_mutex_lock(&h->mutex) == PSN_OWNER_DIED) {
        /* Pages first: blocks are found through them. */
        psn_pages_rebuild(arena);
        psn_blocks_rebuild(arena);
        add_relaxed(&h->rebuilds, 1);
        psn_mutex_repaired(&h->mutex);
    }
}

void psn_arena_unlock(struct psn_arena *arena) {
#ifdef PSN_CHECK_EVERY_UNLOCK
    const char *broken = psn_pages_check(arena);
    if (broken) {
        fprintf(stderr, "arena: %s\n", broken);
        abort();
    }
#endif
    psn_mutex_unlock(&arena->header->mutex);
}

struct census {
    uint64_t held;
    const char *broken;
};

static void check_block(struct psn_arena *arena, uint64_t offset, struct psn_block *block, void *argument) {
    struct census *census = argument;
    census->held++;
    if (block->kind >= PSN_KINDS)
        census->broken = "a held block has an unknown kind";
    if (psn_block_of(arena, offset) != block)
        census->broken = "a held block cannot be found by its offset";
    if (load_relaxed(&block->generation) == 0 || load_relaxed(&block->generation) > load_relaxed(&arena->header->serial))
        census->broken = "a held block has a generation that was never given out";
    /* Owner twice: a message may be changing hands (see is_referred() in block.c). */
    if (!load_seq_cst(&block->owner) && !load_seq_cst(&block->home) && !load_seq_cst(&block->owner) &&
        !load_relaxed(&block->pins) && !block->holders) {
        bool more = false;
        for (int i = 0; block->more_holders && i < 15; i++)
            more |= ((uint64_t *)psn_at(arena, block->more_holders))[i] != 0;
        if (!more)
            census->broken = "a held block has nothing that refers to it";
    }
}

const char *psn_arena_check(struct psn_arena *arena) {
    psn_arena_lock(arena);
    struct census census = {0, psn_pages_check(arena)};
    if (!census.broken) {
        psn_blocks_visit(arena, check_block, &census);
        if (!census.broken && census.held != load_relaxed(&arena->header->blocks_held))
            census.broken = "the count of held blocks is off";
    }
    psn_arena_unlock(arena);
    return census.broken;
}
