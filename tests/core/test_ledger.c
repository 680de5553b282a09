/* test_ledger.c: who has taken what from a channel that is joined, and what becomes of it when they are killed or fail. */
#include "runner.h"

#include <signal.h>

struct shared {
    struct psn_handle channel, handle;
    uint64_t rounds;
    psn_a32 stage;
    psn_a32 done;
};

static struct psn_ledger *ledger_at(struct psn_arena *arena, struct shared *shared) {
    return psn_at(arena, shared->handle.offset);
}

static struct shared *make_ledger(struct psn_arena *arena) {
    struct shared *shared = shared_page();
    make_arena(arena, 64);
    OK(psn_channel_create(arena, 0, &shared->channel));
    OK(psn_ledger_create(arena, shared->channel, &shared->handle));
    return shared;
}

static void put(struct psn_arena *arena, struct shared *shared, uint32_t count) {
    while (count--)
        OK(psn_channel_put(arena, shared->channel.offset, 0, "x", 1, 0));
}

static void take(struct psn_arena *arena, struct shared *shared, uint32_t count) {
    struct psn_slot slot;
    while (count--)
        OK(psn_ledger_take(arena, ledger_at(arena, shared), AFTER(5000), 0, &slot));
}

static psn_status join(struct psn_arena *arena, struct shared *shared, uint64_t deadline_ns) {
    struct psn_death death;
    uint32_t lost;
    return psn_ledger_join(arena, ledger_at(arena, shared), deadline_ns, &death, &lost);
}

static void all_is_done_when_each_message_was_taken_and_said_to_be(void) {
    struct psn_arena arena;
    struct shared *shared = make_ledger(&arena);
    struct psn_ledger *ledger = ledger_at(&arena, shared);
    struct psn_slot slot;
    OK(join(&arena, shared, 0));
    STATUS(psn_ledger_take(&arena, ledger, 0, 0, &slot), PSN_EMPTY);
    STATUS(psn_ledger_done(&arena, ledger), PSN_NOT_HELD);
    put(&arena, shared, 3);
    for (uint64_t left = 3; left; left--) {
        EQUAL(psn_ledger_unfinished(&arena, ledger), left);
        take(&arena, shared, 1);
        STATUS(join(&arena, shared, AFTER(5)), PSN_TIMED_OUT);
        OK(psn_ledger_done(&arena, ledger));
    }
    OK(join(&arena, shared, PSN_FOREVER));
    STATUS(psn_ledger_done(&arena, ledger), PSN_NOT_HELD);
}

static void a_message_may_be_said_to_be_done_before_it_is_taken(void) {
    struct psn_arena arena;
    struct shared *shared = make_ledger(&arena);
    struct psn_ledger *ledger = ledger_at(&arena, shared);
    put(&arena, shared, 2);
    OK(psn_ledger_done(&arena, ledger));
    OK(psn_ledger_done(&arena, ledger));
    OK(join(&arena, shared, 0));
    take(&arena, shared, 2);
    OK(join(&arena, shared, 0));
    STATUS(psn_ledger_done(&arena, ledger), PSN_NOT_HELD);
}

static void taking_ends_at_the_deadline_and_when_the_channel_is_closed(void) {
    struct psn_arena arena;
    struct shared *shared = make_ledger(&arena);
    struct psn_slot slot;
    uint64_t start_ns = psn_clock_ns();
    STATUS(psn_ledger_take(&arena, ledger_at(&arena, shared), AFTER(50), 20, &slot), PSN_EMPTY);
    CHECK(psn_clock_ns() - start_ns >= 50 * MS && psn_clock_ns() - start_ns < 400 * MS);
    psn_channel_close(&arena, shared->channel.offset);
    STATUS(psn_ledger_take(&arena, ledger_at(&arena, shared), PSN_FOREVER, 20, &slot), PSN_CLOSED);
}

static void take_and_say_done(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    for (uint64_t i = 0; i < shared->rounds; i++) {
        take(arena, shared, 1);
        add_seq_cst(&shared->done, 1);
        OK(psn_ledger_done(arena, ledger_at(arena, shared)));
    }
}

static void put_and_join(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    for (uint64_t i = 0; i < shared->rounds; i++)
        put(arena, shared, 1);
    OK(join(arena, shared, AFTER(15000)));
}

static void put_or_take(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    (add_seq_cst(&shared->stage, 1) % 2 ? put_and_join : take_and_say_done)(arena, argument);
}

static void check_counting(bool threads, uint64_t rounds) {
    struct psn_arena arena;
    struct shared *shared = make_ledger(&arena);
    shared->rounds = rounds;
    (threads ? in_threads : in_processes)(&arena, 6, put_or_take, shared);
    EQUAL(load_seq_cst(&shared->done), 3 * rounds);
    EQUAL(psn_ledger_unfinished(&arena, ledger_at(&arena, shared)), 0);
    WHOLE(&arena);
}
static void threads_take_and_join(void) { check_counting(true, 1500); }
static void processes_take_and_join(void) { check_counting(false, 10000); }

/* ---- deaths ---- */

static void take_three_and_stay(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    take(arena, shared, 3);
    add_seq_cst(&shared->stage, 1);
    for (;;)
        pause();
}

static struct child start_taker(struct psn_arena *arena, struct shared *shared) {
    uint32_t stage = load_seq_cst(&shared->stage);
    struct child child = start_child(arena, take_three_and_stay, shared);
    UNTIL(load_seq_cst(&shared->stage) == stage + 1);
    return child;
}

static void expect_loss(struct psn_arena *arena, struct shared *shared, struct child child, uint32_t expected, int exitcode) {
    struct psn_death death;
    uint32_t lost;
    uint64_t start_ns = psn_clock_ns();
    STATUS(psn_ledger_join(arena, ledger_at(arena, shared), AFTER(5000), &death, &lost), PSN_OWNER_DIED);
    CHECK(psn_clock_ns() - start_ns < 1000 * MS);
    EQUAL(lost, expected);
    EQUAL(death.pid, child.pid);
    EQUAL(death.exitcode, exitcode);
}

static void who_joins_is_told_once_of_what_a_killed_process_had(void) {
    for (int swept = 0; swept < 2; swept++) {
        struct psn_arena arena;
        struct shared *shared = make_ledger(&arena);
        put(&arena, shared, 4);
        struct child child = start_taker(&arena, shared);
        kill(child.pid, SIGKILL);
        if (swept) {
            reap(child.pid);
            psn_process_sweep_to(&arena, child.identity, true, -SIGKILL, PSN_SLOT_FREE);
        }
        expect_loss(&arena, shared, child, 3, -SIGKILL);
        STATUS(join(&arena, shared, 0), PSN_TIMED_OUT);
        if (!swept) {
            reap(child.pid);
            psn_process_sweep(&arena, child.identity, true);
        }
        take(&arena, shared, 1);
        OK(psn_ledger_done(&arena, ledger_at(&arena, shared)));
        OK(join(&arena, shared, 0));
        STATUS(psn_ledger_done(&arena, ledger_at(&arena, shared)), PSN_NOT_HELD);
    }
}

static void wait_for_all(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    add_seq_cst(&shared->stage, 1);
    if (join(arena, shared, AFTER(8000)) == PSN_OWNER_DIED) {
        add_seq_cst(&shared->done, 1);
        OK(join(arena, shared, AFTER(8000)));
    }
}

static void of_many_who_join_one_is_told(void) {
    struct psn_arena arena;
    struct shared *shared = make_ledger(&arena);
    put(&arena, shared, 3);
    struct child child = start_taker(&arena, shared), joiners[5];
    for (int i = 0; i < 5; i++)
        joiners[i] = start_child(&arena, wait_for_all, shared);
    UNTIL(load_seq_cst(&shared->stage) == 6);
    kill_child(&arena, child, true);
    for (int i = 0; i < 5; i++)
        finish_child(&arena, joiners[i]);
    EQUAL(load_seq_cst(&shared->done), 1);
}

static void what_others_said_to_be_done_for_the_dead_is_not_lost(void) {
    struct psn_arena arena;
    struct shared *shared = make_ledger(&arena);
    put(&arena, shared, 6);
    struct child first = start_taker(&arena, shared), second = start_taker(&arena, shared);
    for (int i = 0; i < 4; i++)
        OK(psn_ledger_done(&arena, ledger_at(&arena, shared)));
    kill_child(&arena, first, true);
    STATUS(join(&arena, shared, AFTER(30)), PSN_TIMED_OUT);
    kill_child(&arena, second, true);
    expect_loss(&arena, shared, second, 2, PSN_EXIT_UNKNOWN);
    OK(join(&arena, shared, 0));
}

static void take_two_and_fail(struct psn_arena *arena, void *argument) {
    take(arena, argument, 2);
    psn_process_leave(arena, 7);
    _exit(7);
}

static void take_two_and_end(struct psn_arena *arena, void *argument) { take(arena, argument, 2); }

static void what_one_had_who_ended_with_an_error_is_lost_and_what_one_had_who_ended_well_is_not(void) {
    for (int swept = 0; swept < 2; swept++) {
        struct psn_arena arena;
        struct shared *shared = make_ledger(&arena);
        put(&arena, shared, 4);
        finish_child(&arena, start_child(&arena, take_two_and_end, shared));
        STATUS(join(&arena, shared, AFTER(30)), PSN_TIMED_OUT);
        struct child child = start_child(&arena, take_two_and_fail, shared);
        CHECK(reap(child.pid) != 0);
        if (swept)
            psn_process_sweep(&arena, child.identity, false);
        expect_loss(&arena, shared, child, 2, 7);
        STATUS(join(&arena, shared, AFTER(30)), PSN_TIMED_OUT);
        for (int i = 0; i < 2; i++) /* another may say so for one who ended well */
            OK(psn_ledger_done(&arena, ledger_at(&arena, shared)));
        OK(join(&arena, shared, 0));
    }
}

static void any_number_of_processes_may_be_killed(void) {
    enum { MANY = 30 };
    struct psn_arena arena;
    struct shared *shared = make_ledger(&arena);
    put(&arena, shared, 3 * MANY);
    struct child children[MANY];
    for (int i = 0; i < MANY; i++)
        children[i] = start_taker(&arena, shared);
    EQUAL(ledger_at(&arena, shared)->taken.others, 0);
    for (int i = 0; i < MANY; i++)
        kill_child(&arena, children[i], i % 2);
    uint32_t lost = 0, now;
    struct psn_death death;
    psn_status status;
    while ((status = psn_ledger_join(&arena, ledger_at(&arena, shared), AFTER(5000), &death, &now)) == PSN_OWNER_DIED)
        lost += now;
    OK(status);
    EQUAL(lost, 3 * MANY);
    psn_block_drop(&arena, shared->handle);
    psn_block_drop(&arena, shared->channel);
    psn_process_sweep_dead(&arena);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

/* Takers are killed at random moments: each message is done, or told of as lost, or was taken the moment before the kill. */
static void take_for_ever(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_slot slot;
    for (;;) {
        OK(psn_ledger_take(arena, ledger_at(arena, shared), PSN_FOREVER, 20, &slot));
        OK(psn_ledger_done(arena, ledger_at(arena, shared)));
        add_seq_cst(&shared->done, 1);
    }
}

static void killing_takers_leaves_nobody_waiting(void) {
    struct psn_arena arena;
    struct shared *shared = make_ledger(&arena);
    struct child workers[4];
    for (int i = 0; i < 4; i++)
        workers[i] = start_child(&arena, take_for_ever, shared);
    uint64_t random = 777;
    uint32_t lost = 0, now, kills = 150, total = 0;
    struct psn_death death;
    for (uint32_t i = 0; i < kills; i++) {
        uint64_t k = next_random(&random) % 4, end_ns = psn_clock_ns() + next_random(&random) % (2 * MS);
        while (psn_clock_ns() < end_ns) {
            put(&arena, shared, 1);
            total++;
        }
        kill_child(&arena, workers[k], i % 2);
        if (i % 10 == 0) {
            psn_status status;
            while ((status = psn_ledger_join(&arena, ledger_at(&arena, shared), AFTER(5000), &death, &now)) == PSN_OWNER_DIED)
                lost += now;
            OK(status);
        }
        workers[k] = start_child(&arena, take_for_ever, shared);
    }
    psn_status status;
    while ((status = psn_ledger_join(&arena, ledger_at(&arena, shared), AFTER(5000), &death, &now)) == PSN_OWNER_DIED)
        lost += now;
    OK(status);
    for (int i = 0; i < 4; i++)
        kill_child(&arena, workers[i], true);
    EQUAL(psn_ledger_unfinished(&arena, ledger_at(&arena, shared)), 0);
    uint32_t done = load_seq_cst(&shared->done);
    CHECK(lost <= kills && done + lost <= total && done + lost + kills + 4 >= total);
    printf("        %u messages, %u lost\n", total, lost);
}

static const struct test tests[] = {
    TEST(all_is_done_when_each_message_was_taken_and_said_to_be),
    TEST(a_message_may_be_said_to_be_done_before_it_is_taken),
    TEST(taking_ends_at_the_deadline_and_when_the_channel_is_closed),
    TEST(threads_take_and_join),
    TEST(processes_take_and_join),
    TEST(who_joins_is_told_once_of_what_a_killed_process_had),
    TEST(of_many_who_join_one_is_told),
    TEST(what_others_said_to_be_done_for_the_dead_is_not_lost),
    TEST(what_one_had_who_ended_with_an_error_is_lost_and_what_one_had_who_ended_well_is_not),
    TEST(any_number_of_processes_may_be_killed),
    TEST(killing_takers_leaves_nobody_waiting),
};
RUN_TESTS(tests)
