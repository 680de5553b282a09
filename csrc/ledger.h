/* ledger.h: what each process has taken out of a channel and has not said to be done, in shared memory.
   For queues that are joined: whoever joins waits until all that was put is done.  What a process had that was killed, or that
   ended with an exit code other than 0, will never be: it counts as done, and one who joins is told of it, once.
   All who take from the channel do so through the ledger, one at a time: so at most one message is taken and not noted, and
   the channel's head says whether one is. */
#ifndef PSN_LEDGER_H
#define PSN_LEDGER_H

#include "channel.h"
#include "counts.h"

/* What changes in more than one word, so that whoever finds the mutex's holder dead must end it. */
enum psn_ledger_step {
    PSN_LEDGER_WHOLE = 0,
    PSN_LEDGER_NOTING,   /* `taker` has one more, `taker_count` then, and `noted` becomes the channel's head */
    PSN_LEDGER_CLEARING, /* `dead` has none any more; `early` and `lost` become `next_early` and `next_lost` */
};

/* Unfinished are: put and not noted (tail - noted), taken (taken.total), less those that were done early. */
struct psn_ledger {
    struct psn_mutex take_mutex; /* whoever takes; `taker` is who */
    struct psn_mutex mutex;      /* everything below but `finished` */
    struct psn_handle channel;
    struct psn_waitable finished;
    uint64_t noted; /* position up to which it is noted who took the message; the head or, while one is taken, one less */
    psn_a32 taker;
    uint32_t taker_count;
    uint32_t step;
    uint32_t early; /* said to be done by processes that had taken none: of what is queued, or of what another has */
    uint32_t lost;  /* by the dead, and nobody was told yet */
    uint32_t dead;  /* the last of them */
    uint32_t dead_pid;
    int32_t dead_exitcode;
    uint32_t next_early;
    uint32_t next_lost;
    struct psn_counts taken;
};
_Static_assert(sizeof(struct psn_ledger) == 320, "shared layout changed: bump PSN_LAYOUT_VERSION");

PSN_MUST_CHECK psn_status psn_ledger_create(struct psn_arena *arena, struct psn_handle channel, struct psn_handle *out);
/* Take one message from the channel, as psn_channel_take() does.  Also NO_MEMORY. */
PSN_MUST_CHECK psn_status psn_ledger_take(struct psn_arena *arena, struct psn_ledger *ledger, uint64_t deadline_ns,
                                          uint32_t spin_us, struct psn_slot *out);
/* One message is done.  OK; NOT_HELD if all are. */
PSN_MUST_CHECK psn_status psn_ledger_done(struct psn_arena *arena, struct psn_ledger *ledger);
/* OK: all that was put is done; TIMED_OUT, INTERRUPTED; OWNER_DIED: `lost` messages were taken and will never be done;
   `death` says by whom, or by the last of several. */
PSN_MUST_CHECK psn_status psn_ledger_join(struct psn_arena *arena, struct psn_ledger *ledger, uint64_t deadline_ns,
                                          struct psn_death *death, uint32_t *lost);
uint64_t psn_ledger_unfinished(struct psn_arena *arena, struct psn_ledger *ledger);
void psn_ledger_register_kinds(void);

#endif
