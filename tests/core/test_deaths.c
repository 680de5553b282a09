/* test_deaths.c: a process is killed at every instruction of an operation, one after the other, and the rest must go on.
   The child sets the processor's trap flag, counts instructions in the signal handler, and kills itself at the n-th; n grows
   until the operation ends before it.  After each death the invariants must hold, what was not in flight must be there, and
   when all is dropped no block may be left.  Long operations are sampled: at most DEATH_STEPS (environment) instructions are
   stepped per operation, from a random start (DEATH_SEED), so that each run looks at others. */
#include "runner.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <ucontext.h>

#define USUAL_STEPS 20000u

static struct psn_arena arena;
static uint64_t baseline;
static struct child victim; /* one that died before, where the operation is about the dead */

/* ---- stepping ---- */

static volatile uint64_t steps_left;
static volatile int at_the_end = SIGKILL;

#if defined(__x86_64__)
/* The trap comes after each turn of a repeated instruction: do the rest of its turns at once. */
static void finish_repeat(greg_t *registers) {
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    bool is_wide = code[1] == 0x48; /* rep stosq, movsq; else rep stosb, movsb */
    if (code[0] != 0xf3)
        return;
    while (registers[REG_RCX]) {
        uint8_t *to = (uint8_t *)registers[REG_RDI], *from = (uint8_t *)registers[REG_RSI];
        if (is_wide && code[2] == 0xab)
            memcpy(to, &registers[REG_RAX], 8);
        else if (is_wide && code[2] == 0xa5)
            memcpy(to, from, 8), registers[REG_RSI] += 8;
        else if (code[1] == 0xaa)
            *to = (uint8_t)registers[REG_RAX];
        else if (code[1] == 0xa4)
            *to = *from, registers[REG_RSI]++;
        else
            return;
        registers[REG_RDI] += is_wide ? 8 : 1;
        registers[REG_RCX]--;
    }
}

static void count_step(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    if (--steps_left == 0)
        kill(getpid(), at_the_end);
    finish_repeat(((ucontext_t *)context)->uc_mcontext.gregs);
}

static void start_stepping(uint64_t steps) {
    struct sigaction action = {.sa_sigaction = count_step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    steps_left = steps;
    __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
}

static void stop_stepping(void) { __asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc"); }
#define CAN_STEP 1
#else
static void start_stepping(uint64_t steps) { (void)steps; }
static void stop_stepping(void) {}
#define CAN_STEP 0
#endif

struct outcome {
    uint64_t steps; /* after which it died; of the whole operation if it is complete */
    bool is_complete;
    struct child child;
    bool swept_first; /* else the survivors come upon it before anybody has swept */
};

struct scene {
    void (*set_up)(void);
    void (*act)(struct psn_arena *arena, void *argument); /* dies somewhere in here */
    void (*verify)(const struct outcome *outcome);        /* and frees what set_up made */
};

struct report {
    uint64_t steps;
    uint64_t is_complete;
};
static struct report *report;
static const struct scene *scene;

static void act_and_die(struct psn_arena *view, void *argument) {
    uint64_t steps = *(uint64_t *)argument;
    start_stepping(steps);
    scene->act(view, NULL);
    stop_stepping();
    report->steps = steps - steps_left;
    report->is_complete = 1;
    kill_self();
}

static struct outcome die_after(uint64_t steps) {
    report->is_complete = 0;
    struct outcome outcome = {.steps = steps, .child = start_child(&arena, act_and_die, &steps)};
    int status = reap(outcome.child.pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("after %" PRIu64 " instructions the child ended with status %#x", steps, (unsigned)status);
    outcome.is_complete = report->is_complete;
    if (outcome.is_complete)
        outcome.steps = report->steps;
    return outcome;
}

static uint64_t setting(const char *name, uint64_t usual) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : usual;
}

static uint64_t now_at; /* for the words of a failure */

static void say_where(int number) {
    (void)number;
    fprintf(stderr, "    stuck after a death at instruction %" PRIu64 "\n", now_at);
    _exit(1);
}

static void play_once(uint64_t steps, bool swept_first, uint64_t *length) {
    now_at = steps;
    baseline = blocks_held(&arena);
    scene->set_up();
    struct outcome outcome = die_after(steps);
    outcome.swept_first = swept_first;
    if (swept_first)
        psn_process_sweep(&arena, outcome.child.identity, true);
    scene->verify(&outcome);
    psn_process_sweep(&arena, outcome.child.identity, true);
    const char *broken = psn_arena_check(&arena);
    if (broken)
        FAIL("after a death at instruction %" PRIu64 ": %s", steps, broken);
    if (blocks_held(&arena) != baseline)
        FAIL("after a death at instruction %" PRIu64 " (swept %s) %" PRId64 " blocks are left", steps,
             swept_first ? "first" : "last", (int64_t)(blocks_held(&arena) - baseline));
    *length = outcome.is_complete ? outcome.steps : 0;
}

static void play(const struct scene *what) {
    if (!CAN_STEP) {
        printf("        (this processor cannot step)\n");
        return;
    }
    scene = what;
    report = shared_page();
    if (!arena.base)
        make_arena(&arena, 64);
    /* Everything that happens once only has happened after the first time. */
    uint64_t length, longest = 0, none;
    play_once(UINT64_MAX, true, &none);
    play_once(UINT64_MAX, true, &length);
    CHECK(length > 0);
    uint64_t budget = setting("DEATH_STEPS", USUAL_STEPS);
    uint64_t stride = length * length / 2 / budget + 1, random = setting("DEATH_SEED", psn_clock_ns()) | 1, deaths = 0;
    signal(SIGALRM, say_where);
    for (uint64_t at = stride > 1 ? 1 + next_random(&random) % stride : 1;; at += stride) {
        alarm(10);
        play_once(at, next_random(&random) % 2, &none);
        deaths++;
        if (none)
            break;
        longest = at;
    }
    alarm(0);
    printf("        %" PRIu64 " deaths in %" PRIu64 " instructions\n", deaths, longest);
}

/* ---- pages and blocks ---- */

static struct psn_handle mine[8];

static struct psn_handle allocate(uint64_t size) {
    struct psn_handle handle;
    OK(psn_block_allocate(&arena, PSN_DATA, size, &handle));
    return handle;
}

static void expect_usable(void) {
    WHOLE(&arena);
    static const uint64_t sizes[] = {10, 100, 1000, 5000, 20000, 100000};
    struct psn_handle handles[6];
    for (int i = 0; i < 6; i++) {
        handles[i] = allocate(sizes[i]);
        memset(psn_at(&arena, handles[i].offset), 0x5a, sizes[i]);
    }
    for (int i = 0; i < 6; i++)
        psn_block_drop(&arena, handles[i]);
    WHOLE(&arena);
}

static void nothing(void) {}
static void verify_usable(const struct outcome *outcome) {
    (void)outcome;
    expect_usable();
}

static void drop_mine(void) {
    for (int i = 0; i < 8; i++) {
        if (mine[i].offset)
            psn_block_drop(&arena, mine[i]);
        mine[i].offset = 0;
    }
}

static void verify_and_drop_mine(const struct outcome *outcome) {
    (void)outcome;
    expect_usable();
    drop_mine();
}

static void allocate_small(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_handle handle;
    OK(psn_block_allocate(view, PSN_DATA, 300, &handle));
}
static void have_slab_with_room(void) { mine[0] = allocate(300); }
static void death_in_allocating_a_small_block(void) {
    play(&(struct scene){have_slab_with_room, allocate_small, verify_and_drop_mine});
}

static void allocate_first_of_slab(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_handle handle;
    OK(psn_block_allocate(view, PSN_DATA, 3900, &handle));
}
static void fill_slabs(void) { /* four of that class fit a page */
    for (int i = 0; i < 4; i++)
        mine[i] = allocate(3900);
}
static void death_in_making_a_slab(void) { play(&(struct scene){fill_slabs, allocate_first_of_slab, verify_and_drop_mine}); }

static void allocate_run(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_handle handle;
    OK(psn_block_allocate(view, PSN_DATA, 3 * PSN_PAGE, &handle));
}
static void have_holes(void) {
    for (int i = 0; i < 5; i++)
        mine[i] = allocate((uint64_t)(i + 4) * PSN_PAGE);
    psn_block_drop(&arena, mine[1]);
    psn_block_drop(&arena, mine[3]);
    mine[1].offset = mine[3].offset = 0;
}
static void death_in_splitting_a_run(void) { play(&(struct scene){have_holes, allocate_run, verify_and_drop_mine}); }
static void allocate_at_top(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_handle handle;
    OK(psn_block_allocate(view, PSN_DATA, 40 * PSN_PAGE, &handle));
    psn_block_drop(view, handle);
}
static void death_in_taking_pages_from_the_top_and_giving_them_back(void) {
    play(&(struct scene){have_holes, allocate_at_top, verify_and_drop_mine});
}

/* For its parent too, so that the block is freed. */
static void drop_for_both(struct psn_arena *view, struct psn_handle handle) {
    struct psn_arena parent = *view;
    parent.slot = 0;
    psn_block_drop(&parent, handle);
    psn_block_drop(view, handle);
}

static void free_run_between_free_ones(struct psn_arena *view, void *argument) {
    (void)argument;
    drop_for_both(view, mine[2]);
}
static void death_in_freeing_and_joining_runs(void) {
    play(&(struct scene){have_holes, free_run_between_free_ones, verify_and_drop_mine});
}

static void trim_all(struct psn_arena *view, void *argument) {
    (void)argument;
    psn_arena_trim(view, 0);
}
static void death_in_trimming(void) { play(&(struct scene){have_holes, trim_all, verify_and_drop_mine}); }

static void drop_last_small(struct psn_arena *view, void *argument) {
    (void)argument;
    for (int i = 0; i < 5; i++)
        drop_for_both(view, mine[i]);
}
static void have_two_slabs(void) {
    for (int i = 0; i < 5; i++)
        mine[i] = allocate(3900);
}
static void death_in_freeing_small_blocks_and_their_slab(void) {
    play(&(struct scene){have_two_slabs, drop_last_small, verify_and_drop_mine});
}

static void use_high_slots(void) {
    make_arena(&arena, 64);
    uint32_t identity;
    for (int i = 0; i < 70; i++)
        OK(psn_process_reserve(&arena, &identity));
}
static void allocate_hold_drop(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_handle handle;
    CHECK(view->slot >= 64);
    OK(psn_block_hold(view, mine[0]));
    OK(psn_block_allocate(view, PSN_DATA, 100, &handle));
    psn_block_drop(view, mine[0]);
    psn_block_drop(view, handle);
}
static void have_unheld_by_child(void) { mine[0] = allocate(100); }
static void death_in_holding_and_dropping_in_a_high_slot(void) {
    use_high_slots();
    play(&(struct scene){have_unheld_by_child, allocate_hold_drop, verify_and_drop_mine});
}

static void make_message(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_handle message;
    OK(psn_message_allocate(view, 2, 100, &message));
    OK(psn_message_refer(view, message.offset, mine[0]));
    OK(psn_message_refer(view, message.offset, mine[0]));
    psn_block_disown(view, message);
}
static void verify_pins(const struct outcome *outcome) {
    psn_process_sweep(&arena, outcome->child.identity, true);
    EQUAL(load_relaxed(&psn_block_find(&arena, mine[0])->pins), 0);
    verify_and_drop_mine(outcome);
}
static void death_in_making_and_freeing_a_message_with_references(void) {
    play(&(struct scene){have_unheld_by_child, make_message, verify_pins});
}

static void lock_dead_mutex(struct psn_arena *view, void *argument) {
    (void)argument;
    psn_arena_lock(view);
    psn_arena_unlock(view);
}
static void die_with_mutex(struct psn_arena *view, void *argument) {
    (void)argument;
    psn_arena_lock(view);
    memset(view->header->classes, 0x77, sizeof view->header->classes);
    memset(view->header->bins, 0x77, sizeof view->header->bins);
    kill_self();
}
static void have_blocks_of_each_kind(void) {
    for (int i = 0; i < 3; i++)
        mine[i] = allocate(3000 * (uint64_t)(i * i * i + 1));
    struct psn_handle message;
    OK(psn_message_allocate(&arena, 2, 100, &message));
    OK(psn_message_refer(&arena, message.offset, mine[0]));
    mine[7] = message;
}
/* A grandchild dies with the mutex, and no instruction is counted until it has. */
static void rebuild_after_grandchild(struct psn_arena *view, void *argument) {
    (void)argument;
    stop_stepping();
    uint64_t steps = steps_left;
    pid_t pid = fork();
    if (pid == 0)
        die_with_mutex(view, NULL);
    reap(pid);
    start_stepping(steps);
    lock_dead_mutex(view, NULL);
}
static void verify_rebuilt(const struct outcome *outcome) {
    expect_usable();
    EQUAL(load_relaxed(&psn_block_find(&arena, mine[0])->pins), 1);
    psn_block_disown(&arena, mine[7]);
    mine[7].offset = 0;
    EQUAL(load_relaxed(&psn_block_find(&arena, mine[0])->pins), 0);
    verify_and_drop_mine(outcome);
}
static void death_in_rebuilding_after_a_death(void) {
    play(&(struct scene){have_blocks_of_each_kind, rebuild_after_grandchild, verify_rebuilt});
}

/* ---- processes ---- */

static void start_one(struct psn_arena *view, void *argument) {
    (void)argument;
    uint32_t identity;
    OK(psn_process_reserve(view, &identity));
    OK(psn_process_inherit(view, identity));
    struct psn_arena child = *view;
    psn_process_enter(&child, identity);
    psn_process_leave(&child, 3);
    psn_process_sweep(view, identity, false);
}
static void verify_processes(const struct outcome *outcome) {
    psn_process_sweep(&arena, outcome->child.identity, true);
    psn_process_sweep_dead(&arena);
    for (uint32_t slot = 0; slot < PSN_SLOTS; slot++)
        CHECK(slot == arena.slot || load_relaxed(&psn_process_at(&arena, slot)->state) == PSN_SLOT_FREE);
    verify_and_drop_mine(outcome);
}
static void death_in_starting_a_process(void) { play(&(struct scene){have_slab_with_room, start_one, verify_processes}); }

/* ---- locks and semaphores ---- */

static struct psn_handle lock, semaphore;
static struct psn_lock *lock_view(void) { return psn_at(&arena, lock.offset); }
static struct psn_semaphore *semaphore_view(void) { return psn_at(&arena, semaphore.offset); }

static void have_lock(void) {
    OK(psn_block_allocate(&arena, PSN_LOCK, sizeof(struct psn_lock), &lock));
    psn_lock_init(lock_view(), false);
}
static void have_recursive_lock(void) {
    OK(psn_block_allocate(&arena, PSN_LOCK, sizeof(struct psn_lock), &lock));
    psn_lock_init(lock_view(), true);
}
static void take_and_release(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_death death;
    OK(psn_lock_acquire(view, lock_view(), PSN_FOREVER, &death));
    if (lock_view()->recursive) {
        OK(psn_lock_acquire(view, lock_view(), 0, &death));
        OK(psn_lock_release(view, lock_view()));
    }
    OK(psn_lock_release(view, lock_view()));
}
static void verify_lock(const struct outcome *outcome) {
    struct psn_death death = {0};
    psn_status status = psn_lock_acquire(&arena, lock_view(), AFTER(2000), &death);
    if (status == PSN_OWNER_DIED) {
        EQUAL(death.pid, outcome->child.pid);
        CHECK(!outcome->is_complete);
        status = psn_lock_acquire(&arena, lock_view(), 0, &death);
    }
    OK(status);
    CHECK(psn_lock_is_mine(&arena, lock_view()));
    psn_process_sweep(&arena, outcome->child.identity, true);
    CHECK(psn_lock_is_mine(&arena, lock_view()));
    OK(psn_lock_release(&arena, lock_view()));
    psn_block_drop(&arena, lock);
}
static void death_in_taking_and_releasing_a_lock(void) {
    play(&(struct scene){have_lock, take_and_release, verify_lock});
    play(&(struct scene){have_recursive_lock, take_and_release, verify_lock});
}

static void take_lock_and_die(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_death death;
    OK(psn_lock_acquire(view, lock_view(), 0, &death));
    kill_self();
}
static void have_lock_of_the_dead(void) {
    have_recursive_lock();
    victim = start_child(&arena, take_lock_and_die, NULL);
    reap(victim.pid);
}
static void free_the_lock_of_the_dead(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_death death;
    STATUS(psn_lock_acquire(view, lock_view(), PSN_FOREVER, &death), PSN_OWNER_DIED);
    OK(psn_lock_acquire(view, lock_view(), PSN_FOREVER, &death));
    OK(psn_lock_release(view, lock_view()));
}
static void verify_lock_of_the_dead(const struct outcome *outcome) {
    struct psn_death death = {0};
    psn_status status;
    for (int deaths = 0; (status = psn_lock_acquire(&arena, lock_view(), AFTER(2000), &death)) == PSN_OWNER_DIED; deaths++) {
        CHECK(deaths < 2);
        CHECK(death.pid == (uint32_t)victim.pid || death.pid == (uint32_t)outcome->child.pid);
    }
    OK(status);
    OK(psn_lock_release(&arena, lock_view()));
    psn_process_sweep(&arena, victim.identity, true);
    OK(psn_lock_acquire(&arena, lock_view(), 0, &death));
    OK(psn_lock_release(&arena, lock_view()));
    psn_block_drop(&arena, lock);
}
static void death_in_freeing_the_lock_of_the_dead(void) {
    play(&(struct scene){have_lock_of_the_dead, free_the_lock_of_the_dead, verify_lock_of_the_dead});
}

static void have_semaphore(void) {
    OK(psn_block_allocate(&arena, PSN_SEMAPHORE, sizeof(struct psn_semaphore), &semaphore));
    OK(psn_semaphore_init(semaphore_view(), 2, 2));
}
static void take_and_release_permits(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_death death;
    OK(psn_semaphore_acquire(view, semaphore_view(), PSN_FOREVER, &death));
    OK(psn_semaphore_acquire(view, semaphore_view(), 0, &death));
    OK(psn_semaphore_release(view, semaphore_view()));
    OK(psn_semaphore_release(view, semaphore_view()));
}
static void verify_semaphore(const struct outcome *outcome) {
    struct psn_death death = {0};
    int told = 0;
    for (int i = 0; i < 2; i++) {
        psn_status status;
        while ((status = psn_semaphore_acquire(&arena, semaphore_view(), AFTER(2000), &death)) == PSN_OWNER_DIED)
            CHECK(++told <= 2 && death.pid == (uint32_t)outcome->child.pid);
        OK(status);
    }
    STATUS(psn_semaphore_acquire(&arena, semaphore_view(), 0, &death), PSN_TIMED_OUT);
    psn_process_sweep(&arena, outcome->child.identity, true);
    STATUS(psn_semaphore_acquire(&arena, semaphore_view(), 0, &death), PSN_TIMED_OUT);
    OK(psn_semaphore_release(&arena, semaphore_view()));
    OK(psn_semaphore_release(&arena, semaphore_view()));
    STATUS(psn_semaphore_release(&arena, semaphore_view()), PSN_NOT_HELD);
    psn_block_drop(&arena, semaphore);
}
static void death_in_taking_and_releasing_permits(void) {
    play(&(struct scene){have_semaphore, take_and_release_permits, verify_semaphore});
}

static void give_signal(struct psn_arena *view, void *argument) {
    (void)argument;
    OK(psn_semaphore_release(view, semaphore_view()));
}
static void have_signal(void) {
    OK(psn_block_allocate(&arena, PSN_SEMAPHORE, sizeof(struct psn_semaphore), &semaphore));
    OK(psn_semaphore_init(semaphore_view(), 0, UINT32_MAX));
}
static void verify_signal(const struct outcome *outcome) {
    struct psn_death death;
    uint32_t got = 0;
    while (psn_semaphore_acquire(&arena, semaphore_view(), 0, &death) == PSN_OK)
        got++;
    CHECK(got == outcome->is_complete || (got == 1 && !outcome->is_complete));
    EQUAL(load_relaxed(&semaphore_view()->value), 0);
    psn_block_drop(&arena, semaphore);
}
static void death_in_giving_a_signal(void) { play(&(struct scene){have_signal, give_signal, verify_signal}); }

/* Sixteen processes that do not run have a permit each, so that all others find their place in the table. */
static struct psn_arena crowd[PSN_COUNTS_HERE];
static void gather_crowd(void) {
    for (int i = 0; i < PSN_COUNTS_HERE && !crowd[i].base; i++) {
        crowd[i] = arena;
        OK(psn_process_reserve(&arena, &crowd[i].identity));
    }
}
static void have_crowded_semaphore(void) {
    struct psn_death death;
    OK(psn_block_allocate(&arena, PSN_SEMAPHORE, sizeof(struct psn_semaphore), &semaphore));
    OK(psn_semaphore_init(semaphore_view(), PSN_COUNTS_HERE + 2, PSN_COUNTS_HERE + 2));
    gather_crowd();
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        OK(psn_semaphore_acquire(&crowd[i], semaphore_view(), 0, &death));
}
static void verify_crowded_semaphore(const struct outcome *outcome) {
    struct psn_death death = {0};
    int told = 0, taken = 0;
    for (psn_status status; taken < 2; taken += status == PSN_OK)
        if ((status = psn_semaphore_acquire(&arena, semaphore_view(), AFTER(2000), &death)) == PSN_OWNER_DIED)
            CHECK(++told == 1 && death.pid == (uint32_t)outcome->child.pid);
        else
            OK(status);
    STATUS(psn_semaphore_acquire(&arena, semaphore_view(), 0, &death), PSN_TIMED_OUT);
    psn_process_sweep(&arena, outcome->child.identity, true);
    STATUS(psn_semaphore_acquire(&arena, semaphore_view(), 0, &death), PSN_TIMED_OUT);
    EQUAL(semaphore_view()->taken.others, 0);
    psn_block_drop(&arena, semaphore);
}
static void death_in_taking_a_permit_that_needs_a_table(void) {
    play(&(struct scene){have_crowded_semaphore, take_and_release_permits, verify_crowded_semaphore});
}

/* The next process's place in the table still has the permit of one that ended in order. */
static void have_permit_of_an_earlier_process(void) {
    have_crowded_semaphore();
    struct psn_arena earlier = arena;
    struct psn_death death;
    OK(psn_process_reserve(&arena, &earlier.identity));
    OK(psn_semaphore_acquire(&earlier, semaphore_view(), 0, &death));
    psn_process_sweep(&arena, earlier.identity, false);
}
static void take_and_release_one(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_death death;
    OK(psn_semaphore_acquire(view, semaphore_view(), 0, &death));
    OK(psn_semaphore_release(view, semaphore_view()));
}
static void verify_both_permits(const struct outcome *outcome) {
    struct psn_death death = {0};
    psn_status status = psn_semaphore_acquire(&arena, semaphore_view(), AFTER(2000), &death);
    if (status == PSN_OWNER_DIED) {
        EQUAL(death.pid, outcome->child.pid);
        status = psn_semaphore_acquire(&arena, semaphore_view(), 0, &death);
    }
    OK(status);
    STATUS(psn_semaphore_acquire(&arena, semaphore_view(), 0, &death), PSN_TIMED_OUT);
    for (int i = 0; i < 2; i++)
        OK(psn_semaphore_release(&arena, semaphore_view()));
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        OK(psn_semaphore_release(&crowd[i], semaphore_view()));
    STATUS(psn_semaphore_release(&arena, semaphore_view()), PSN_NOT_HELD);
    psn_block_drop(&arena, semaphore);
}
static void death_in_leaving_a_permit_to_others(void) {
    play(&(struct scene){have_permit_of_an_earlier_process, take_and_release_one, verify_both_permits});
}

static void take_permit_and_die(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_death death;
    OK(psn_semaphore_acquire(view, semaphore_view(), 0, &death));
    kill_self();
}
static void have_permit_of_the_dead(void) {
    have_crowded_semaphore();
    victim = start_child(&arena, take_permit_and_die, NULL);
    reap(victim.pid);
}
static void sweep_the_victim(struct psn_arena *view, void *argument) {
    (void)argument;
    psn_process_sweep(view, victim.identity, true);
}
static void verify_told_once(const struct outcome *outcome) {
    (void)outcome;
    psn_process_sweep(&arena, victim.identity, true);
    struct outcome of_victim = {.child = victim};
    struct psn_death death;
    STATUS(psn_semaphore_acquire(&arena, semaphore_view(), 0, &death), PSN_OWNER_DIED);
    EQUAL(death.pid, victim.pid);
    STATUS(psn_semaphore_acquire(&arena, semaphore_view(), 0, &death), PSN_OK);
    OK(psn_semaphore_release(&arena, semaphore_view()));
    verify_crowded_semaphore(&of_victim);
}
static void death_in_giving_permits_of_the_dead_back(void) {
    play(&(struct scene){have_permit_of_the_dead, sweep_the_victim, verify_told_once});
}

/* ---- conditions ---- */

static struct psn_handle condition;
static struct psn_condition *condition_view(void) { return psn_at(&arena, condition.offset); }

static void have_condition(void) {
    OK(psn_block_allocate(&arena, PSN_CONDITION, sizeof(struct psn_condition), &condition));
    OK(psn_condition_init(condition_view()));
}
static void wait_and_be_notified(struct psn_arena *view, void *argument) {
    (void)argument;
    uint64_t first, second;
    psn_condition_begin(view, condition_view(), &first);
    psn_condition_begin(view, condition_view(), &second);
    psn_condition_notify(view, condition_view(), 1);
    OK(psn_condition_wait(view, condition_view(), first, 0));
    psn_condition_leave(view, condition_view(), second, true);
}
static void verify_condition(const struct outcome *outcome) {
    uint64_t ticket, later;
    psn_condition_begin(&arena, condition_view(), &ticket);
    psn_condition_notify(&arena, condition_view(), UINT32_MAX);
    OK(psn_condition_wait(&arena, condition_view(), ticket, 0));
    psn_process_sweep(&arena, outcome->child.identity, true);
    EQUAL(psn_condition_waiting(&arena, condition_view()), 0);
    psn_condition_begin(&arena, condition_view(), &ticket);
    psn_condition_begin(&arena, condition_view(), &later);
    psn_condition_notify(&arena, condition_view(), 1);
    OK(psn_condition_wait(&arena, condition_view(), ticket, 0));
    CHECK(!psn_condition_leave(&arena, condition_view(), later, false));
    psn_block_drop(&arena, condition);
}
static void death_in_waiting_and_notifying(void) {
    play(&(struct scene){have_condition, wait_and_be_notified, verify_condition});
}

static void have_crowded_condition(void) {
    uint64_t ticket;
    have_condition();
    gather_crowd();
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        psn_condition_begin(&crowd[i], condition_view(), &ticket);
    psn_condition_notify(&arena, condition_view(), PSN_COUNTS_HERE);
}
static void wait_among_many(struct psn_arena *view, void *argument) {
    (void)argument;
    uint64_t ticket;
    psn_condition_begin(view, condition_view(), &ticket);
    psn_condition_notify(view, condition_view(), 1);
    OK(psn_condition_wait(view, condition_view(), ticket, 0));
}
static void verify_crowded_condition(const struct outcome *outcome) {
    uint64_t ticket;
    psn_process_sweep(&arena, outcome->child.identity, true);
    EQUAL(condition_view()->waiting.total, PSN_COUNTS_HERE);
    for (int i = 0; i < PSN_COUNTS_HERE; i++)
        psn_condition_leave(&crowd[i], condition_view(), 0, true);
    EQUAL(condition_view()->waiting.total, 0);
    psn_condition_begin(&arena, condition_view(), &ticket);
    STATUS(psn_condition_wait(&arena, condition_view(), ticket, 0), PSN_TIMED_OUT);
    psn_block_drop(&arena, condition);
}
static void death_in_waiting_among_many(void) {
    play(&(struct scene){have_crowded_condition, wait_among_many, verify_crowded_condition});
}

/* ---- channels ---- */

static struct psn_handle channel, target;
static uint64_t expected_tail, expected_head;
static struct psn_channel *channel_view(void) { return psn_at(&arena, channel.offset); }

static struct psn_handle numbered_message(struct psn_arena *view, uint64_t number) {
    struct psn_handle message;
    OK(psn_message_allocate(view, 1, 8 + number % 7 * 300, &message));
    OK(psn_message_refer(view, message.offset, target));
    memcpy(psn_message_body(psn_at(view, message.offset)), &number, 8);
    return message;
}

static void put_numbered(struct psn_arena *view, uint64_t number) {
    if (number % 2)
        OK(psn_channel_put_message(view, channel.offset, 1, numbered_message(view, number), PSN_FOREVER));
    else
        OK(psn_channel_put(view, channel.offset, 0, &number, 8, PSN_FOREVER));
}

static uint64_t number_of(struct psn_arena *view, const struct psn_slot *slot) {
    uint64_t number;
    memcpy(&number, &slot->message, 8);
    EQUAL(slot->tag, slot->size == PSN_SLOT_MESSAGE);
    if (slot->size == PSN_SLOT_MESSAGE) {
        struct psn_block *block = psn_block_find(view, slot->message);
        CHECK(block && load_relaxed(&block->owner) == view->identity && load_relaxed(&block->home) == 0);
        memcpy(&number, psn_message_body(psn_at(view, slot->message.offset)), 8);
        psn_block_disown(view, slot->message);
    }
    return number;
}

static void have_channel_with(uint64_t limit, uint64_t passed, uint64_t queued) {
    OK(psn_block_allocate(&arena, PSN_DATA, 5000, &target));
    OK(psn_channel_create(&arena, limit, &channel));
    struct psn_slot slot;
    uint32_t taken;
    uint64_t first;
    for (uint64_t i = 0; i < passed; i++) {
        put_numbered(&arena, i);
        OK(psn_channel_take(&arena, channel.offset, 1, NULL, 0, 0, &slot, &taken, &first));
        number_of(&arena, &slot);
    }
    for (uint64_t i = 0; i < queued; i++)
        put_numbered(&arena, passed + i);
    expected_head = passed;
    expected_tail = passed + queued;
}

static void whole_channel(void) {
    const char *broken = psn_channel_check(&arena, channel.offset);
    if (broken)
        FAIL("after a death at instruction %" PRIu64 ": %s", now_at, broken);
}

/* Writers and readers go on, every message that is queued is the right one, and freeing the channel frees all. */
static void verify_channel(const struct outcome *outcome) {
    struct psn_channel *c = channel_view();
    uint64_t head = load_acquire(&c->head), tail = load_acquire(&c->tail);
    CHECK(head >= expected_head && tail >= expected_tail);
    if (outcome->steps % 3 == 0) { /* nobody comes by: it is only freed */
        psn_block_drop(&arena, channel);
    } else {
        if (outcome->steps % 3 == 1 && !load_relaxed(&c->is_closed)) {
            uint64_t put = tail;
            for (int i = 0; i < 3 && (!c->limit || put - head < c->limit); i++)
                put_numbered(&arena, put++);
            tail = put;
        }
        struct psn_slot slots[PSN_TAKE_LIMIT];
        uint32_t taken;
        for (uint64_t next = head, first; next < tail; next += taken) {
            OK(psn_channel_take(&arena, channel.offset, next % 5 + 1, NULL, 0, 0, slots, &taken, &first));
            EQUAL(first, next);
            for (uint32_t i = 0; i < taken; i++)
                EQUAL(number_of(&arena, &slots[i]), next + i);
        }
        EQUAL(psn_channel_count(c), 0);
        whole_channel();
        WHOLE(&arena);
        if (!load_relaxed(&c->is_closed))
            for (uint64_t i = 0; i < 2 && (!c->limit || i < c->limit); i++)
                put_numbered(&arena, tail + i);
        whole_channel();
        psn_block_drop(&arena, channel);
    }
    psn_process_sweep(&arena, outcome->child.identity, true);
    psn_process_sweep(&arena, victim.identity, true);
    EQUAL(load_relaxed(&psn_block_find(&arena, target)->pins), 0);
    psn_block_drop(&arena, target);
    if (outcome->steps % 16 == 0)
        expect_usable();
}

static void have_short_queue(void) { have_channel_with(0, 11, 5); }
static void put_next(struct psn_arena *view, void *argument) {
    (void)argument;
    put_numbered(view, expected_tail);
}
static void have_odd_tail(void) { have_channel_with(0, 11, 6); } /* the next is a block */
static void have_even_tail(void) { have_channel_with(3, 11, 1); } /* the next is inline, and there is a limit */
static void death_in_putting_a_block(void) { play(&(struct scene){have_odd_tail, put_next, verify_channel}); }
static void death_in_putting_an_inline_message(void) { play(&(struct scene){have_even_tail, put_next, verify_channel}); }

static void put_many(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_slot slots[40];
    uint32_t put;
    for (uint64_t i = 0; i < 40; i++) { /* verify_channel() knows those with even numbers as inline: here all are */
        uint64_t number = expected_tail + i;
        slots[i] = (struct psn_slot){.size = 8, .tag = 0};
        memcpy(&slots[i].message, &number, 8);
    }
    OK(psn_channel_put_many(view, channel.offset, slots, 40, PSN_FOREVER, &put));
    EQUAL(put, 40);
}
static void verify_all_or_none(const struct outcome *outcome) {
    uint64_t tail = load_acquire(&channel_view()->tail);
    CHECK(tail == expected_tail || tail == expected_tail + 40);
    CHECK(!outcome->is_complete || tail == expected_tail + 40);
    verify_channel(outcome);
}
static void have_nearly_full_ring(void) { have_channel_with(0, 37, 50); }
static void death_in_putting_many(void) { play(&(struct scene){have_short_queue, put_many, verify_all_or_none}); }
static void death_in_putting_more_than_the_ring_holds(void) {
    play(&(struct scene){have_nearly_full_ring, put_many, verify_all_or_none});
}

static void have_full_ring(void) { have_channel_with(0, 37, 64); }
static void death_in_growing_a_ring(void) { play(&(struct scene){have_full_ring, put_next, verify_channel}); }

static void take_some(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    struct psn_claim *claim = &psn_process_at(view, view->slot)->claim;
    OK(psn_channel_take(view, channel.offset, 4, claim, PSN_FOREVER, 0, slots, &taken, &first));
    EQUAL(taken, 4);
    EQUAL(first, expected_head);
}
static void verify_taken(const struct outcome *outcome) {
    struct psn_claim *claim = &psn_process_at(&arena, psn_identity_slot(outcome->child.identity))->claim;
    uint64_t head = load_acquire(&channel_view()->head);
    uint64_t from = load_acquire(&claim->from), to = load_acquire(&claim->to);
    CHECK(head == expected_head || head == expected_head + 4);
    bool has_taken = from < to && from < head;
    EQUAL(has_taken, head != expected_head);
    if (has_taken)
        CHECK(from == expected_head && to == expected_head + 4);
    if (outcome->is_complete)
        CHECK(has_taken);
    verify_channel(outcome);
    head = UINT64_MAX; /* whoever else has taken since: the claim does not speak of it */
    from = load_acquire(&claim->from), to = load_acquire(&claim->to);
    if (!has_taken && outcome->steps % 3)
        CHECK(from >= to);
}
static void death_in_taking_with_a_claim(void) { play(&(struct scene){have_short_queue, take_some, verify_taken}); }

static void have_room_to_shrink(void) {
    OK(psn_block_allocate(&arena, PSN_DATA, 5000, &target));
    OK(psn_channel_create(&arena, 0, &channel));
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    for (uint64_t i = 0; i < 4098; i++)
        if (i < 4090)
            OK(psn_channel_put(&arena, channel.offset, 0, &i, 8, 0));
        else
            put_numbered(&arena, i);
    for (uint64_t left = 4094; left; left -= taken)
        OK(psn_channel_take(&arena, channel.offset, left < 64 ? (uint32_t)left : 64, NULL, 0, 0, slots, &taken, &first));
    /* of the last taken two were blocks */
    for (uint32_t i = 0; i < taken; i++)
        if (slots[i].size == PSN_SLOT_MESSAGE)
            psn_block_disown(&arena, slots[i].message);
    expected_head = 4094;
    expected_tail = 4098;
    EQUAL(load_relaxed(&channel_view()->ring) & 63, 13);
}
static void death_in_shrinking_a_ring(void) { play(&(struct scene){have_room_to_shrink, take_some, verify_channel}); }

static void free_channel(struct psn_arena *view, void *argument) {
    (void)argument;
    drop_for_both(view, channel);
}
static void verify_freed(const struct outcome *outcome) {
    psn_block_drop(&arena, channel);
    psn_process_sweep(&arena, outcome->child.identity, true);
    CHECK(psn_block_find(&arena, channel) == NULL);
    EQUAL(load_relaxed(&psn_block_find(&arena, target)->pins), 0);
    psn_block_drop(&arena, target);
    expect_usable();
}
static void death_in_freeing_a_channel_with_messages(void) {
    play(&(struct scene){have_short_queue, free_channel, verify_freed});
}

static void create_channel(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_handle created;
    OK(psn_channel_create(view, 0, &created));
}
static void death_in_creating_a_channel(void) { play(&(struct scene){nothing, create_channel, verify_usable}); }

static void close_channel(struct psn_arena *view, void *argument) {
    (void)argument;
    psn_channel_close(view, channel.offset);
}
static void death_in_closing_a_channel(void) { play(&(struct scene){have_short_queue, close_channel, verify_channel}); }

static void repair_and_go_on(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    put_numbered(view, load_relaxed(&channel_view()->tail));
    OK(psn_channel_take(view, channel.offset, 2, NULL, 0, 0, slots, &taken, &first));
}
/* A first process dies with the mutexes, half through a change of the ring or with an uncommitted message; the second is
   killed while it repairs. */
static void die_in_change(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_channel *c = channel_view();
    OK(psn_mutex_lock(&c->put_mutex));
    OK(psn_mutex_lock(&c->get_mutex));
    struct psn_handle ring;
    OK(psn_block_allocate_owned(view, PSN_RING, sizeof(struct psn_ring_slot) << 7, &ring));
    memset(psn_at(view, ring.offset), 0xff, sizeof(struct psn_ring_slot) << 7);
    uint64_t old = load_relaxed(&c->ring);
    struct psn_ring_slot *from = psn_at(view, old & ~UINT64_C(63)), *to = psn_at(view, ring.offset);
    for (uint64_t i = load_relaxed(&c->head); i < load_relaxed(&c->tail); i++)
        to[i & 127] = from[i & 63];
    c->old_ring = old;
    c->new_ring = ring.offset | 7;
    store_relaxed(&psn_block_of(view, ring.offset)->home, channel.offset);
    if (expected_head % 2)
        store_release(&c->ring, ring.offset | 7);
    kill_self();
}
static uint64_t variant;
static void have_half_changed_ring(void) {
    have_channel_with(0, variant++ % 2 + 10, 6);
    victim = start_child(&arena, die_in_change, NULL);
    reap(victim.pid);
}
static void death_in_repairing_a_half_changed_ring(void) {
    play(&(struct scene){have_half_changed_ring, repair_and_go_on, verify_channel});
}

static void die_before_commit(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_channel *c = channel_view();
    OK(psn_mutex_lock(&c->put_mutex));
    uint64_t tail = load_relaxed(&c->tail);
    struct psn_handle message = numbered_message(view, tail);
    struct psn_ring_slot *s = (struct psn_ring_slot *)psn_at(view, load_relaxed(&c->ring) & ~UINT64_C(63)) + (tail & 63);
    s->slot = (struct psn_slot){.size = PSN_SLOT_MESSAGE, .tag = 1, .message = message};
    s->position = tail;
    struct psn_block *block = psn_block_of(view, message.offset);
    block->next = tail;
    store_seq_cst(&block->home, channel.offset);
    if (tail % 2)
        store_seq_cst(&block->owner, 0);
    kill_self();
}
static void have_uncommitted_message(void) {
    have_channel_with(0, variant++ % 2 + 10, 6);
    victim = start_child(&arena, die_before_commit, NULL);
    reap(victim.pid);
}
static void death_in_repairing_an_uncommitted_put(void) {
    play(&(struct scene){have_uncommitted_message, repair_and_go_on, verify_channel});
}

/* ---- ledgers ---- */

static struct psn_handle ledger;
static uint32_t taken_before; /* by those who live */
static struct psn_ledger *ledger_view(void) { return psn_at(&arena, ledger.offset); }

static void have_ledger(void) {
    have_channel_with(0, 11, 3);
    OK(psn_ledger_create(&arena, channel, &ledger));
    taken_before = 0;
}
static void take_one_noted(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_slot slot;
    OK(psn_ledger_take(view, ledger_view(), 0, 0, &slot));
}
static void take_noted_and_say_done(struct psn_arena *view, void *argument) {
    take_one_noted(view, argument);
    OK(psn_ledger_done(view, ledger_view()));
}
/* What is queued, what is lost and what is done are three together; an odd message that was taken is told of once. */
static void verify_ledger(const struct outcome *outcome) {
    struct psn_death death;
    struct psn_slot slot;
    uint32_t lost, queued = 0, told = 0;
    while (psn_ledger_take(&arena, ledger_view(), 0, 0, &slot) == PSN_OK) {
        if (slot.size == PSN_SLOT_MESSAGE)
            psn_block_disown(&arena, slot.message);
        OK(psn_ledger_done(&arena, ledger_view()));
        queued++;
    }
    psn_process_sweep(&arena, outcome->child.identity, true);
    EQUAL(psn_ledger_unfinished(&arena, ledger_view()), taken_before);
    while (psn_ledger_join(&arena, ledger_view(), 0, &death, &lost) == PSN_OWNER_DIED) {
        EQUAL(death.pid, outcome->child.pid);
        told += lost;
    }
    CHECK(queued == 3 || queued == 2);
    if (scene->act == take_one_noted)
        EQUAL(told, 3 - queued);
    else
        CHECK(told <= 3 - queued);
    EQUAL(ledger_view()->taken.total, taken_before);
    EQUAL(ledger_view()->taken.others, 0);
    EQUAL(ledger_view()->noted, load_relaxed(&channel_view()->head));
    psn_block_drop(&arena, ledger);
    psn_process_sweep(&arena, outcome->child.identity, true);
    psn_block_drop(&arena, channel);
    psn_block_drop(&arena, target);
}
static void death_in_taking_what_is_noted(void) {
    play(&(struct scene){have_ledger, take_one_noted, verify_ledger});
    play(&(struct scene){have_ledger, take_noted_and_say_done, verify_ledger});
}

static void have_crowded_ledger(void) {
    have_ledger();
    struct psn_slot slot;
    gather_crowd();
    for (int i = 0; i < PSN_COUNTS_HERE; i++) {
        OK(psn_channel_put(&arena, channel.offset, 0, "x", 1, 0));
        OK(psn_ledger_take(&crowd[i], ledger_view(), 0, 0, &slot));
        if (slot.size == PSN_SLOT_MESSAGE)
            psn_block_disown(&crowd[i], slot.message);
    }
    taken_before = PSN_COUNTS_HERE;
}
static void death_in_taking_what_is_noted_in_a_table(void) {
    play(&(struct scene){have_crowded_ledger, take_one_noted, verify_ledger});
}

static void take_two_and_die(struct psn_arena *view, void *argument) {
    take_one_noted(view, argument);
    take_one_noted(view, argument);
    kill_self();
}
static void have_taker_that_died(void) {
    have_ledger();
    victim = start_child(&arena, take_two_and_die, NULL);
    reap(victim.pid);
    OK(psn_ledger_done(&arena, ledger_view())); /* by one who has taken none: of the dead one's two */
}
static void verify_written_off(const struct outcome *outcome) {
    struct psn_death death;
    struct psn_slot slot;
    uint32_t lost;
    psn_process_sweep(&arena, victim.identity, true);
    STATUS(psn_ledger_join(&arena, ledger_view(), 0, &death, &lost), PSN_OWNER_DIED);
    EQUAL(death.pid, victim.pid);
    EQUAL(lost, 1);
    STATUS(psn_ledger_join(&arena, ledger_view(), 0, &death, &lost), PSN_TIMED_OUT);
    OK(psn_ledger_take(&arena, ledger_view(), 0, 0, &slot));
    if (slot.size == PSN_SLOT_MESSAGE)
        psn_block_disown(&arena, slot.message);
    OK(psn_ledger_done(&arena, ledger_view()));
    OK(psn_ledger_join(&arena, ledger_view(), 0, &death, &lost));
    psn_block_drop(&arena, ledger);
    psn_process_sweep(&arena, outcome->child.identity, true);
    psn_block_drop(&arena, channel);
    psn_block_drop(&arena, target);
}
static void death_in_writing_off_what_the_dead_had_taken(void) {
    play(&(struct scene){have_taker_that_died, sweep_the_victim, verify_written_off});
}

/* ---- sweeping ---- */

static void hold_much_and_die(struct psn_arena *view, void *argument) {
    (void)argument;
    struct psn_death death;
    struct psn_handle handle;
    OK(psn_block_allocate(view, PSN_DATA, 100, &handle));
    OK(psn_block_allocate(view, PSN_DATA, 40000, &handle));
    numbered_message(view, 3);
    OK(psn_lock_acquire(view, lock_view(), 0, &death));
    OK(psn_semaphore_acquire(view, semaphore_view(), 0, &death));
    OK(psn_channel_create(view, 0, &handle));
    struct psn_handle kept = channel;
    channel = handle;
    put_numbered(view, 1);
    channel = kept;
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    OK(psn_channel_take(view, channel.offset, 2, NULL, 0, 0, slots, &taken, &first));
    kill_self();
}
static void have_rich_victim(void) {
    have_short_queue();
    have_lock();
    have_semaphore();
    victim = start_child(&arena, hold_much_and_die, NULL);
    reap(victim.pid);
    expected_head += 2;
}
static void verify_swept(const struct outcome *outcome) {
    psn_process_sweep(&arena, victim.identity, true);
    struct psn_death death;
    STATUS(psn_lock_acquire(&arena, lock_view(), 0, &death), PSN_OWNER_DIED);
    EQUAL(death.pid, victim.pid);
    OK(psn_lock_acquire(&arena, lock_view(), 0, &death));
    psn_block_drop(&arena, lock);
    struct outcome of_victim = {.steps = outcome->steps, .child = victim};
    verify_semaphore(&of_victim);
    verify_channel(outcome);
}
static void death_in_sweeping_the_dead(void) { play(&(struct scene){have_rich_victim, sweep_the_victim, verify_swept}); }

/* ---- the kernel's robust mutex ---- */

struct queue_for_mutex {
    struct psn_mutex mutex;
    psn_a32 has_waiter;
    psn_a32 is_through;
    psn_a32 is_locked;
};
static struct queue_for_mutex *q;

/* A releases, stopped and then killed at each instruction; B sleeps in the mutex; C takes it in that instant and releases.
   B must get it. */
static void a_waiter_gets_a_mutex_whose_holder_is_killed_while_it_releases(void) {
    if (!CAN_STEP)
        return;
    make_arena(&arena, 64);
    q = shared_page();
    bool is_complete = false;
    for (uint64_t steps = 1; !is_complete; steps++) {
        memset(q, 0, sizeof *q);
        OK(psn_mutex_init(&q->mutex));
        pid_t a = fork();
        if (a == 0) {
            OK(psn_mutex_lock(&q->mutex));
            store_seq_cst(&q->is_locked, 1);
            while (!load_seq_cst(&q->has_waiter))
                sched_yield();
            usleep(1500); /* it sleeps by now */
            at_the_end = SIGSTOP;
            start_stepping(steps);
            psn_mutex_unlock(&q->mutex);
            stop_stepping();
            _exit(0);
        }
        while (!load_seq_cst(&q->is_locked))
            sched_yield();
        pid_t b = fork();
        if (b == 0) {
            store_seq_cst(&q->has_waiter, 1);
            psn_status status = psn_mutex_lock(&q->mutex);
            if (status == PSN_OWNER_DIED)
                psn_mutex_repaired(&q->mutex);
            psn_mutex_unlock(&q->mutex);
            store_seq_cst(&q->is_through, 1);
            _exit(0);
        }
        int status;
        CHECK(waitpid(a, &status, WUNTRACED) == a);
        is_complete = WIFEXITED(status);
        psn_status mine_now = psn_mutex_trylock(&q->mutex);
        if (!is_complete) {
            kill(a, SIGKILL);
            reap(a);
        }
        if (mine_now == PSN_OK)
            psn_mutex_unlock(&q->mutex);
        now_at = steps;
        uint64_t end_ns = AFTER(2000);
        while (!load_seq_cst(&q->is_through)) {
            if (psn_clock_ns() > end_ns)
                FAIL("a waiter sleeps for ever after a death at instruction %" PRIu64 " of a release", steps);
            usleep(100);
        }
        reap(b);
    }
}

static const struct test tests[] = {
    LONG_TEST(a_waiter_gets_a_mutex_whose_holder_is_killed_while_it_releases, 600),
    LONG_TEST(death_in_allocating_a_small_block, 600),
    LONG_TEST(death_in_making_a_slab, 600),
    LONG_TEST(death_in_splitting_a_run, 600),
    LONG_TEST(death_in_taking_pages_from_the_top_and_giving_them_back, 600),
    LONG_TEST(death_in_freeing_and_joining_runs, 600),
    LONG_TEST(death_in_trimming, 600),
    LONG_TEST(death_in_freeing_small_blocks_and_their_slab, 600),
    LONG_TEST(death_in_holding_and_dropping_in_a_high_slot, 600),
    LONG_TEST(death_in_making_and_freeing_a_message_with_references, 600),
    LONG_TEST(death_in_rebuilding_after_a_death, 600),
    LONG_TEST(death_in_starting_a_process, 600),
    LONG_TEST(death_in_taking_and_releasing_a_lock, 600),
    LONG_TEST(death_in_freeing_the_lock_of_the_dead, 600),
    LONG_TEST(death_in_taking_and_releasing_permits, 600),
    LONG_TEST(death_in_giving_a_signal, 600),
    LONG_TEST(death_in_waiting_and_notifying, 600),
    LONG_TEST(death_in_waiting_among_many, 600),
    LONG_TEST(death_in_taking_a_permit_that_needs_a_table, 600),
    LONG_TEST(death_in_leaving_a_permit_to_others, 600),
    LONG_TEST(death_in_giving_permits_of_the_dead_back, 600),
    LONG_TEST(death_in_putting_a_block, 600),
    LONG_TEST(death_in_putting_an_inline_message, 600),
    LONG_TEST(death_in_putting_many, 600),
    LONG_TEST(death_in_putting_more_than_the_ring_holds, 600),
    LONG_TEST(death_in_growing_a_ring, 600),
    LONG_TEST(death_in_taking_with_a_claim, 600),
    LONG_TEST(death_in_shrinking_a_ring, 600),
    LONG_TEST(death_in_freeing_a_channel_with_messages, 600),
    LONG_TEST(death_in_creating_a_channel, 600),
    LONG_TEST(death_in_closing_a_channel, 600),
    LONG_TEST(death_in_repairing_a_half_changed_ring, 600),
    LONG_TEST(death_in_repairing_an_uncommitted_put, 600),
    LONG_TEST(death_in_taking_what_is_noted, 600),
    LONG_TEST(death_in_taking_what_is_noted_in_a_table, 600),
    LONG_TEST(death_in_writing_off_what_the_dead_had_taken, 600),
    LONG_TEST(death_in_sweeping_the_dead, 600),
};
RUN_TESTS(tests)
