/* counts.h: how many of something each process has, in shared memory: permits that it took, threads of it that wait.
   When a process is killed, what it had is known and can be given back.  A few processes have a place in the object itself; if
   more come, all further ones have theirs in a table with a place for each process slot, which is made then.
   All of it is under the mutex of the object that it is part of.  A change commits by one store to one count, or to `others`;
   who finds the mutex's holder dead calls psn_counts_repair(). */
#ifndef PSN_COUNTS_H
#define PSN_COUNTS_H

#include "arena.h"

#define PSN_COUNTS_HERE 16

struct psn_count {
    uint32_t identity;
    uint32_t count; /* with none the place is free */
};
_Static_assert(sizeof(struct psn_count) == 8, "shared layout changed: bump PSN_LAYOUT_VERSION");

struct psn_counts {
    struct psn_count here[PSN_COUNTS_HERE];
    psn_a64 table;   /* block of PSN_SLOTS places, by process slot; 0 while none was needed.  Set once */
    uint32_t others; /* what those have who have ended and are swept, or for whom there was no memory */
    uint32_t total;  /* derived: all together */
    uint32_t moving; /* while a count goes over to `others`: its place + 1, ... */
    uint32_t moved;  /* ... and what `others` is then; whoever finds the move half done ends it */
    uint32_t looked; /* where in the table the next look for the dead begins */
    uint32_t spare;
};
_Static_assert(sizeof(struct psn_counts) == 160, "shared layout changed: bump PSN_LAYOUT_VERSION");

/* Whether there is a place for it, which stays as long as nobody adds. */
PSN_MUST_CHECK bool psn_counts_has_place(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity);
/* One more for this process.  False if there is no place for it: then let go of the mutex, extend, and come again. */
PSN_MUST_CHECK bool psn_counts_add(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity);
/* Make the table, without the object's mutex; `home` is the payload offset of the object.  False if there is no memory. */
PSN_MUST_CHECK bool psn_counts_extend(struct psn_arena *arena, struct psn_counts *counts, uint64_t home);
/* One more for somebody who has found no place. */
void psn_counts_add_other(struct psn_counts *counts);
/* One less for this process, or, if it has none, of `others`.  False if these have none either. */
PSN_MUST_CHECK bool psn_counts_remove(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity);
uint32_t psn_counts_of(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity);
/* It was killed: it has none any more. */
void psn_counts_clear(struct psn_arena *arena, struct psn_counts *counts, uint32_t identity);
/* The identity of one that has some and is dead by this measure, or 0.  Looks at some at a time, so that many who wait for many
   do not look at all of them all the time. */
typedef bool (*psn_measure)(struct psn_arena *arena, uint32_t identity, struct psn_death *death);
uint32_t psn_counts_find_dead(struct psn_arena *arena, struct psn_counts *counts, psn_measure is_dead,
                              struct psn_death *death);
void psn_counts_repair(struct psn_arena *arena, struct psn_counts *counts);

#endif
