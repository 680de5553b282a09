/* test_condition.c: conditions and events between threads and processes, and what becomes of them when a waiter is killed. */
#include "runner.h"

struct shared {
    struct psn_handle handle;
    uint64_t rounds;
    psn_a32 waiting;
    psn_a32 notified;
    psn_a32 turn;
};

static struct psn_condition *condition_at(struct psn_arena *arena, struct shared *shared) {
    return psn_at(arena, shared->handle.offset);
}
static struct psn_event *event_at(struct psn_arena *arena, struct shared *shared) {
    return psn_at(arena, shared->handle.offset);
}

static struct shared *make_condition(struct psn_arena *arena) {
    struct shared *shared = shared_page();
    make_arena(arena, 64);
    OK(psn_block_allocate(arena, PSN_CONDITION, sizeof(struct psn_condition), &shared->handle));
    OK(psn_condition_init(condition_at(arena, shared)));
    return shared;
}

static struct shared *make_event(struct psn_arena *arena) {
    struct shared *shared = shared_page();
    make_arena(arena, 64);
    OK(psn_block_allocate(arena, PSN_EVENT, sizeof(struct psn_event), &shared->handle));
    psn_event_init(event_at(arena, shared));
    return shared;
}

static void check_bounds(struct psn_condition *condition) {
    CHECK(condition->permits <= condition->eligible && condition->eligible <= condition->waiting.total);
    CHECK(condition->horizon <= condition->arrivals);
}

/* ---- who is notified ---- */

static void notifying_nobody_is_forgotten(void) {
    struct psn_arena arena;
    struct shared *shared = make_condition(&arena);
    struct psn_condition *condition = condition_at(&arena, shared);
    psn_condition_notify(&arena, condition, 3);
    uint64_t ticket;
    psn_condition_begin(&arena, condition, &ticket);
    STATUS(psn_condition_wait(&arena, condition, ticket, 0), PSN_TIMED_OUT);
    CHECK(!psn_condition_leave(&arena, condition, ticket, false));
    EQUAL(psn_condition_waiting(&arena, condition), 0);
    EQUAL(load_relaxed(&condition->changed.sequence), 0);
}

static void a_later_waiter_does_not_take_an_earlier_ones_notification(void) {
    struct psn_arena arena;
    struct shared *shared = make_condition(&arena);
    struct psn_condition *condition = condition_at(&arena, shared);
    uint64_t early, late;
    psn_condition_begin(&arena, condition, &early);
    psn_condition_notify(&arena, condition, 1);
    psn_condition_begin(&arena, condition, &late);
    STATUS(psn_condition_wait(&arena, condition, late, AFTER(20)), PSN_TIMED_OUT);
    OK(psn_condition_wait(&arena, condition, early, 0));
    psn_condition_notify(&arena, condition, 1);
    OK(psn_condition_wait(&arena, condition, late, 0));
    EQUAL(psn_condition_waiting(&arena, condition), 0);
    check_bounds(condition);
}

static void one_who_gives_up_leaves_the_notification_to_another(void) {
    struct psn_arena arena;
    struct shared *shared = make_condition(&arena);
    struct psn_condition *condition = condition_at(&arena, shared);
    uint64_t first, second;
    psn_condition_begin(&arena, condition, &first);
    psn_condition_begin(&arena, condition, &second);
    psn_condition_notify(&arena, condition, 1);
    CHECK(!psn_condition_leave(&arena, condition, first, true));
    OK(psn_condition_wait(&arena, condition, second, 0));
    check_bounds(condition);
}

static void one_who_is_late_still_takes_the_notification(void) {
    struct psn_arena arena;
    struct shared *shared = make_condition(&arena);
    struct psn_condition *condition = condition_at(&arena, shared);
    uint64_t ticket;
    psn_condition_begin(&arena, condition, &ticket);
    STATUS(psn_condition_wait(&arena, condition, ticket, AFTER(20)), PSN_TIMED_OUT);
    psn_condition_notify(&arena, condition, 1);
    CHECK(psn_condition_leave(&arena, condition, ticket, false));
    EQUAL(psn_condition_waiting(&arena, condition), 0);
}

static void wait_once(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_condition *condition = condition_at(arena, shared);
    uint64_t ticket;
    psn_condition_begin(arena, condition, &ticket);
    add_seq_cst(&shared->waiting, 1);
    OK(psn_condition_wait(arena, condition, ticket, AFTER(10000)));
    add_seq_cst(&shared->notified, 1);
}

static void exactly_as_many_go_on_as_are_notified(void) {
    struct psn_arena arena;
    struct shared *shared = make_condition(&arena);
    struct psn_condition *condition = condition_at(&arena, shared);
    struct child children[20]; /* more than there are places for */
    for (int i = 0; i < 20; i++)
        children[i] = start_child(&arena, wait_once, shared);
    UNTIL(load_seq_cst(&shared->waiting) == 20);
    psn_condition_notify(&arena, condition, 3);
    UNTIL(load_seq_cst(&shared->notified) == 3);
    EQUAL(psn_condition_waiting(&arena, condition), 17);
    psn_condition_notify(&arena, condition, UINT32_MAX);
    for (int i = 0; i < 20; i++)
        finish_child(&arena, children[i]);
    EQUAL(load_seq_cst(&shared->notified), 20);
    EQUAL(psn_condition_waiting(&arena, condition), 0);
    check_bounds(condition);
}

/* Two hand a turn to and fro: one lost notification, and the deadline passes. */
static void take_turns(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_condition *condition = condition_at(arena, shared);
    uint32_t me = add_seq_cst(&shared->waiting, 1);
    for (uint64_t i = 0; i < shared->rounds; i++) {
        uint64_t ticket;
        psn_condition_begin(arena, condition, &ticket);
        while (load_seq_cst(&shared->turn) % 2 != me % 2) {
            OK(psn_condition_wait(arena, condition, ticket, AFTER(10000)));
            psn_condition_begin(arena, condition, &ticket);
        }
        psn_condition_leave(arena, condition, ticket, true);
        add_seq_cst(&shared->turn, 1);
        psn_condition_notify(arena, condition, UINT32_MAX);
    }
}

static void check_turns(bool threads, uint64_t rounds) {
    struct psn_arena arena;
    struct shared *shared = make_condition(&arena);
    shared->rounds = rounds;
    (threads ? in_threads : in_processes)(&arena, 2, take_turns, shared);
    EQUAL(load_seq_cst(&shared->turn), 2 * rounds);
    EQUAL(psn_condition_waiting(&arena, condition_at(&arena, shared)), 0);
}
static void threads_lose_no_notification(void) { check_turns(true, 1000); }
static void processes_lose_no_notification(void) { check_turns(false, 5000); }

/* ---- deaths ---- */

static void a_killed_waiter_takes_no_notification_from_the_others(void) {
    for (int swept = 0; swept < 2; swept++) {
        struct psn_arena arena;
        struct shared *shared = make_condition(&arena);
        struct psn_condition *condition = condition_at(&arena, shared);
        struct child victim = start_child(&arena, wait_once, shared);
        UNTIL(load_seq_cst(&shared->waiting) == 1);
        struct child other = start_child(&arena, wait_once, shared);
        UNTIL(load_seq_cst(&shared->waiting) == 2);
        kill_child(&arena, victim, swept);
        psn_condition_notify(&arena, condition, 1);
        finish_child(&arena, other);
        if (!swept)
            psn_process_sweep(&arena, victim.identity, true);
        EQUAL(psn_condition_waiting(&arena, condition), 0);
        check_bounds(condition);
    }
}

static void killing_waiters_leaves_no_notification_for_those_who_come_later(void) {
    struct psn_arena arena;
    struct shared *shared = make_condition(&arena);
    struct psn_condition *condition = condition_at(&arena, shared);
    for (uint32_t i = 1; i <= 50; i++) {
        struct child victim = start_child(&arena, wait_once, shared);
        UNTIL(load_seq_cst(&shared->waiting) == i);
        kill_child(&arena, victim, true);
        psn_condition_notify(&arena, condition, 1);
        uint64_t ticket;
        psn_condition_begin(&arena, condition, &ticket);
        STATUS(psn_condition_wait(&arena, condition, ticket, 0), PSN_TIMED_OUT);
        psn_condition_leave(&arena, condition, ticket, false);
        EQUAL(psn_condition_waiting(&arena, condition), 0);
    }
}

static void any_number_of_killed_waiters_take_no_notification_from_the_others(void) {
    enum { MANY = 40 };
    struct psn_arena arena;
    struct shared *shared = make_condition(&arena);
    struct psn_condition *condition = condition_at(&arena, shared);
    struct child victims[MANY];
    for (int i = 0; i < MANY; i++)
        victims[i] = start_child(&arena, wait_once, shared);
    UNTIL(load_seq_cst(&shared->waiting) == MANY);
    struct child other = start_child(&arena, wait_once, shared);
    UNTIL(load_seq_cst(&shared->waiting) == MANY + 1);
    for (int i = 0; i < MANY; i++)
        kill_child(&arena, victims[i], true);
    EQUAL(psn_condition_waiting(&arena, condition), 1);
    psn_condition_notify(&arena, condition, 1);
    finish_child(&arena, other);
    EQUAL(psn_condition_waiting(&arena, condition), 0);
    check_bounds(condition);
    WHOLE(&arena);
}

/* ---- event ---- */

static void wait_for_event(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_event *event = event_at(arena, shared);
    uint32_t seen = load_acquire(&event->sets);
    add_seq_cst(&shared->waiting, 1);
    OK(psn_event_wait(event, seen, AFTER(10000)));
}

static void an_event_lets_all_go_on_even_if_it_is_cleared_at_once(void) {
    struct psn_arena arena;
    struct shared *shared = make_event(&arena);
    struct psn_event *event = event_at(&arena, shared);
    struct child children[8];
    for (int i = 0; i < 8; i++)
        children[i] = start_child(&arena, wait_for_event, shared);
    UNTIL(load_seq_cst(&shared->waiting) == 8);
    psn_event_set(event);
    psn_event_clear(event);
    for (int i = 0; i < 8; i++)
        finish_child(&arena, children[i]);
    STATUS(psn_event_wait(event, load_acquire(&event->sets), 0), PSN_TIMED_OUT);
}

static void an_event_is_waited_for_until_the_deadline(void) {
    struct psn_arena arena;
    struct shared *shared = make_event(&arena);
    struct psn_event *event = event_at(&arena, shared);
    uint64_t start_ns = psn_clock_ns();
    STATUS(psn_event_wait(event, 0, AFTER(50)), PSN_TIMED_OUT);
    CHECK(psn_clock_ns() - start_ns >= 50 * MS);
    psn_event_set(event);
    OK(psn_event_wait(event, 1, 0));
}

static const struct test tests[] = {
    TEST(notifying_nobody_is_forgotten),
    TEST(a_later_waiter_does_not_take_an_earlier_ones_notification),
    TEST(one_who_gives_up_leaves_the_notification_to_another),
    TEST(one_who_is_late_still_takes_the_notification),
    TEST(exactly_as_many_go_on_as_are_notified),
    TEST(threads_lose_no_notification),
    TEST(processes_lose_no_notification),
    TEST(a_killed_waiter_takes_no_notification_from_the_others),
    TEST(any_number_of_killed_waiters_take_no_notification_from_the_others),
    TEST(killing_waiters_leaves_no_notification_for_those_who_come_later),
    TEST(an_event_lets_all_go_on_even_if_it_is_cleared_at_once),
    TEST(an_event_is_waited_for_until_the_deadline),
};
RUN_TESTS(tests)
