/* condition.h: waiting for what another process will say, in shared memory: conditions and events.
   Notifications are *pulled*: notify() leaves permits, and any of those who waited at that time takes one.  So nothing is
   handed to a process that may be dead, and a waiter killed at any instant takes nothing from the others. */
#ifndef PSN_CONDITION_H
#define PSN_CONDITION_H

#include "counts.h"

/* Tickets below `horizon` were drawn before the last notify(): only they may take a permit, so one who comes later never
   takes what was meant for another.  permits <= eligible <= waiting. */
struct psn_condition {
    struct psn_mutex mutex;
    uint64_t arrivals; /* the next ticket */
    uint64_t horizon;
    uint32_t eligible; /* who waits and drew a ticket below the horizon */
    uint32_t permits;
    struct psn_waitable changed;
    struct psn_counts waiting; /* threads of each process */
    uint64_t spare;
};
_Static_assert(sizeof(struct psn_condition) == 248, "shared layout changed: bump PSN_LAYOUT_VERSION");

PSN_MUST_CHECK psn_status psn_condition_init(struct psn_condition *condition);
/* Begin to wait: draws a ticket.  Every begin is ended by a wait that gives OK, or by a leave. */
void psn_condition_begin(struct psn_arena *arena, struct psn_condition *condition, uint64_t *ticket);
/* OK: notified, and waiting no more; TIMED_OUT, INTERRUPTED: still waiting. */
PSN_MUST_CHECK psn_status psn_condition_wait(struct psn_arena *arena, struct psn_condition *condition, uint64_t ticket,
                                             uint64_t deadline_ns);
/* Wait no more.  True if a notification was there after all, which is then taken; with `pass` it is left to another. */
bool psn_condition_leave(struct psn_arena *arena, struct psn_condition *condition, uint64_t ticket, bool pass);
/* Let `count` of those go on who wait now, or all if there are fewer. */
void psn_condition_notify(struct psn_arena *arena, struct psn_condition *condition, uint32_t count);
uint32_t psn_condition_waiting(struct psn_arena *arena, struct psn_condition *condition);

/* `sets` grows with every set, so that one who waited sees a flag that was set and cleared again at once. */
struct psn_event {
    psn_a32 is_set;
    psn_a32 sets;
    struct psn_waitable changed;
    uint64_t spare[5];
};
_Static_assert(sizeof(struct psn_event) == 64, "shared layout changed: bump PSN_LAYOUT_VERSION");

void psn_event_init(struct psn_event *event);
void psn_event_set(struct psn_event *event);
void psn_event_clear(struct psn_event *event);
/* OK: it is set, or was since `seen`, the `sets` of when the caller began to wait; TIMED_OUT, INTERRUPTED. */
PSN_MUST_CHECK psn_status psn_event_wait(struct psn_event *event, uint32_t seen, uint64_t deadline_ns);

void psn_condition_register_kinds(void);

#endif
