/* copy.c: copies into the arena, a chunk at a time, each in the way that its pages ask for.

     some are missing        through the file; the second thread makes them first and then stores to them
     they are there          stored to
     but not in our tables   read first: a read fault brings in many pages at once, a store fault one

   Nothing is remembered of pages.  The system is asked which are missing, for a hundredth of the copy's time, and faults show
   that this process's page tables lack them.  Two threads take chunks in turn, so one that gets no cpu costs little. */
#include "arena.h"

#include <string.h>

#define CHUNK PSN_LOOK
#define SMALL (UINT64_C(1) << 16) /* below, asking costs more than it saves */
/* Bytes from which it pays; measured to the reader's end, who finds smaller ones in a cache. */
#define PAST_CACHES (UINT64_C(8) << 20)
#define BY_TWO (UINT64_C(16) << 20)
#define BY_TWO_MISSING (UINT64_C(4) << 20)
#define READ_STEP 4096u

struct copy {
    struct psn_arena *arena;
    uint64_t offset; /* of the target in the arena */
    const uint8_t *source;
    uint64_t size;
    psn_a64 next;   /* the first chunk that nobody has taken; they end at multiples of CHUNK in the arena */
    psn_a32 status; /* of the first that failed */
};

/* What one thread goes by. */
struct hand {
    bool is_second;
    bool reads_first;
    uint64_t faults; /* up to the last chunk */
};

/* A read of each page.  All of them exist. */
static void read_pages(const volatile uint8_t *at, uint64_t size) {
    for (uint64_t i = 0; i < size; i += READ_STEP)
        (void)at[i];
    (void)at[size - 1];
}

static psn_status copy_chunk(struct copy *copy, struct hand *hand, uint64_t from, uint64_t to) {
    uint8_t *at = psn_at(copy->arena, from);
    const uint8_t *source = copy->source + (from - copy->offset);
    uint64_t size = to - from;
    bool entered = false;
    if (psn_memory_is_missing(at, size)) {
        psn_status status = hand->is_second ? PSN_OS_ERROR : psn_memory_write(psn_arena_fd(copy->arena), from, source, size);
        if (status == PSN_OK || status == PSN_NO_MEMORY)
            return status;
        status = psn_memory_populate(at, size);
        if (status == PSN_NO_MEMORY)
            return status;
        if (status != PSN_OK && hand->is_second && psn_memory_write(psn_arena_fd(copy->arena), from, source, size) == PSN_OK)
            return PSN_OK;
        hand->faults = psn_page_faults();
    } else if (hand->reads_first) {
        read_pages(at, size);
        uint64_t faults = psn_page_faults();
        entered = faults != hand->faults;
        hand->faults = faults;
    }
    if (copy->size >= PAST_CACHES)
        psn_copy_past_caches(at, source, size);
    else
        memcpy(at, source, size);
    uint64_t faults = psn_page_faults();
    hand->reads_first = entered || faults - hand->faults > size / READ_STEP / 8;
    hand->faults = faults;
    return PSN_OK;
}

static void copy_chunks(struct copy *copy, bool is_second) {
    struct hand hand = {is_second, false, psn_page_faults()};
    uint64_t first = copy->offset / CHUNK, end = copy->offset + copy->size;
    while (load_relaxed(&copy->status) == PSN_OK) {
        uint64_t chunk = first + add_relaxed(&copy->next, 1);
        uint64_t from = chunk * CHUNK, to = from + CHUNK;
        if (from >= end)
            return;
        psn_status status = copy_chunk(copy, &hand, from > copy->offset ? from : copy->offset, to < end ? to : end);
        if (status != PSN_OK)
            store_relaxed(&copy->status, status);
    }
}

static void copy_second(void *argument) { copy_chunks(argument, true); }

static psn_status carry_out(struct copy *copy, bool by_two) {
    struct psn_helper helper;
    by_two = by_two && psn_helper_start(&helper, copy_second, copy) == PSN_OK;
    copy_chunks(copy, false);
    if (by_two)
        psn_helper_join(&helper);
    return (psn_status)load_relaxed(&copy->status);
}

static bool pays_by_two(const struct copy *copy) {
    if (copy->size < BY_TWO &&
        (copy->size < BY_TWO_MISSING || !psn_memory_is_missing(psn_at(copy->arena, copy->offset), CHUNK)))
        return false;
    return psn_has_idle_cpu();
}

psn_status psn_arena_fill(struct psn_arena *arena, uint64_t offset, const void *source, uint64_t size) {
    if (size < SMALL) {
        memcpy(psn_at(arena, offset), source, size);
        return PSN_OK;
    }
    struct copy copy = {arena, offset, source, size, 0, PSN_OK};
    return carry_out(&copy, pays_by_two(&copy));
}

psn_status psn_arena_fill_by_two(struct psn_arena *arena, uint64_t offset, const void *source, uint64_t size) {
    struct copy copy = {arena, offset, source, size, 0, PSN_OK};
    return carry_out(&copy, true);
}
