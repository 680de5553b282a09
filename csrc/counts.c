/* counts.c: see counts.h. */
#include "counts.h"

#include <string.h>

#define LOOK_AT_ONCE 32

static struct psn_count *table_of(struct psn_arena *arena, struct psn_counts *counts) {
    /* pairs with: psn_counts_extend() store.  The table is empty before it is named. */
    uint64_t table = load_acquire(&counts->table);
    return table ? psn_at(arena, table) : NULL;
}

static struct psn_count *place_at(struct psn_arena *arena, struct psn_counts *counts, uint32_t place) {
    return place < PSN_COUNTS_HERE ? &counts->here[place] : table_of(arena, counts) + (place - PSN_COUNTS_HERE);
}

static void end_move(struct psn_arena *arena, struct psn_counts *counts) {
    if (!counts->moving)
        return;
    counts->others = counts->moved;
    in_this_order();
    place_at(arena, counts, counts->moving - 1)->count = 0;
    in_this_order();
    counts->moving = 0;
}

static void move_to_others(struct psn_arena *arena, struct psn_counts *counts, uint32_t place) {
    counts->moved = counts->others + place_at(arena, counts, place)->count;
    in_this_order();
    counts->moving = place + 1; /* commit */
    in_this_order();
    end_move(arena, counts);
}

void psn_counts_repair(struct psn_arena *arena, struct psn_counts *counts) {
    end_move(arena, counts);
    struct psn_count *table = table_of(arena, counts);
    counts->total = counts->others;
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        counts->total += counts->here[i].count;
    for (uint32_t slot = 0; table && slot < PSN_SLOTS; slot++)
        counts->total += table[slot].count;
}

/* What it has is its own no more: it was swept, and whoever swept it has left it to others. */
static bool is_gone(struct psn_arena *arena, uint32_t identity) {
    struct psn_process *p = psn_process_at(arena, psn_identity_slot(identity));
    uint32_t state = load_acquire(&p->state);
    return load_relaxed(&p->identity) != identity || state == PSN_SLOT_FREE || state == PSN_SLOT_SWEPT;
}

/* The place where this process has some, or NULL. */
static struct psn_count *find(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity) {
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        if (counts->here[i].identity == identity && counts->here[i].count)
            return &counts->here[i];
    struct psn_count *table = table_of(arena, counts), *place = table ? &table[psn_identity_slot(identity)] : NULL;
    return place && place->identity == identity && place->count ? place : NULL;
}

/* A free place for it, or NULL. */
static struct psn_count *find_free(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity) {
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        if (!counts->here[i].count)
            return &counts->here[i];
    for (uint32_t i = 0; i < PSN_COUNTS_HERE; i++)
        if (is_gone(arena, counts->here[i].identity)) {
            move_to_others(arena, counts, i);
            return &counts->here[i];
        }
    struct psn_count *table = table_of(arena, counts);
    uint32_t slot = psn_identity_slot(identity);
    if (table && table[slot].count) /* of an earlier process of this slot */
        move_to_others(arena, counts, PSN_COUNTS_HERE + slot);
    return table ? &table[slot] : NULL;
}

bool psn_counts_has_place(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity) {
    return find(arena, counts, identity) || find_free(arena, counts, identity);
}

bool psn_counts_add(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity) {
    struct psn_count *place = find(arena, counts, identity);
    if (!place) {
        place = find_free(arena, counts, identity);
        if (!place)
            return false;
        place->identity = identity;
        in_this_order();
    }
    place->count++; /* commit */
    counts->total++;
    return true;
}

void psn_counts_add_other(struct psn_counts *counts) {
    counts->others++; /* commit */
    counts->total++;
}

bool psn_counts_remove(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity) {
    struct psn_count *place = find(arena, counts, identity);
    if (place)
        place->count--; /* commit */
    else if (counts->others)
        counts->others--; /* commit */
    else
        return false;
    counts->total--;
    return true;
}

uint32_t psn_counts_of(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity) {
    struct psn_count *place = find(arena, counts, identity);
    return place ? place->count : 0;
}

void psn_counts_clear(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity) {
    struct psn_count *place = find(arena, counts, identity);
    if (!place)
        return;
    counts->total -= place->count;
    in_this_order();
    place->count = 0; /* commit */
}

bool psn_counts_extend(struct psn_arena *arena, struct psn_counts *counts, uint64_t home) {
    struct psn_handle table;
    uint64_t size = PSN_SLOTS * sizeof(struct psn_count);
    if (psn_block_allocate_owned(arena, PSN_COUNTS, size, &table) != PSN_OK)
        return false;
    memset(psn_at(arena, table.offset), 0, size);
    psn_arena_lock(arena);
    struct psn_block *block = psn_block_of(arena, table.offset);
    if (!load_relaxed(&counts->table)) {
        store_relaxed(&block->home, home);
        in_this_order();
        store_release(&counts->table, table.offset); /* commit: a rebuild lets tables go that their home does not name */
        in_this_order();
    }
    store_relaxed(&block->owner, 0);
    psn_block_settle(arena, table.offset, block); /* another was faster: nothing refers to it */
    psn_arena_unlock(arena);
    return true;
}

uint32_t psn_counts_find_dead(struct psn_arena *arena, struct psn_counts *counts, psn_measure is_dead,
                              struct psn_death *death) {
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        if (counts->here[i].count && is_dead(arena, counts->here[i].identity, death))
            return counts->here[i].identity;
    struct psn_count *table = table_of(arena, counts);
    for (uint32_t n = 0, looks = 0; table && n < PSN_SLOTS && looks < LOOK_AT_ONCE; n++) {
        struct psn_count *place = &table[counts->looked++ % PSN_SLOTS];
        looks += place->count != 0;
        if (place->count && is_dead(arena, place->identity, death))
            return place->identity;
    }
    return 0;
}
