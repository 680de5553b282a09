/* torture.c [kills [seed]]: processes put, take, allocate, free, hold, lock and wait at random on the same few objects while
   they are killed at random instants and replaced.
   Half of the kills come from outside, half from a timer of the process's own that expires some nanoseconds later.  After each
   round nobody runs: every invariant must hold, every position of the channel must have been seen exactly once or lie in a
   claim of one that was killed, and when all is dropped no block may be left. */
#include "runner.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define WORKERS 6
#define KILLS_PER_ROUND 100
#define MESSAGES (1u << 20) /* that one round can tell apart */
#define KEPT 8
#define CROWD PSN_COUNTS_HERE

struct record {
    struct psn_handle claimed;  /* a channel whose readers claim */
    struct psn_handle bounded;  /* one of ten messages */
    struct psn_handle noted, ledger; /* one that is taken from through a ledger */
    struct psn_handle target;   /* what messages refer to */
    struct psn_handle lock, recursive, semaphore;
    struct psn_handle crowded;  /* a semaphore of which sixteen who do nothing have a permit each */
    struct psn_handle condition, crowded_condition; /* the same with waiters */
    psn_a32 inside[2];          /* identity of the one inside of each lock */
    psn_a32 next_number;
    psn_a64 operations;
    psn_a32 owner_died;
    psn_a32 noted_put, noted_done;
    _Atomic(uint8_t) was_put[MESSAGES];   /* 1: its put has begun, 2: has returned */
    _Atomic(uint8_t) was_taken[MESSAGES]; /* times */
    _Atomic(uint8_t) is_seen[2][MESSAGES]; /* by position: times that a reader saw it */
    uint8_t is_claimed[MESSAGES];          /* by position: carried off by one that was killed */
};
static struct record *record;

static struct psn_arena arena;

/* ---- what a worker does ---- */

static void fill_body(uint8_t *body, uint64_t size, uint32_t number) {
    for (uint64_t i = 0; i + 4 <= size; i += 4)
        memcpy(body + i, &number, 4);
}

static bool put(struct psn_arena *view, uint64_t *random, int which) {
    uint32_t number = add_seq_cst(&record->next_number, 1);
    if (number >= MESSAGES)
        return false;
    struct psn_handle channel = which ? record->bounded : record->claimed;
    store_seq_cst(&record->was_put[number], 1);
    psn_status status;
    uint64_t deadline_ns = next_random(random) % 3 ? 0 : AFTER(2);
    if (next_random(random) % 2) {
        struct psn_handle message;
        uint64_t size = 4 + next_random(random) % (next_random(random) % 10 ? 400 : 30000);
        OK(psn_message_allocate(view, 2, size, &message));
        if (next_random(random) % 2)
            OK(psn_message_refer(view, message.offset, record->target));
        fill_body(psn_message_body(psn_at(view, message.offset)), size, number);
        status = psn_channel_put_message(view, channel.offset, number, message, deadline_ns);
        if (status != PSN_OK)
            psn_block_disown(view, message);
    } else {
        uint8_t bytes[PSN_INLINE];
        uint32_t size = 4 * (uint32_t)(next_random(random) % 13);
        fill_body(bytes, size, number);
        status = psn_channel_put(view, channel.offset, number, bytes, size, deadline_ns);
    }
    if (status != PSN_OK && status != PSN_FULL)
        FAIL("put gave \"%s\"", psn_status_text(status));
    store_seq_cst(&record->was_put[number], status == PSN_OK ? 2 : 0);
    return true;
}

static void look_at(struct psn_arena *view, const struct psn_slot *slot, int which, uint64_t position) {
    uint32_t number = slot->tag;
    const uint8_t *body = (const uint8_t *)&slot->message;
    uint64_t size = slot->size;
    if (size == PSN_SLOT_MESSAGE) {
        struct psn_block *block = psn_block_find(view, slot->message);
        CHECK(block && block->kind == PSN_MESSAGE);
        EQUAL(load_relaxed(&block->owner), view->identity);
        EQUAL(load_relaxed(&block->home), 0);
        struct psn_message *message = psn_at(view, slot->message.offset);
        body = psn_message_body(message);
        size = message->body_size;
        struct psn_handle referred;
        if (message->ref_count && position % 3 == 0) {
            OK(psn_block_hold_pinned(view, message->refs[0], &referred));
            EQUAL(referred.generation, record->target.generation);
            /* all hold the target from the start: nothing to drop */
        }
    }
    for (uint64_t i = 0; i + 4 <= size; i += 4) {
        uint32_t word;
        memcpy(&word, body + i, 4);
        EQUAL(word, number);
    }
    CHECK(number < MESSAGES && load_seq_cst(&record->was_put[number]) != 0);
    if (atomic_fetch_add(&record->was_taken[number], 1) != 0)
        FAIL("message %u was taken twice", number);
    if (atomic_fetch_add(&record->is_seen[which][position], 1) != 0)
        FAIL("position %" PRIu64 " was taken twice", position);
    if (slot->size == PSN_SLOT_MESSAGE)
        psn_block_disown(view, slot->message);
}

static void take(struct psn_arena *view, uint64_t *random, int which) {
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken, wanted = (uint32_t)(next_random(random) % 4 ? 1 + next_random(random) % 4 : 64);
    uint64_t first;
    struct psn_claim *claim = which ? NULL : &psn_process_at(view, view->slot)->claim;
    psn_status status = psn_channel_take(view, (which ? record->bounded : record->claimed).offset, which ? 1 : wanted, claim,
                                         next_random(random) % 3 ? 0 : AFTER(1), next_random(random) % 2 ? 10 : 0, slots,
                                         &taken, &first);
    if (status == PSN_EMPTY)
        return;
    OK(status);
    for (uint32_t i = 0; i < taken; i++)
        look_at(view, &slots[i], which, first + i);
    if (claim)
        store_release(&claim->from, load_relaxed(&claim->to));
}

static void use_lock(struct psn_arena *view, uint64_t *random, int which) {
    struct psn_lock *lock = psn_at(view, (which ? record->recursive : record->lock).offset);
    struct psn_death death;
    uint32_t depth = which ? 1 + (uint32_t)(next_random(random) % 3) : 1;
    psn_status status = psn_lock_acquire(view, lock, next_random(random) % 2 ? 0 : AFTER(2), &death);
    if (status == PSN_OWNER_DIED)
        add_seq_cst(&record->owner_died, 1);
    if (status == PSN_OWNER_DIED || status == PSN_TIMED_OUT)
        return;
    OK(status);
    for (uint32_t i = 1; i < depth; i++)
        OK(psn_lock_acquire(view, lock, 0, &death));
    store_seq_cst(&record->inside[which], view->identity);
    for (uint64_t i = next_random(random) % 300; i > 0; i--)
        cpu_pause();
    EQUAL(load_seq_cst(&record->inside[which]), view->identity);
    for (uint32_t i = 0; i < depth; i++)
        OK(psn_lock_release(view, lock));
}

static void use_semaphore(struct psn_arena *view, uint64_t *random) {
    struct psn_semaphore *semaphore =
        psn_at(view, (next_random(random) % 2 ? record->semaphore : record->crowded).offset);
    struct psn_death death;
    psn_status status = psn_semaphore_acquire(view, semaphore, next_random(random) % 2 ? 0 : AFTER(2), &death);
    if (status == PSN_OWNER_DIED || status == PSN_TIMED_OUT)
        return;
    OK(status);
    OK(psn_semaphore_release(view, semaphore));
}

static void use_condition(struct psn_arena *view, uint64_t *random) {
    struct psn_condition *condition =
        psn_at(view, (next_random(random) % 2 ? record->condition : record->crowded_condition).offset);
    uint64_t ticket;
    if (next_random(random) % 3 == 0) {
        psn_condition_notify(view, condition, next_random(random) % 4 ? (uint32_t)(next_random(random) % 3) : UINT32_MAX);
        return;
    }
    psn_condition_begin(view, condition, &ticket);
    psn_status status = psn_condition_wait(view, condition, ticket, next_random(random) % 2 ? 0 : AFTER(1));
    if (status == PSN_OK)
        return;
    STATUS(status, PSN_TIMED_OUT);
    psn_condition_leave(view, condition, ticket, next_random(random) % 2);
}

static void use_ledger(struct psn_arena *view, uint64_t *random) {
    struct psn_ledger *ledger = psn_at(view, record->ledger.offset);
    struct psn_slot slot;
    if (psn_channel_count(psn_at(view, record->noted.offset)) < 50) {
        OK(psn_channel_put(view, record->noted.offset, 0, "x", 1, 0));
        add_seq_cst(&record->noted_put, 1);
    }
    psn_status status = psn_ledger_take(view, ledger, next_random(random) % 2 ? 0 : AFTER(1), 5, &slot);
    if (status == PSN_EMPTY)
        return;
    OK(status);
    OK(psn_ledger_done(view, ledger));
    add_seq_cst(&record->noted_done, 1);
}

struct kept {
    struct psn_handle handle;
    uint64_t size;
};

static void use_blocks(struct psn_arena *view, uint64_t *random, struct kept *kept) {
    struct kept *k = &kept[next_random(random) % KEPT];
    if (k->handle.offset) {
        struct psn_block *block = psn_block_find(view, k->handle);
        CHECK(block && block->size == k->size);
        const uint8_t *bytes = psn_at(view, k->handle.offset);
        for (uint64_t i = 0; i < k->size; i += 64)
            EQUAL(bytes[i], (uint8_t)k->handle.generation);
        psn_block_drop(view, k->handle);
        k->handle.offset = 0;
    } else {
        k->size = next_random(random) % (next_random(random) % 4 ? 2000 : 80000);
        OK(psn_block_allocate(view, PSN_DATA, k->size, &k->handle));
        memset(psn_at(view, k->handle.offset), (int)(uint8_t)k->handle.generation, k->size);
    }
}

static void work(struct psn_arena *view, void *argument) {
    uint64_t random = *(uint64_t *)argument;
    struct kept kept[KEPT];
    memset(kept, 0, sizeof kept);
    if (next_random(&random) % 2) {
        timer_t timer;
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
        EQUAL(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
        struct itimerspec at = {.it_value = {.tv_nsec = 1 + (long)(next_random(&random) % 3000000)}};
        EQUAL(timer_settime(timer, 0, &at, NULL), 0);
    }
    uint64_t burst = next_random(&random) % 40 == 0 ? 5000 : 0; /* rings grow, and shrink when others have read it */
    for (;;) {
        add_relaxed(&record->operations, 1);
        struct psn_channel *c = psn_at(view, record->claimed.offset);
        switch (next_random(&random) % 16) {
        case 0: case 1: case 2: case 3:
            if ((burst || psn_channel_count(c) < 300) && !put(view, &random, 0))
                return;
            if (burst)
                burst--;
            break;
        case 4: case 5:
            if (!put(view, &random, 1))
                return;
            break;
        case 6: case 7: case 8:
            take(view, &random, 0);
            break;
        case 9: case 10:
            take(view, &random, 1);
            break;
        case 11:
            use_lock(view, &random, (int)(next_random(&random) % 2));
            break;
        case 12:
            use_semaphore(view, &random);
            use_condition(view, &random);
            use_ledger(view, &random);
            break;
        case 13: case 14:
            use_blocks(view, &random, kept);
            break;
        case 15:
            if (next_random(&random) % 50 == 0)
                psn_process_sweep_dead(view);
            if (next_random(&random) % 100 == 0)
                psn_arena_trim(view, next_random(&random) % (1 << 20));
            if (next_random(&random) % 20 == 0) {
                (void)!psn_channel_listen(view, record->claimed.offset, 5); /* nobody's bell: ringing it does nothing */
                psn_channel_unlisten(view, record->claimed.offset, 5);
            }
            break;
        }
    }
}

/* ---- what the parent does ---- */

static void allocate_objects(void) {
    memset(record, 0, sizeof *record);
    OK(psn_channel_create(&arena, 0, &record->claimed));
    OK(psn_channel_create(&arena, 10, &record->bounded));
    OK(psn_channel_create(&arena, 0, &record->noted));
    OK(psn_ledger_create(&arena, record->noted, &record->ledger));
    OK(psn_block_allocate(&arena, PSN_DATA, 3000, &record->target));
    OK(psn_block_allocate(&arena, PSN_LOCK, sizeof(struct psn_lock), &record->lock));
    OK(psn_block_allocate(&arena, PSN_LOCK, sizeof(struct psn_lock), &record->recursive));
    OK(psn_block_allocate(&arena, PSN_SEMAPHORE, sizeof(struct psn_semaphore), &record->semaphore));
    psn_lock_init(psn_at(&arena, record->lock.offset), false);
    psn_lock_init(psn_at(&arena, record->recursive.offset), true);
    OK(psn_semaphore_init(psn_at(&arena, record->semaphore.offset), 2, 2));
    OK(psn_block_allocate(&arena, PSN_SEMAPHORE, sizeof(struct psn_semaphore), &record->crowded));
    OK(psn_semaphore_init(psn_at(&arena, record->crowded.offset), CROWD + 2, CROWD + 2));
    OK(psn_block_allocate(&arena, PSN_CONDITION, sizeof(struct psn_condition), &record->condition));
    OK(psn_condition_init(psn_at(&arena, record->condition.offset)));
    OK(psn_block_allocate(&arena, PSN_CONDITION, sizeof(struct psn_condition), &record->crowded_condition));
    OK(psn_condition_init(psn_at(&arena, record->crowded_condition.offset)));
    for (int i = 0; i < CROWD; i++) {
        struct psn_arena idle = arena;
        uint64_t ticket;
        struct psn_death death;
        OK(psn_process_reserve(&arena, &idle.identity));
        OK(psn_semaphore_acquire(&idle, psn_at(&arena, record->crowded.offset), 0, &death));
        psn_condition_begin(&idle, psn_at(&arena, record->crowded_condition.offset), &ticket);
    }
}

/* Believe the claim of a dead worker as psn_claim says: the head first. */
static void note_claim(uint32_t identity) {
    struct psn_channel *c = psn_at(&arena, record->claimed.offset);
    struct psn_claim *claim = &psn_process_at(&arena, psn_identity_slot(identity))->claim;
    uint64_t head = load_acquire(&c->head), from = load_acquire(&claim->from), to = load_acquire(&claim->to);
    if (from >= head)
        return;
    for (uint64_t position = from; position < to; position++) {
        if (record->is_claimed[position])
            FAIL("position %" PRIu64 " was claimed by two that were killed", position);
        record->is_claimed[position] = 1;
    }
}

static void end_worker(struct child worker, bool sweep) {
    kill(worker.pid, SIGKILL);
    int status = reap(worker.pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("a worker ended by itself, with status %#x", (unsigned)status);
    note_claim(worker.identity);
    if (sweep)
        psn_process_sweep(&arena, worker.identity, true);
}

static uint64_t drain(struct psn_handle channel, int which) {
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    while (psn_channel_take(&arena, channel.offset, 64, NULL, 0, 0, slots, &taken, &first) == PSN_OK)
        for (uint32_t i = 0; i < taken; i++)
            look_at(&arena, &slots[i], which, first + i);
    struct psn_channel *c = psn_at(&arena, channel.offset);
    EQUAL(psn_channel_count(c), 0);
    return load_relaxed(&c->head);
}

/* One who was killed may have put, or said that one is done, and not have noted that here. */
static void verify_ledger(uint64_t kills) {
    struct psn_ledger *ledger = psn_at(&arena, record->ledger.offset);
    struct psn_death death;
    struct psn_slot slot;
    uint32_t lost, all_lost = 0, queued = 0;
    while (psn_ledger_take(&arena, ledger, 0, 0, &slot) == PSN_OK) {
        OK(psn_ledger_done(&arena, ledger));
        queued++;
    }
    while (psn_ledger_join(&arena, ledger, 0, &death, &lost) == PSN_OWNER_DIED)
        all_lost += lost;
    EQUAL(psn_ledger_unfinished(&arena, ledger), 0);
    EQUAL(ledger->taken.total, 0);
    EQUAL(ledger->early, 0);
    EQUAL(ledger->noted, load_relaxed(&((struct psn_channel *)psn_at(&arena, record->noted.offset))->tail));
    CHECK(all_lost <= kills);
    uint64_t accounted = queued + all_lost + load_relaxed(&record->noted_done);
    CHECK(accounted <= ledger->noted && accounted + kills >= ledger->noted);
    CHECK(load_relaxed(&record->noted_put) <= ledger->noted);
}

static void verify_round(uint64_t kills, uint64_t baseline) {
    struct psn_death death;
    WHOLE(&arena);
    WHOLE_CHANNEL(&arena, record->claimed.offset);
    WHOLE_CHANNEL(&arena, record->bounded.offset);
    uint64_t lost[2] = {0, 0}, heads[2] = {drain(record->claimed, 0), drain(record->bounded, 1)};
    WHOLE(&arena);
    for (int which = 0; which < 2; which++)
        for (uint64_t position = 0; position < heads[which]; position++)
            if (!load_relaxed(&record->is_seen[which][position])) {
                lost[which]++;
                if (which == 0 && !record->is_claimed[position])
                    FAIL("position %" PRIu64 " was lost, and no dead worker had claimed it", position);
            }
    CHECK(lost[1] <= kills); /* one at a time is taken from it */
    uint64_t put_but_not_taken = 0, taken = 0;
    for (uint32_t number = 0; number < load_relaxed(&record->next_number) && number < MESSAGES; number++) {
        put_but_not_taken += load_relaxed(&record->was_put[number]) == 2 && !load_relaxed(&record->was_taken[number]);
        taken += load_relaxed(&record->was_taken[number]);
        CHECK(load_relaxed(&record->was_put[number]) != 0 || !load_relaxed(&record->was_taken[number]));
    }
    CHECK(put_but_not_taken <= lost[0] + lost[1]);
    /* one killed between its two notes, of the message and of its position, leaves the first without the second */
    uint64_t seen = heads[0] + heads[1] - lost[0] - lost[1];
    CHECK(taken >= seen && taken <= seen + kills);
    for (int which = 0; which < 2; which++) {
        struct psn_lock *lock = psn_at(&arena, (which ? record->recursive : record->lock).offset);
        psn_status status = psn_lock_acquire(&arena, lock, AFTER(3000), &death);
        if (status == PSN_OWNER_DIED)
            status = psn_lock_acquire(&arena, lock, 0, &death);
        OK(status);
        OK(psn_lock_release(&arena, lock));
    }
    for (int which = 0; which < 2; which++) {
        struct psn_semaphore *semaphore = psn_at(&arena, (which ? record->crowded : record->semaphore).offset);
        for (uint32_t i = 0; i < semaphore->initial; i++) {
            psn_status status;
            while ((status = psn_semaphore_acquire(&arena, semaphore, AFTER(3000), &death)) == PSN_OWNER_DIED)
                continue;
            OK(status);
        }
        STATUS(psn_semaphore_acquire(&arena, semaphore, 0, &death), PSN_TIMED_OUT);
        struct psn_condition *condition =
            psn_at(&arena, (which ? record->crowded_condition : record->condition).offset);
        EQUAL(psn_condition_waiting(&arena, condition), 0);
        EQUAL(condition->waiting.total, 0);
        EQUAL(condition->permits, 0);
    }
    verify_ledger(kills);
    EQUAL(load_relaxed(&psn_block_find(&arena, record->target)->pins), 0);
    struct psn_handle all[] = {record->claimed,   record->bounded, record->target,    record->lock,             record->recursive,
                               record->semaphore, record->crowded, record->condition, record->crowded_condition,
                               record->ledger,    record->noted};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        psn_block_drop(&arena, all[i]);
    EQUAL(blocks_held(&arena), baseline);
    WHOLE(&arena);
}

static uint64_t kills_wanted = 4000, seed;

static void torture(void) {
    uint64_t random = seed | 1, kills = 0, operations = 0, died = 0;
    make_arena(&arena, 256);
    record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(record != MAP_FAILED);
    uint64_t baseline = blocks_held(&arena), start_ns = psn_clock_ns();
    while (kills < kills_wanted) {
        struct child workers[WORKERS];
        allocate_objects();
        uint64_t before = kills;
        for (int i = 0; i < WORKERS; i++) {
            uint64_t own = next_random(&random);
            workers[i] = start_child(&arena, work, &own);
        }
        for (int i = 0; i < KILLS_PER_ROUND; i++, kills++) {
            uint64_t k = next_random(&random) % WORKERS, own = next_random(&random);
            usleep((unsigned)(next_random(&random) % 2500));
            end_worker(workers[k], next_random(&random) % 2);
            workers[k] = start_child(&arena, work, &own);
            if (load_relaxed(&record->next_number) > MESSAGES / 2)
                break;
        }
        for (int i = 0; i < WORKERS; i++, kills++)
            end_worker(workers[i], true);
        for (uint32_t slot = 0; slot < PSN_SLOTS; slot++) /* those whose sweep was left to others */
            if (slot != arena.slot)
                psn_process_sweep(&arena, load_relaxed(&psn_process_at(&arena, slot)->identity), true);
        operations += load_relaxed(&record->operations);
        died += load_relaxed(&record->owner_died);
        verify_round(kills - before, baseline);
    }
    printf("        %" PRIu64 " kills, %" PRIu64 " operations, %" PRIu64 " rebuilds, %" PRIu64 " locks of the dead, %.1f s\n",
           kills, operations, load_relaxed(&arena.header->rebuilds), died, (double)(psn_clock_ns() - start_ns) / 1e9);
}

int main(int argc, char **argv) {
    if (argc > 1)
        kills_wanted = strtoull(argv[1], NULL, 0);
    seed = argc > 2 ? strtoull(argv[2], NULL, 0) : psn_clock_ns() % 1000000007;
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    static const struct test tests[] = {LONG_TEST(torture, 3600)};
    return run_tests(1, argv, tests, 1);
}
