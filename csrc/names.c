/* names.c: the table of named segments. */
#include "names.h"

#include <string.h>

/*  state of a place: | phase 2 bits | uses 30 bits | identity of the maker 32 bits |
    The uses tell a name from the next one in the same place: who has read a place and finds the same state again has read
    one name and not half of another. */
#define PHASE (UINT64_C(3) << 62)
#define FILLING (UINT64_C(1) << 62)
#define LIVE (UINT64_C(2) << 62)
#define USE (UINT64_C(1) << 32)
#define USES (~PHASE & ~(USE - 1))
#define WORDS (sizeof(((struct psn_name *)0)->text) / sizeof(psn_a64))
_Static_assert(sizeof(((struct psn_name *)0)->text) == PSN_NAME_LIMIT + 1, "a name and its end");

static struct psn_names *names_of(const struct psn_arena *arena) { return psn_at(arena, arena->header->names_offset); }

/* Whether the place can be taken: nobody's, or claimed by one who is not there any more. */
static bool is_free(struct psn_arena *arena, uint64_t state) {
    uint32_t maker = (uint32_t)state;
    return (state & PHASE) == 0 || ((state & PHASE) == FILLING && maker != arena->identity && !psn_identity_is_alive(arena, maker));
}

psn_status psn_names_add(struct psn_arena *arena, const struct psn_named *named) {
    struct psn_names *names = names_of(arena);
    uint64_t words[WORDS] = {0};
    memcpy(words, named->name, strlen(named->name));
    for (uint64_t i = 0; i < arena->header->name_limit; i++) {
        struct psn_name *place = &names->places[i];
        uint64_t state = load_acquire(&place->state);
        if (!is_free(arena, state))
            continue;
        uint64_t use = ((state + USE) & USES) | arena->identity;
        if (!cas64_seq_cst(&place->state, &state, FILLING | use))
            continue;
        uint64_t top = load_relaxed(&names->top);
        while (top <= i && !cas64_seq_cst(&names->top, &top, i + 1))
            ;
        /* Release, each of them: none may be seen before the place is claimed. */
        store_release(&place->device, named->device);
        store_release(&place->inode, named->inode);
        for (size_t word = 0; word < WORDS; word++)
            store_release(&place->text[word], words[word]);
        store_release(&place->state, LIVE | use); /* commit */
        return PSN_OK;
    }
    return PSN_NO_MEMORY;
}

/* The name at a place, and the state in which it is; false if there is none. */
static bool read_place(struct psn_name *place, struct psn_named *out, uint64_t *state) {
    *state = load_acquire(&place->state);
    if ((*state & PHASE) != LIVE)
        return false;
    uint64_t words[WORDS];
    out->device = load_acquire(&place->device);
    out->inode = load_acquire(&place->inode);
    for (size_t word = 0; word < WORDS; word++)
        words[word] = load_acquire(&place->text[word]);
    out->maker = (uint32_t)*state;
    memcpy(out->name, words, sizeof words);
    out->name[PSN_NAME_LIMIT] = 0;
    return load_relaxed(&place->state) == *state;
}

uint32_t psn_names_remove(struct psn_arena *arena, const struct psn_named *named) {
    struct psn_names *names = names_of(arena);
    struct psn_named found;
    uint64_t state, top = load_acquire(&names->top);
    uint32_t removed = 0;
    for (uint64_t i = 0; i < top; i++) {
        struct psn_name *place = &names->places[i];
        if (!read_place(place, &found, &state) || strcmp(found.name, named->name) != 0)
            continue;
        if (named->maker && found.maker != named->maker)
            continue;
        /* One of an unknown inode goes with any of its name. */
        if (named->inode && found.inode && (found.inode != named->inode || found.device != named->device))
            continue;
        removed += cas64_seq_cst(&place->state, &state, state & ~PHASE);
    }
    return removed;
}

uint64_t psn_names_next(struct psn_arena *arena, uint64_t place, struct psn_named *out) {
    struct psn_names *names = names_of(arena);
    uint64_t state, top = load_acquire(&names->top);
    for (; place < top; place++)
        if (read_place(&names->places[place], out, &state))
            return place + 1;
    return 0;
}
