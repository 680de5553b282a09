/* names.h: which named segments the program has made and nobody has removed yet, so that one who outlives the program can.
   A table in the arena, used without a lock: a place is claimed, filled, and made live by one store; whoever removes the
   name frees the place.  A process that is killed while it fills a place leaves it claimed; the next one that looks for a
   place takes it over. */
#ifndef PSN_NAMES_H
#define PSN_NAMES_H

#include "arena.h"

/* A name that is added before the segment appears under it.  Who removes what the program has left compares device and inode:
   the name may be another's by then. */
struct psn_named {
    uint64_t device; /* with inode 0: whatever has the name */
    uint64_t inode;
    uint32_t maker; /* identity of the process that has added it */
    char name[PSN_NAME_LIMIT + 1];
};

/* NO_MEMORY if the table is full.  The name is at most PSN_NAME_LIMIT bytes, without a zero; `maker` is this process. */
PSN_MUST_CHECK psn_status psn_names_add(struct psn_arena *arena, const struct psn_named *named);
/* Forget what equals `named`: of any maker if that is 0, of any inode if that is 0.  How many there were. */
uint32_t psn_names_remove(struct psn_arena *arena, const struct psn_named *named);
/* The first one at `place` or behind it.  The place after it, or 0 if there is none. */
uint64_t psn_names_next(struct psn_arena *arena, uint64_t place, struct psn_named *out);

#endif
