/* test_lock.c: locks and semaphores between threads and processes, and what becomes of them when a holder ends. */
#include "runner.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

struct shared {
    struct psn_handle handle;
    struct psn_handle counter; /* a block of one uint64_t, not atomic: the lock guards it */
    uint64_t rounds;
    psn_a32 stage;
    psn_a32 inside;
};

static struct psn_lock *lock_at(struct psn_arena *arena, struct psn_handle handle) { return psn_at(arena, handle.offset); }
static struct psn_semaphore *semaphore_at(struct psn_arena *arena, struct psn_handle handle) {
    return psn_at(arena, handle.offset);
}

static struct shared *make_lock(struct psn_arena *arena, bool recursive) {
    struct shared *shared = shared_page();
    make_arena(arena, 64);
    OK(psn_block_allocate(arena, PSN_LOCK, sizeof(struct psn_lock), &shared->handle));
    OK(psn_block_allocate(arena, PSN_DATA, 8, &shared->counter));
    *(uint64_t *)psn_at(arena, shared->counter.offset) = 0;
    psn_lock_init(lock_at(arena, shared->handle), recursive);
    return shared;
}

static struct shared *make_semaphore(struct psn_arena *arena, uint32_t value, uint32_t limit) {
    struct shared *shared = shared_page();
    make_arena(arena, 64);
    OK(psn_block_allocate(arena, PSN_SEMAPHORE, sizeof(struct psn_semaphore), &shared->handle));
    OK(psn_semaphore_init(semaphore_at(arena, shared->handle), value, limit));
    return shared;
}

/* ---- lock ---- */

static void a_free_lock_is_taken_and_released(void) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, false);
    struct psn_lock *lock = lock_at(&arena, shared->handle);
    struct psn_death death;
    for (int i = 0; i < 3; i++) {
        CHECK(!psn_lock_is_mine(&arena, lock));
        OK(psn_lock_acquire(&arena, lock, PSN_FOREVER, &death));
        CHECK(psn_lock_is_mine(&arena, lock));
        STATUS(psn_lock_acquire(&arena, lock, 0, &death), PSN_TIMED_OUT);
        STATUS(psn_lock_acquire_soon(&arena, lock, &death), PSN_TIMED_OUT);
        OK(psn_lock_release(&arena, lock));
        STATUS(psn_lock_release(&arena, lock), PSN_NOT_HELD);
        OK(psn_lock_acquire_soon(&arena, lock, &death));
        OK(psn_lock_release(&arena, lock));
    }
    EQUAL(load_relaxed(&lock->released.sequence), 0);
}

static void waiting_for_a_lock_ends_at_the_deadline(void) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, false);
    struct psn_lock *lock = lock_at(&arena, shared->handle);
    struct psn_death death;
    OK(psn_lock_acquire(&arena, lock, PSN_FOREVER, &death));
    static const uint64_t times_ms[] = {1, 15, 60, 200};
    for (int i = 0; i < 4; i++) {
        uint64_t start_ns = psn_clock_ns();
        STATUS(psn_lock_acquire(&arena, lock, AFTER(times_ms[i]), &death), PSN_TIMED_OUT);
        uint64_t took_ns = psn_clock_ns() - start_ns;
        CHECK(took_ns >= times_ms[i] * MS && took_ns < (times_ms[i] + 300) * MS);
    }
}

static void a_recursive_lock_counts_and_is_the_threads_own(void) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, true);
    struct psn_lock *lock = lock_at(&arena, shared->handle);
    struct psn_arena other = another_view(&arena);
    struct psn_death death;
    STATUS(psn_lock_release(&arena, lock), PSN_NOT_OWNER);
    for (int i = 0; i < 5; i++)
        OK(psn_lock_acquire(&arena, lock, i % 2 ? PSN_FOREVER : 0, &death));
    EQUAL(lock->depth, 5);
    STATUS(psn_lock_release(&other, lock), PSN_NOT_OWNER);
    for (int i = 0; i < 5; i++) {
        STATUS(psn_lock_acquire(&other, lock, 0, &death), PSN_TIMED_OUT);
        STATUS(psn_lock_acquire_soon(&other, lock, &death), PSN_TIMED_OUT);
        OK(psn_lock_release(&arena, lock));
    }
    for (int i = 0; i < 2; i++)
        OK(psn_lock_acquire_soon(&arena, lock, &death));
    EQUAL(lock->depth, 2);
    for (int i = 0; i < 2; i++)
        OK(psn_lock_release(&arena, lock));
    STATUS(psn_lock_release(&arena, lock), PSN_NOT_OWNER);
    OK(psn_lock_acquire(&other, lock, 0, &death));
}

static void *try_from_another_thread(void *argument) {
    struct psn_arena *arena = ((void **)argument)[0];
    struct psn_lock *lock = ((void **)argument)[1];
    struct psn_death death;
    CHECK(!psn_lock_is_mine(arena, lock));
    STATUS(psn_lock_acquire(arena, lock, 0, &death), PSN_TIMED_OUT);
    STATUS(psn_lock_acquire(arena, lock, AFTER(30), &death), PSN_TIMED_OUT);
    STATUS(psn_lock_release(arena, lock), PSN_NOT_OWNER);
    return NULL;
}

static void threads_of_one_process_exclude_each_other_from_a_recursive_lock(void) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, true);
    struct psn_lock *lock = lock_at(&arena, shared->handle);
    struct psn_death death;
    OK(psn_lock_acquire(&arena, lock, 0, &death));
    pthread_t thread;
    void *both[] = {&arena, lock};
    EQUAL(pthread_create(&thread, NULL, try_from_another_thread, both), 0);
    pthread_join(thread, NULL);
    OK(psn_lock_release(&arena, lock));
}

static void release_it(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    OK(psn_lock_release(arena, lock_at(arena, shared->handle)));
}

static void a_lock_may_be_released_by_another_process(void) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, false);
    struct psn_death death;
    OK(psn_lock_acquire(&arena, lock_at(&arena, shared->handle), 0, &death));
    struct child child = start_child(&arena, release_it, shared);
    OK(psn_lock_acquire(&arena, lock_at(&arena, shared->handle), AFTER(5000), &death));
    finish_child(&arena, child);
}

static void count_under_lock(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_lock *lock = lock_at(arena, shared->handle);
    uint64_t *counter = psn_at(arena, shared->counter.offset);
    uint64_t random = (uint64_t)arena->identity * 104729 + 1;
    struct psn_death death;
    for (uint64_t i = 0; i < shared->rounds; i++) {
        if (next_random(&random) % 2 || psn_lock_acquire_soon(arena, lock, &death) != PSN_OK)
            OK(psn_lock_acquire(arena, lock, next_random(&random) % 4 ? PSN_FOREVER : AFTER(10000), &death));
        ++*counter;
        if (next_random(&random) % 500 == 0)
            usleep(100);
        OK(psn_lock_release(arena, lock));
    }
}

static void check_counting(bool recursive, bool threads, uint64_t rounds) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, recursive);
    shared->rounds = rounds;
    (threads ? in_threads : in_processes)(&arena, 6, count_under_lock, shared);
    EQUAL(*(uint64_t *)psn_at(&arena, shared->counter.offset), 6 * rounds);
    WHOLE(&arena);
}

static void threads_count_exactly_under_a_lock(void) { check_counting(false, true, 3000); }
static void threads_count_exactly_under_a_recursive_lock(void) { check_counting(true, true, 3000); }
static void processes_count_exactly_under_a_lock(void) { check_counting(false, false, 20000); }
static void processes_count_exactly_under_a_recursive_lock(void) { check_counting(true, false, 20000); }

static void take_and_stay(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_death death;
    OK(psn_lock_acquire(arena, lock_at(arena, shared->handle), PSN_FOREVER, &death));
    store_seq_cst(&shared->stage, 1);
    for (;;)
        pause();
}

static void take_and_end(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_death death;
    OK(psn_lock_acquire(arena, lock_at(arena, shared->handle), PSN_FOREVER, &death));
}

static struct child start_holder(struct psn_arena *arena, struct shared *shared) {
    store_seq_cst(&shared->stage, 0);
    struct child child = start_child(arena, take_and_stay, shared);
    UNTIL(load_seq_cst(&shared->stage) == 1);
    return child;
}

static void the_next_to_acquire_learns_once_that_the_holder_was_killed(void) {
    for (int recursive = 0; recursive < 2; recursive++)
        for (int swept = 0; swept < 2; swept++) {
            struct psn_arena arena;
            struct shared *shared = make_lock(&arena, recursive);
            struct psn_lock *lock = lock_at(&arena, shared->handle);
            struct child child = start_holder(&arena, shared);
            kill_child(&arena, child, swept);
            struct psn_death death = {0};
            uint64_t start_ns = psn_clock_ns();
            STATUS(psn_lock_acquire(&arena, lock, swept ? 0 : PSN_FOREVER, &death), PSN_OWNER_DIED);
            CHECK(psn_clock_ns() - start_ns < 1000 * MS);
            EQUAL(death.pid, child.pid);
            EQUAL(load_relaxed(&lock->owner), 0);
            OK(psn_lock_acquire(&arena, lock, 0, &death));
            OK(psn_lock_release(&arena, lock));
            if (!swept)
                psn_process_sweep(&arena, child.identity, true);
            OK(psn_lock_acquire(&arena, lock, 0, &death));
            EQUAL(load_relaxed(&lock->owner), arena.identity);
        }
}

static void take_one_and_stay(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_death death;
    OK(psn_semaphore_acquire(arena, semaphore_at(arena, shared->handle), PSN_FOREVER, &death));
    add_seq_cst(&shared->stage, 1);
    for (;;)
        pause();
}

static void who_is_told_of_a_death_is_told_how_it_came(void) {
    enum { ZOMBIE, COLLECTED, GONE };
    for (int kind = 0; kind < 2; kind++)
        for (int how = ZOMBIE; how <= GONE; how++) {
            struct psn_arena arena;
            struct psn_death death = {0};
            struct shared *shared = kind ? make_semaphore(&arena, 1, 1) : make_lock(&arena, false);
            struct child child = start_child(&arena, kind ? take_one_and_stay : take_and_stay, shared);
            UNTIL(load_seq_cst(&shared->stage) == 1);
            kill(child.pid, SIGKILL);
            if (how != ZOMBIE)
                reap(child.pid);
            if (how == COLLECTED)
                psn_process_sweep_to(&arena, child.identity, true, -SIGKILL, PSN_SLOT_FREE);
            STATUS(kind ? psn_semaphore_acquire(&arena, semaphore_at(&arena, shared->handle), AFTER(3000), &death)
                        : psn_lock_acquire(&arena, lock_at(&arena, shared->handle), AFTER(3000), &death),
                   PSN_OWNER_DIED);
            EQUAL(death.pid, child.pid);
            EQUAL(death.exitcode, how == GONE ? PSN_EXIT_UNKNOWN : -SIGKILL);
        }
}

/* Others may have swept it, who knew; who collects it does not know any more. */
static void a_lock_whose_holder_ended_in_order_stays_held_though_it_is_swept_twice(void) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, false);
    struct psn_death death;
    struct child child = start_child(&arena, take_and_end, shared);
    EQUAL(reap(child.pid), 0);
    EQUAL(psn_process_sweep_dead(&arena), 1);
    psn_process_sweep(&arena, child.identity, true);
    STATUS(psn_lock_acquire(&arena, lock_at(&arena, shared->handle), 0, &death), PSN_TIMED_OUT);
    OK(psn_lock_release(&arena, lock_at(&arena, shared->handle)));
}

static void wait_and_report(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_death death;
    psn_status status = psn_lock_acquire(arena, lock_at(arena, shared->handle), AFTER(8000), &death);
    if (status == PSN_OWNER_DIED) {
        add_seq_cst(&shared->inside, 1);
        status = psn_lock_acquire(arena, lock_at(arena, shared->handle), AFTER(8000), &death);
    }
    OK(status);
    ++*(uint64_t *)psn_at(arena, shared->counter.offset);
    OK(psn_lock_release(arena, lock_at(arena, shared->handle)));
}

static void of_many_waiters_exactly_one_learns_of_the_death(void) {
    for (int round = 0; round < 8; round++) {
        struct psn_arena arena;
        struct shared *shared = make_lock(&arena, round % 4 < 2);
        struct child holder = start_holder(&arena, shared), waiters[6];
        for (int i = 0; i < 6; i++)
            waiters[i] = start_child(&arena, wait_and_report, shared);
        UNTIL(load_seq_cst(&lock_at(&arena, shared->handle)->released.waiters) >= 4);
        uint64_t start_ns = psn_clock_ns();
        kill_child(&arena, holder, round % 2);
        for (int i = 0; i < 6; i++)
            finish_child(&arena, waiters[i]);
        EQUAL(load_seq_cst(&shared->inside), 1);
        EQUAL(*(uint64_t *)psn_at(&arena, shared->counter.offset), 6);
        CHECK(psn_clock_ns() - start_ns < 2000 * MS);
    }
}

static void a_sweep_wakes_a_waiter_at_once(void) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, false);
    struct child holder = start_holder(&arena, shared);
    struct child waiter = start_child(&arena, wait_and_report, shared);
    usleep(700000); /* its looks are far apart by now */
    kill(holder.pid, SIGKILL);
    reap(holder.pid);
    uint64_t start_ns = psn_clock_ns();
    psn_process_sweep(&arena, holder.identity, true);
    finish_child(&arena, waiter);
    CHECK(psn_clock_ns() - start_ns < 100 * MS);
}

static void a_lock_whose_holder_ended_in_order_stays_held(void) {
    struct psn_arena arena;
    struct shared *shared = make_lock(&arena, false);
    struct psn_lock *lock = lock_at(&arena, shared->handle);
    struct psn_death death;
    for (int swept = 0; swept < 2; swept++) {
        struct child child = start_child(&arena, take_and_end, shared);
        EQUAL(reap(child.pid), 0);
        if (swept)
            EQUAL(psn_process_sweep_dead(&arena), 1);
        STATUS(psn_lock_acquire(&arena, lock, AFTER(100), &death), PSN_TIMED_OUT);
        OK(psn_lock_release(&arena, lock));
        OK(psn_lock_acquire(&arena, lock, 0, &death));
        OK(psn_lock_release(&arena, lock));
        psn_process_sweep(&arena, child.identity, false);
    }
}

/* Holders are killed one after the other while others work: nobody waits for ever, nobody is let in twice. */
static void work_under_lock(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_lock *lock = lock_at(arena, shared->handle);
    struct psn_death death;
    for (;;) {
        psn_status status = psn_lock_acquire(arena, lock, AFTER(6000), &death);
        if (status == PSN_OWNER_DIED)
            continue;
        OK(status);
        store_seq_cst(&shared->inside, arena->identity);
        for (uint32_t i = 0; i < arena->identity % 7 * 50; i++)
            cpu_pause();
        EQUAL(load_seq_cst(&shared->inside), arena->identity);
        add_relaxed(&shared->stage, 1);
        OK(psn_lock_release(arena, lock));
        if (arena->identity % 3 == 0)
            usleep(50);
    }
}

static void killing_workers_never_lets_two_into_a_lock(void) {
    for (int recursive = 0; recursive < 2; recursive++) {
        struct psn_arena arena;
        struct shared *shared = make_lock(&arena, recursive);
        struct child workers[5];
        for (int i = 0; i < 5; i++)
            workers[i] = start_child(&arena, work_under_lock, shared);
        uint64_t random = 12345;
        for (int i = 0; i < 100; i++) {
            uint64_t k = next_random(&random) % 5;
            usleep((unsigned)(next_random(&random) % 3000));
            uint32_t before = load_seq_cst(&shared->stage);
            kill_child(&arena, workers[k], i % 2);
            if (i % 2 == 0)
                psn_process_sweep_dead(&arena);
            workers[k] = start_child(&arena, work_under_lock, shared);
            if (i % 10 == 0)
                UNTIL(load_seq_cst(&shared->stage) != before);
        }
        for (int i = 0; i < 5; i++) {
            EQUAL(waitpid(workers[i].pid, NULL, WNOHANG), 0);
            kill_child(&arena, workers[i], true);
        }
        WHOLE(&arena);
    }
}

/* ---- semaphore ---- */

static void a_semaphore_counts_down_and_up_to_its_limit(void) {
    struct psn_arena arena;
    struct shared *shared = make_semaphore(&arena, 3, 3);
    struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
    struct psn_death death;
    for (int i = 0; i < 3; i++)
        OK(psn_semaphore_acquire(&arena, semaphore, PSN_FOREVER, &death));
    STATUS(psn_semaphore_acquire(&arena, semaphore, 0, &death), PSN_TIMED_OUT);
    uint64_t start_ns = psn_clock_ns();
    STATUS(psn_semaphore_acquire(&arena, semaphore, AFTER(70), &death), PSN_TIMED_OUT);
    CHECK(psn_clock_ns() - start_ns >= 70 * MS && psn_clock_ns() - start_ns < 400 * MS);
    for (int i = 0; i < 3; i++)
        OK(psn_semaphore_release(&arena, semaphore));
    STATUS(psn_semaphore_release(&arena, semaphore), PSN_NOT_HELD);
    EQUAL(load_relaxed(&semaphore->value), 3);
}

static void a_free_semaphore_leaves_no_waiter_to_be_woken(void) {
    struct psn_arena arena;
    struct shared *shared = make_semaphore(&arena, 1, 1);
    struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
    struct psn_death death;
    for (int i = 0; i < 10; i++) {
        OK(psn_semaphore_acquire(&arena, semaphore, PSN_FOREVER, &death));
        OK(psn_semaphore_release(&arena, semaphore));
    }
    EQUAL(load_relaxed(&semaphore->released.waiters), 0);
    EQUAL(load_relaxed(&semaphore->released.sequence), 0);
}

static void pass_through_semaphore(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_semaphore *semaphore = semaphore_at(arena, shared->handle);
    struct psn_death death;
    for (uint64_t i = 0; i < shared->rounds; i++) {
        OK(psn_semaphore_acquire(arena, semaphore, AFTER(10000), &death));
        CHECK(add_seq_cst(&shared->inside, 1) < 2);
        if (i % 300 == 0)
            usleep(100);
        sub_seq_cst(&shared->inside, 1);
        OK(psn_semaphore_release(arena, semaphore));
    }
}

static void check_passing(bool threads, uint64_t rounds) {
    struct psn_arena arena;
    struct shared *shared = make_semaphore(&arena, 2, UINT32_MAX);
    shared->rounds = rounds;
    (threads ? in_threads : in_processes)(&arena, 6, pass_through_semaphore, shared);
    EQUAL(load_relaxed(&semaphore_at(&arena, shared->handle)->value), 2);
    EQUAL(semaphore_at(&arena, shared->handle)->permits, 2);
}

static void threads_never_hold_more_permits_than_there_are(void) { check_passing(true, 2000); }
static void processes_never_hold_more_permits_than_there_are(void) { check_passing(false, 15000); }

/* Sixteen who do nothing have a permit each. */
static void threads_count_exactly_in_the_table(void) {
    struct psn_arena arena;
    struct shared *shared = make_semaphore(&arena, PSN_COUNTS_HERE + 2, UINT32_MAX);
    struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
    struct psn_death death;
    for (int i = 0; i < PSN_COUNTS_HERE; i++) {
        struct psn_arena idle = another_view(&arena);
        OK(psn_semaphore_acquire(&idle, semaphore, 0, &death));
    }
    shared->rounds = 2000;
    in_threads(&arena, 6, pass_through_semaphore, shared);
    EQUAL(load_relaxed(&semaphore->value), 2);
    EQUAL(semaphore->taken.others, 0);
    CHECK(load_relaxed(&semaphore->taken.table) != 0);
    WHOLE(&arena);
}

static void take_two_and_stay(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_death death;
    for (int i = 0; i < 2; i++)
        OK(psn_semaphore_acquire(arena, semaphore_at(arena, shared->handle), PSN_FOREVER, &death));
    store_seq_cst(&shared->stage, 1);
    for (;;)
        pause();
}

static void the_permits_of_a_killed_process_come_back(void) {
    for (int swept = 0; swept < 2; swept++) {
        struct psn_arena arena;
        struct shared *shared = make_semaphore(&arena, 2, UINT32_MAX);
        struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
        struct child child = start_child(&arena, take_two_and_stay, shared);
        UNTIL(load_seq_cst(&shared->stage) == 1);
        kill_child(&arena, child, swept);
        struct psn_death death = {0};
        uint64_t start_ns = psn_clock_ns();
        STATUS(psn_semaphore_acquire(&arena, semaphore, PSN_FOREVER, &death), PSN_OWNER_DIED);
        CHECK(psn_clock_ns() - start_ns < 1000 * MS);
        EQUAL(death.pid, child.pid);
        OK(psn_semaphore_acquire(&arena, semaphore, 0, &death));
        OK(psn_semaphore_acquire(&arena, semaphore, 0, &death));
        STATUS(psn_semaphore_acquire(&arena, semaphore, 0, &death), PSN_TIMED_OUT);
        psn_process_sweep(&arena, child.identity, true);
        STATUS(psn_semaphore_acquire(&arena, semaphore, 0, &death), PSN_TIMED_OUT);
    }
}

static void a_signal_is_not_given_back(void) {
    struct psn_arena arena;
    struct shared *shared = make_semaphore(&arena, 0, UINT32_MAX);
    struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
    OK(psn_semaphore_release(&arena, semaphore));
    OK(psn_semaphore_release(&arena, semaphore));
    struct child child = start_child(&arena, take_two_and_stay, shared);
    UNTIL(load_seq_cst(&shared->stage) == 1);
    kill_child(&arena, child, true);
    struct psn_death death;
    STATUS(psn_semaphore_acquire(&arena, semaphore, AFTER(100), &death), PSN_TIMED_OUT);
    EQUAL(load_relaxed(&semaphore->value), 0);
}

static void acquire_one_and_end(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_death death;
    OK(psn_semaphore_acquire(arena, semaphore_at(arena, shared->handle), AFTER(5000), &death));
}

static void more_processes_than_places_may_take_permits(void) {
    struct psn_arena arena;
    struct shared *shared = make_semaphore(&arena, 20, UINT32_MAX);
    struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
    for (int i = 0; i < 20; i++)
        finish_child(&arena, start_child(&arena, acquire_one_and_end, shared));
    EQUAL(load_relaxed(&semaphore->value), 0);
    EQUAL(semaphore->taken.others, 4);
    for (int i = 0; i < 20; i++)
        OK(psn_semaphore_release(&arena, semaphore));
    EQUAL(load_relaxed(&semaphore->value), 20);
    in_processes(&arena, 10, acquire_one_and_end, shared);
    EQUAL(load_relaxed(&semaphore->value), 10);
}

static void the_permits_of_any_number_of_killed_processes_come_back(void) {
    enum { MANY = 60 };
    for (int swept = 0; swept < 2; swept++) {
        struct psn_arena arena;
        struct shared *shared = make_semaphore(&arena, MANY, MANY);
        struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
        uint64_t before = blocks_held(&arena);
        struct child children[MANY];
        for (int i = 0; i < MANY; i++)
            children[i] = start_child(&arena, take_one_and_stay, shared);
        UNTIL(load_seq_cst(&shared->stage) == MANY);
        EQUAL(semaphore->taken.others, 0);
        EQUAL(blocks_held(&arena), before + 1);
        for (int i = 0; i < MANY; i++)
            kill_child(&arena, children[i], swept);
        struct psn_death death;
        uint32_t free = 0;
        for (uint32_t told = 0; free < MANY;) {
            psn_status status = psn_semaphore_acquire(&arena, semaphore, AFTER(3000), &death);
            if (status == PSN_OWNER_DIED) {
                CHECK(++told <= MANY);
                continue;
            }
            OK(status);
            free++;
        }
        STATUS(psn_semaphore_acquire(&arena, semaphore, 0, &death), PSN_TIMED_OUT);
        for (int i = 0; i < MANY; i++) {
            psn_process_sweep(&arena, children[i].identity, true);
            OK(psn_semaphore_release(&arena, semaphore));
        }
        STATUS(psn_semaphore_release(&arena, semaphore), PSN_NOT_HELD);
        psn_block_drop(&arena, shared->handle);
        EQUAL(blocks_held(&arena), before - 1);
        WHOLE(&arena);
    }
}

/* Its slot in the table still has what an earlier process of that slot took and left to others when it ended. */
static void what_those_took_who_ended_in_order_stays_taken(void) {
    struct psn_arena arena;
    struct shared *shared = make_semaphore(&arena, 40, 40);
    struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
    struct child children[PSN_COUNTS_HERE];
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        children[i] = start_child(&arena, take_one_and_stay, shared);
    UNTIL(load_seq_cst(&shared->stage) == PSN_COUNTS_HERE);
    for (int i = 0; i < 5; i++)
        finish_child(&arena, start_child(&arena, acquire_one_and_end, shared));
    EQUAL(semaphore->taken.total, PSN_COUNTS_HERE + 5);
    EQUAL(semaphore->taken.others, 4);
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        kill_child(&arena, children[i], true);
    EQUAL(load_relaxed(&semaphore->value), 35);
    for (int i = 0; i < 5; i++)
        OK(psn_semaphore_release(&arena, semaphore));
    STATUS(psn_semaphore_release(&arena, semaphore), PSN_NOT_HELD);
}

static void work_under_semaphore(struct psn_arena *arena, void *argument) {
    struct shared *shared = argument;
    struct psn_death death;
    for (;;) {
        psn_status status = psn_semaphore_acquire(arena, semaphore_at(arena, shared->handle), AFTER(6000), &death);
        if (status == PSN_OWNER_DIED)
            continue;
        OK(status);
        add_relaxed(&shared->stage, 1);
        OK(psn_semaphore_release(arena, semaphore_at(arena, shared->handle)));
    }
}

static void killing_workers_loses_no_permit(void) {
    struct psn_arena arena;
    struct shared *shared = make_semaphore(&arena, 3, UINT32_MAX);
    struct psn_semaphore *semaphore = semaphore_at(&arena, shared->handle);
    struct child workers[5];
    for (int i = 0; i < 5; i++)
        workers[i] = start_child(&arena, work_under_semaphore, shared);
    uint64_t random = 4242;
    for (int i = 0; i < 150; i++) {
        uint64_t k = next_random(&random) % 5;
        usleep((unsigned)(next_random(&random) % 2000));
        uint32_t before = load_seq_cst(&shared->stage);
        kill_child(&arena, workers[k], i % 2);
        if (i % 2 == 0)
            psn_process_sweep_dead(&arena);
        workers[k] = start_child(&arena, work_under_semaphore, shared);
        if (i % 10 == 0)
            UNTIL(load_seq_cst(&shared->stage) != before);
    }
    for (int i = 0; i < 5; i++)
        kill_child(&arena, workers[i], true);
    struct psn_death death;
    (void)!psn_semaphore_acquire(&arena, semaphore, 0, &death); /* the last news of a death, or a permit */
    EQUAL(semaphore->permits, 3);
    EQUAL(load_relaxed(&semaphore->value) + (semaphore->taken.total), 3);
    WHOLE(&arena);
}

static const struct test tests[] = {
    TEST(a_free_lock_is_taken_and_released),
    TEST(waiting_for_a_lock_ends_at_the_deadline),
    TEST(a_recursive_lock_counts_and_is_the_threads_own),
    TEST(threads_of_one_process_exclude_each_other_from_a_recursive_lock),
    TEST(a_lock_may_be_released_by_another_process),
    TEST(threads_count_exactly_under_a_lock),
    TEST(threads_count_exactly_under_a_recursive_lock),
    TEST(processes_count_exactly_under_a_lock),
    TEST(processes_count_exactly_under_a_recursive_lock),
    TEST(the_next_to_acquire_learns_once_that_the_holder_was_killed),
    TEST(who_is_told_of_a_death_is_told_how_it_came),
    TEST(a_lock_whose_holder_ended_in_order_stays_held_though_it_is_swept_twice),
    TEST(of_many_waiters_exactly_one_learns_of_the_death),
    TEST(a_sweep_wakes_a_waiter_at_once),
    TEST(a_lock_whose_holder_ended_in_order_stays_held),
    TEST(killing_workers_never_lets_two_into_a_lock),
    TEST(a_semaphore_counts_down_and_up_to_its_limit),
    TEST(a_free_semaphore_leaves_no_waiter_to_be_woken),
    TEST(threads_never_hold_more_permits_than_there_are),
    TEST(threads_count_exactly_in_the_table),
    TEST(processes_never_hold_more_permits_than_there_are),
    TEST(the_permits_of_a_killed_process_come_back),
    TEST(a_signal_is_not_given_back),
    TEST(more_processes_than_places_may_take_permits),
    TEST(the_permits_of_any_number_of_killed_processes_come_back),
    TEST(what_those_took_who_ended_in_order_stays_taken),
    TEST(killing_workers_loses_no_permit),
};
RUN_TESTS(tests)
