/* test_platform.c: waiting and waking, robust mutexes, bells, and the lives of processes. */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* ---- waiting ---- */

static void a_wake_with_nobody_waiting_does_nothing(void) {
    struct psn_waitable *w = shared_page();
    psn_wake_one(w);
    psn_wake_all(w);
    EQUAL(load_relaxed(&w->sequence), 0);
    EQUAL(load_relaxed(&w->waiters), 0);
}

static void a_wake_between_prepare_and_commit_is_not_lost(void) {
    struct psn_waitable *w = shared_page();
    uint32_t ticket = psn_wait_prepare(w);
    psn_wake_one(w);
    OK(psn_wait_commit(w, ticket, PSN_FOREVER));
    ticket = psn_wait_prepare(w);
    psn_wake_all(w);
    OK(psn_wait_commit(w, ticket, PSN_FOREVER));
    EQUAL(load_relaxed(&w->waiters), 0);
}

static void a_wait_ends_at_its_deadline(void) {
    struct psn_waitable *w = shared_page();
    uint64_t start_ns = psn_clock_ns();
    STATUS(psn_wait_commit(w, psn_wait_prepare(w), start_ns + 40 * MS), PSN_TIMED_OUT);
    CHECK(psn_clock_ns() >= start_ns + 40 * MS && psn_clock_ns() < start_ns + 400 * MS);
    STATUS(psn_wait_commit(w, psn_wait_prepare(w), 1), PSN_TIMED_OUT);
}

static void waiters_that_went_away_are_forgotten_by_the_next_wake(void) {
    struct psn_waitable *w = shared_page();
    for (int i = 0; i < 5; i++)
        STATUS(psn_wait_commit(w, psn_wait_prepare(w), psn_clock_ns()), PSN_TIMED_OUT);
    EQUAL(load_relaxed(&w->waiters), 5);
    psn_wake_one(w);
    EQUAL(load_relaxed(&w->waiters), 0);
}

static void ignore_signal(int number) { (void)number; }

static void *interrupt_soon(void *thread) {
    for (int i = 0; i < 20; i++) {
        usleep(5000);
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
    }
    return NULL;
}

static void a_signal_interrupts_a_wait(void) {
    struct psn_waitable *w = shared_page();
    struct sigaction action = {.sa_handler = ignore_signal}; /* as Python sets them: without SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
    pthread_t self = pthread_self(), other;
    pthread_create(&other, NULL, interrupt_soon, &self);
    STATUS(psn_wait_commit(w, psn_wait_prepare(w), PSN_FOREVER), PSN_INTERRUPTED);
    pthread_join(other, NULL);
}

/* A counting gate: tokens are given one by one, and each must be found by somebody though nobody looks but when woken. */
struct gate {
    struct psn_waitable w;
    psn_a32 tokens;
    psn_a32 taken;
    psn_a32 to_give;
    uint32_t total;
    uint32_t use_deadlines;
};

static bool take_token(struct gate *gate) {
    uint32_t tokens = load_seq_cst(&gate->tokens);
    while (tokens)
        if (cas32_seq_cst(&gate->tokens, &tokens, tokens - 1)) {
            add_seq_cst(&gate->taken, 1);
            return true;
        }
    return false;
}

static void give_or_take(struct psn_arena *arena, void *argument) {
    struct gate *gate = argument;
    uint64_t random = (uint64_t)arena->identity * 31337 + 7;
    if (arena->identity % 2) {
        for (;;) {
            uint32_t left = load_seq_cst(&gate->to_give);
            do {
                if (left == 0)
                    return;
            } while (!cas32_seq_cst(&gate->to_give, &left, left - 1));
            add_seq_cst(&gate->tokens, 1);
            psn_wake_one(&gate->w);
            if (next_random(&random) % 16 == 0)
                usleep(20);
        }
    }
    while (load_seq_cst(&gate->taken) < gate->total) {
        if (take_token(gate))
            continue;
        uint32_t ticket = psn_wait_prepare(&gate->w);
        if (load_seq_cst(&gate->taken) >= gate->total)
            break;
        if (take_token(gate))
            continue;
        /* Only the last waiter of all is let out by wake_all.  With deadlines, so many waiters go away that the count
           is reset again and again; without, a lost wake-up hangs. */
        uint64_t deadline_ns = gate->use_deadlines && next_random(&random) % 2 ? psn_clock_ns() + 20000 : AFTER(3000);
        uint64_t start_ns = psn_clock_ns();
        if (psn_wait_commit(&gate->w, ticket, deadline_ns) == PSN_TIMED_OUT && psn_clock_ns() - start_ns > 2500 * MS)
            FAIL("a wake-up was lost: %u of %u taken, %u there", load_relaxed(&gate->taken), gate->total,
                 load_relaxed(&gate->tokens));
    }
    psn_wake_all(&gate->w);
}

static void check_gate(bool threads, uint32_t total, uint32_t use_deadlines) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct gate *gate = shared_page();
    gate->use_deadlines = use_deadlines;
    gate->total = total;
    store_seq_cst(&gate->to_give, total);
    (threads ? in_threads : in_processes)(&arena, 6, give_or_take, gate);
    EQUAL(load_seq_cst(&gate->tokens), 0);
    EQUAL(load_seq_cst(&gate->taken), total);
}

static void threads_lose_no_wake_up(void) { check_gate(true, 20000, 0); }
static void threads_lose_no_wake_up_among_those_who_give_up(void) { check_gate(true, 20000, 1); }
static void processes_lose_no_wake_up(void) { check_gate(false, 100000, 0); }
static void processes_lose_no_wake_up_among_those_who_give_up(void) { check_gate(false, 100000, 1); }

/* ---- robust mutex ---- */

static void lock_and_die(struct psn_arena *arena, void *argument) {
    (void)arena;
    psn_status status = psn_mutex_lock(argument);
    CHECK(status == PSN_OK || status == PSN_OWNER_DIED);
    kill_self();
}

static void the_next_locker_learns_of_a_dead_holder_until_it_is_repaired(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_mutex *mutex = shared_page();
    OK(psn_mutex_init(mutex));
    OK(psn_mutex_lock(mutex));
    psn_mutex_unlock(mutex);
    for (int deaths = 1; deaths <= 3; deaths++) {
        for (int i = 0; i < deaths; i++)
            reap(start_child(&arena, lock_and_die, mutex).pid);
        STATUS(deaths % 2 ? psn_mutex_lock(mutex) : psn_mutex_trylock(mutex), PSN_OWNER_DIED);
        psn_mutex_repaired(mutex);
        psn_mutex_unlock(mutex);
        OK(psn_mutex_trylock(mutex));
        psn_mutex_unlock(mutex);
    }
}

static void try_lock(struct psn_arena *arena, void *argument) {
    (void)arena;
    STATUS(psn_mutex_trylock(argument), PSN_FULL);
}

static void trylock_of_a_held_mutex_is_full(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_mutex *mutex = shared_page();
    OK(psn_mutex_init(mutex));
    OK(psn_mutex_lock(mutex));
    finish_child(&arena, start_child(&arena, try_lock, mutex));
    psn_mutex_unlock(mutex);
}

struct guarded {
    struct psn_mutex mutex;
    uint64_t count; /* not atomic */
    uint64_t rounds;
};

static void count_under_mutex(struct psn_arena *arena, void *argument) {
    (void)arena;
    struct guarded *guarded = argument;
    for (uint64_t i = 0; i < guarded->rounds; i++) {
        OK(psn_mutex_lock(&guarded->mutex));
        guarded->count++;
        psn_mutex_unlock(&guarded->mutex);
    }
}

static void check_mutex(bool threads, uint64_t rounds) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct guarded *guarded = shared_page();
    OK(psn_mutex_init(&guarded->mutex));
    guarded->rounds = rounds;
    (threads ? in_threads : in_processes)(&arena, 4, count_under_mutex, guarded);
    EQUAL(guarded->count, 4 * rounds);
}

static void threads_count_exactly_under_a_mutex(void) { check_mutex(true, 10000); }
static void processes_count_exactly_under_a_mutex(void) { check_mutex(false, 100000); }

/* ---- bell ---- */

static bool rings(int fd, int wait_ms) {
    struct pollfd at = {.fd = fd, .events = POLLIN};
    return poll(&at, 1, wait_ms) == 1;
}

static void ring(struct psn_arena *arena, void *argument) {
    (void)arena;
    for (int i = 0; i < 1000; i++) /* more than it can hold */
        psn_bell_ring(*(uint64_t *)argument);
}

static void a_bell_is_heard_from_any_process_until_it_is_cleared(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    int fd, other;
    uint64_t name, other_name;
    OK(psn_bell_create(&fd, &name));
    OK(psn_bell_create(&other, &other_name));
    CHECK(name != 0 && name != other_name);
    CHECK(!rings(fd, 0));
    finish_child(&arena, start_child(&arena, ring, &name));
    CHECK(rings(fd, 1000));
    CHECK(!rings(other, 0));
    psn_bell_clear(fd);
    CHECK(!rings(fd, 0));
    psn_bell_clear(fd);
    psn_bell_ring(name);
    CHECK(rings(fd, 0));
}

static void ringing_a_bell_that_is_gone_does_nothing(void) {
    int fd;
    uint64_t name;
    OK(psn_bell_create(&fd, &name));
    close(fd);
    errno = 77;
    psn_bell_ring(name);
    psn_bell_ring(0);
    EQUAL(errno, 77);
}

/* ---- processes ---- */

static void a_process_is_alive_until_it_ends_and_not_as_a_zombie(void) {
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    uint64_t started = psn_process_started((uint32_t)pid);
    CHECK(started != 0);
    CHECK(psn_process_is_alive((uint32_t)pid, started));
    CHECK(psn_process_is_alive((uint32_t)pid, 0));
    CHECK(!psn_process_is_alive((uint32_t)pid, started + 1)); /* its pid was another's */
    CHECK(!psn_process_is_alive(0, 0));
    kill(pid, SIGKILL);
    UNTIL(!psn_process_is_alive((uint32_t)pid, started));
    UNTIL(psn_process_exitcode((uint32_t)pid, started) == -SIGKILL);
    EQUAL(psn_process_exitcode((uint32_t)pid, started + 1), PSN_EXIT_UNKNOWN);
    reap(pid);
    EQUAL(psn_process_exitcode((uint32_t)pid, started), PSN_EXIT_UNKNOWN);
    CHECK(!psn_process_is_alive((uint32_t)pid, started));
    EQUAL(psn_process_started((uint32_t)pid), 0);
    CHECK(psn_process_is_alive((uint32_t)getpid(), psn_process_started((uint32_t)getpid())));
    EQUAL(psn_process_exitcode((uint32_t)getpid(), 0), PSN_EXIT_UNKNOWN);
    pid = fork();
    if (pid == 0)
        _exit(3);
    UNTIL(psn_process_exitcode((uint32_t)pid, 0) == 3);
    reap(pid);
}

static void a_name_with_brackets_and_spaces_hides_no_start_time(void) {
    uint64_t started = psn_process_started((uint32_t)getpid());
    prctl(PR_SET_NAME, ") 1 2) (3", 0, 0, 0);
    EQUAL(psn_process_started((uint32_t)getpid()), started);
}

static void a_process_lives_while_one_of_its_threads_does(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, (void *(*)(void *))(void (*)(void))pause, NULL);
        CHECK(write(ends[1], "", 1) == 1);
        pthread_exit(NULL); /* the leader is a zombie now */
    }
    char byte;
    CHECK(read(ends[0], &byte, 1) == 1);
    usleep(20000);
    CHECK(psn_process_is_alive((uint32_t)pid, psn_process_started((uint32_t)pid)));
    kill(pid, SIGKILL);
    UNTIL(!psn_process_is_alive((uint32_t)pid, 0));
    reap(pid);
}

static void thread_ids_are_right_in_threads_and_forked_children(void) {
    CHECK(psn_thread_id() == (uint32_t)gettid());
    pid_t pid = fork();
    if (pid == 0)
        _exit(psn_thread_id() != (uint32_t)gettid());
    EQUAL(reap(pid), 0);
    CHECK(psn_thread_id() == (uint32_t)gettid());
}

/* A family whose pids are written down: parent -> child -> grandchildren. */
struct family {
    psn_a32 child;
    psn_a32 grandchildren[3];
    psn_a32 ready;
};

static _Noreturn void stay(void) {
    for (;;)
        pause();
}

static _Noreturn void be_child(struct family *family, uint32_t parent) {
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0)
            stay();
        store_seq_cst(&family->grandchildren[i], (uint32_t)pid);
    }
    store_seq_cst(&family->child, (uint32_t)getpid());
    if (parent)
        OK(psn_die_with_parent(parent));
    store_seq_cst(&family->ready, 1);
    stay();
}

static void expect_extinct(struct family *family) {
    UNTIL(!psn_process_is_alive(load_seq_cst(&family->child), 0));
    for (int i = 0; i < 3; i++)
        UNTIL(!psn_process_is_alive(load_seq_cst(&family->grandchildren[i]), 0));
}

static void a_child_dies_with_its_parent_and_takes_its_own_along(void) {
    struct family *family = shared_page();
    pid_t parent = fork();
    if (parent == 0) {
        uint32_t self = (uint32_t)getpid();
        if (fork() == 0)
            be_child(family, self);
        stay();
    }
    UNTIL(load_seq_cst(&family->ready));
    usleep(20000);
    CHECK(psn_process_is_alive(load_seq_cst(&family->child), 0));
    kill(parent, SIGKILL);
    reap(parent);
    expect_extinct(family);
}

static void a_child_whose_parent_is_gone_already_dies_at_once(void) {
    struct family *family = shared_page();
    pid_t parent = fork();
    if (parent == 0) {
        uint32_t self = (uint32_t)getpid();
        if (fork() == 0) {
            while (getppid() == (pid_t)self)
                usleep(100);
            be_child(family, self);
        }
        _exit(0);
    }
    reap(parent);
    UNTIL(load_seq_cst(&family->child));
    expect_extinct(family);
    EQUAL(load_seq_cst(&family->ready), 0);
}

static void *fork_a_child(void *argument) {
    uint32_t self = (uint32_t)getpid();
    if (fork() == 0)
        be_child(argument, self);
    UNTIL(load_seq_cst(&((struct family *)argument)->ready));
    return NULL; /* this thread ends; the process does not */
}

static void a_child_outlives_the_thread_that_forked_it(void) {
    struct family *family = shared_page();
    pid_t parent = fork();
    if (parent == 0) {
        for (int i = 0; i < 2; i++) {
            pthread_t thread;
            store_seq_cst(&family->ready, 0);
            pthread_create(&thread, NULL, fork_a_child, family);
            pthread_join(thread, NULL);
            usleep(100000);
            CHECK(psn_process_is_alive(load_seq_cst(&family->child), 0));
        }
        stay();
    }
    usleep(300000);
    CHECK(psn_process_is_alive((uint32_t)parent, 0));
    CHECK(psn_process_is_alive(load_seq_cst(&family->child), 0));
    CHECK(psn_process_is_alive(load_seq_cst(&family->grandchildren[2]), 0));
    kill(parent, SIGKILL);
    reap(parent);
    expect_extinct(family);
}

static void all_descendants_are_killed_and_nobody_else(void) {
    struct family *family = shared_page(), *other = shared_page();
    pid_t parent = fork();
    if (parent == 0) {
        if (fork() == 0)
            be_child(family, 0);
        stay();
    }
    if (fork() == 0)
        be_child(other, 0);
    UNTIL(load_seq_cst(&family->ready) && load_seq_cst(&other->ready));
    psn_kill_descendants((uint32_t)parent);
    expect_extinct(family);
    CHECK(psn_process_is_alive((uint32_t)parent, 0));
    CHECK(psn_process_is_alive(load_seq_cst(&other->child), 0));
    psn_kill_descendants((uint32_t)getpid());
    expect_extinct(other);
    UNTIL(!psn_process_is_alive((uint32_t)parent, 0));
}

static void more_children_than_one_read_can_name_are_killed(void) {
    pid_t parent = fork();
    psn_a32 *ready = shared_page();
    enum { COUNT = 1000 };
    if (parent == 0) {
        uint32_t *pids = (uint32_t *)(ready + 1);
        for (int i = 0; i < COUNT; i++) {
            pid_t pid = fork();
            if (pid == 0)
                stay();
            CHECK(pid > 0);
            if (i < 1000)
                pids[i] = (uint32_t)pid;
        }
        psn_kill_descendants((uint32_t)getpid());
        for (int i = 0; i < COUNT; i++)
            CHECK(WIFSIGNALED(reap((pid_t)pids[i])));
        _exit(0);
    }
    EQUAL(reap(parent), 0);
}

static void a_sibling_is_a_child_of_the_callers_parent(void) {
    psn_a32 *pids = shared_page();
    pid_t forker = fork();
    if (forker == 0) {
        int pid;
        OK(psn_fork_sibling(&pid));
        if (pid == 0) {
            CHECK(psn_thread_id() == (uint32_t)gettid());
            store_seq_cst(&pids[1], (uint32_t)getppid());
            store_seq_cst(&pids[0], (uint32_t)getpid());
            void *memory = malloc(100000);
            free(memory);
            _exit(42);
        }
        _exit(pid > 0 ? 0 : 1);
    }
    EQUAL(reap(forker), 0);
    UNTIL(load_seq_cst(&pids[0]));
    EQUAL(load_seq_cst(&pids[1]), getpid());
    int status = reap((pid_t)load_seq_cst(&pids[0]));
    EQUAL(WEXITSTATUS(status), 42);
}

static void *lock_in_thread(void *mutex) {
    OK(psn_mutex_lock(mutex));
    psn_mutex_unlock(mutex);
    return NULL;
}

static void a_sibling_is_robust_forks_and_runs_threads(void) {
    struct shared {
        struct psn_mutex mutex;
        psn_a32 pid;
    } *shared = shared_page();
    OK(psn_mutex_init(&shared->mutex));
    for (int round = 0; round < 5; round++) {
        store_seq_cst(&shared->pid, 0);
        pid_t forker = fork();
        if (forker == 0) {
            int pid;
            OK(psn_mutex_lock(&shared->mutex));
            psn_mutex_unlock(&shared->mutex);
            OK(psn_fork_sibling(&pid));
            if (pid)
                _exit(0);
            pthread_t thread;
            EQUAL(pthread_create(&thread, NULL, lock_in_thread, &shared->mutex), 0);
            EQUAL(pthread_join(thread, NULL), 0);
            pid_t own = fork();
            if (own == 0)
                _exit(psn_thread_id() != (uint32_t)gettid());
            EQUAL(reap(own), 0);
            OK(psn_mutex_lock(&shared->mutex));
            store_seq_cst(&shared->pid, (uint32_t)getpid());
            stay();
        }
        reap(forker);
        UNTIL(load_seq_cst(&shared->pid));
        STATUS(psn_mutex_trylock(&shared->mutex), PSN_FULL);
        kill((pid_t)load_seq_cst(&shared->pid), SIGKILL);
        reap((pid_t)load_seq_cst(&shared->pid));
        STATUS(psn_mutex_lock(&shared->mutex), PSN_OWNER_DIED);
        psn_mutex_repaired(&shared->mutex);
        psn_mutex_unlock(&shared->mutex);
    }
}

/* ---- memory ---- */

static void large_copies_copy_every_byte_and_no_more(void) {
    static uint8_t source[(3 << 20) + 64], target[(3 << 20) + 64];
    uint64_t random = 99;
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)next_random(&random);
    static const size_t sizes[] = {0, 1, 63, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 77, 3 << 20};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t shift = 0; shift < 33; shift += 11) {
            memset(target, 0xaa, sizeof target);
            psn_copy_past_caches(target + shift, source + 3, sizes[s]);
            CHECK(memcmp(target + shift, source + 3, sizes[s]) == 0);
            CHECK(target[shift + sizes[s]] == 0xaa);
            CHECK(shift == 0 || target[shift - 1] == 0xaa);
        }
}

static void memory_is_written_and_discarded(void) {
    int fd;
    uint8_t *base;
    OK(psn_memory_create(1 << 20, &fd));
    OK(psn_memory_map(fd, 1 << 20, &base));
    CHECK(psn_memory_map(fd, 2 << 20, &base) != PSN_OK);
    OK(psn_memory_write(fd, 5000, "hello", 5));
    CHECK(memcmp(base + 5000, "hello", 5) == 0);
    psn_memory_discard(fd, 4096, 4096);
    EQUAL(base[5000], 0);
    CHECK(psn_memory_write(999, 0, "hello", 5) != PSN_OK);
    CHECK(psn_memory_total() > 1 << 20);
}

/* ---- packets ---- */

static uint8_t packet_room[PSN_PACKET_ROOM];

static void packets_arrive_whole_and_the_end_is_seen(void) {
    int ends[2];
    struct psn_packet packet;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    OK(psn_packet_send(ends[0], 7, "abc", 3));
    OK(psn_packet_send(ends[0], 0, "", 0));
    OK(psn_packet_receive(ends[1], packet_room, &packet));
    EQUAL(packet.size, 4);
    EQUAL(memcmp(packet_room, "\7abc", 4), 0);
    CHECK(!packet.is_cut && !packet.has_lost && packet.descriptor_count == 0);
    OK(psn_packet_receive(ends[1], packet_room, &packet));
    EQUAL(packet.size, 1);
    close(ends[0]);
    OK(psn_packet_receive(ends[1], packet_room, &packet));
    EQUAL(packet.size, 0);
    close(ends[1]);
}

static void a_packet_fills_the_room_and_a_longer_one_is_cut(void) {
    static uint8_t data[PSN_PACKET_ROOM];
    int ends[2], room_bytes = 1 << 20;
    struct psn_packet packet;
    memset(data, 5, sizeof data);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room_bytes, sizeof room_bytes) == 0);
    for (uint32_t over = 0; over < 2; over++) {
        OK(psn_packet_send(ends[0], 9, data, PSN_PACKET_ROOM - 1 + over));
        OK(psn_packet_receive(ends[1], packet_room, &packet));
        EQUAL(packet.size, PSN_PACKET_ROOM);
        EQUAL(packet.is_cut, over);
        CHECK(packet_room[0] == 9 && packet_room[PSN_PACKET_ROOM - 1] == 5);
    }
    close(ends[0]);
    close(ends[1]);
}

static void descriptors_arrive_with_their_packet(void) {
    enum { COUNT = 3 };
    int ends[2];
    struct psn_packet packet;
    union {
        char space[CMSG_SPACE(COUNT * sizeof(int))];
        struct cmsghdr aligned;
    } control = {{0}};
    char kind = 4;
    struct iovec part = {&kind, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(COUNT * sizeof(int));
    for (size_t i = 0; i < COUNT; i++)
        memcpy(CMSG_DATA(header) + i * sizeof(int), &ends[0], sizeof(int));
    CHECK(sendmsg(ends[0], &message, 0) == 1);
    OK(psn_packet_receive(ends[1], packet_room, &packet));
    EQUAL(packet.size, 1);
    EQUAL(packet.descriptor_count, COUNT);
    CHECK(!packet.has_lost);
    for (int i = 0; i < COUNT; i++) {
        CHECK(fcntl(packet.descriptors[i], F_GETFD) == FD_CLOEXEC);
        close(packet.descriptors[i]);
    }
    close(ends[0]);
    close(ends[1]);
}

static void nobody_to_receive_and_a_signal_are_told_apart(void) {
    int ends[2];
    struct psn_packet packet;
    struct sigaction action = {.sa_handler = ignore_signal};
    sigaction(SIGUSR1, &action, NULL);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    pthread_t self = pthread_self(), other;
    pthread_create(&other, NULL, interrupt_soon, &self);
    STATUS(psn_packet_receive(ends[1], packet_room, &packet), PSN_INTERRUPTED);
    pthread_join(other, NULL);
    close(ends[1]);
    STATUS(psn_packet_send(ends[0], 0, "abc", 3), PSN_OS_ERROR);
    EQUAL(errno, EPIPE);
    close(ends[0]);
}

static void *send_packets(void *end) {
    uint32_t data[64];
    for (uint32_t i = 0; i < 2000; i++) {
        for (int j = 0; j < 64; j++)
            data[j] = i;
        OK(psn_packet_send(*(int *)end, 0, data, sizeof data));
    }
    return NULL;
}

static void *receive_packets(void *end) {
    uint8_t *room = malloc(PSN_PACKET_ROOM);
    struct psn_packet packet;
    for (uint32_t i = 0; i < 2000; i++) {
        OK(psn_packet_receive(*(int *)end, room, &packet));
        EQUAL(packet.size, 257);
        for (int j = 1; j < 64; j++)
            CHECK(memcmp(room + 1, room + 1 + 4 * j, 4) == 0);
    }
    free(room);
    return NULL;
}

static void threads_share_the_ends_of_a_pipe(void) {
    int ends[2];
    pthread_t threads[4];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, i < 2 ? send_packets : receive_packets, &ends[i / 2]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    close(ends[0]);
    close(ends[1]);
}

static const struct test tests[] = {
    TEST(packets_arrive_whole_and_the_end_is_seen),
    TEST(a_packet_fills_the_room_and_a_longer_one_is_cut),
    TEST(descriptors_arrive_with_their_packet),
    TEST(nobody_to_receive_and_a_signal_are_told_apart),
    TEST(threads_share_the_ends_of_a_pipe),
    TEST(a_wake_with_nobody_waiting_does_nothing),
    TEST(a_wake_between_prepare_and_commit_is_not_lost),
    TEST(a_wait_ends_at_its_deadline),
    TEST(waiters_that_went_away_are_forgotten_by_the_next_wake),
    TEST(a_signal_interrupts_a_wait),
    TEST(threads_lose_no_wake_up),
    TEST(threads_lose_no_wake_up_among_those_who_give_up),
    TEST(processes_lose_no_wake_up),
    TEST(processes_lose_no_wake_up_among_those_who_give_up),
    TEST(the_next_locker_learns_of_a_dead_holder_until_it_is_repaired),
    TEST(trylock_of_a_held_mutex_is_full),
    TEST(threads_count_exactly_under_a_mutex),
    TEST(processes_count_exactly_under_a_mutex),
    TEST(a_bell_is_heard_from_any_process_until_it_is_cleared),
    TEST(ringing_a_bell_that_is_gone_does_nothing),
    TEST(a_process_is_alive_until_it_ends_and_not_as_a_zombie),
    TEST(a_name_with_brackets_and_spaces_hides_no_start_time),
    TEST(a_process_lives_while_one_of_its_threads_does),
    TEST(thread_ids_are_right_in_threads_and_forked_children),
    TEST(a_child_dies_with_its_parent_and_takes_its_own_along),
    TEST(a_child_whose_parent_is_gone_already_dies_at_once),
    TEST(a_child_outlives_the_thread_that_forked_it),
    TEST(all_descendants_are_killed_and_nobody_else),
    TEST(more_children_than_one_read_can_name_are_killed),
    TEST(a_sibling_is_a_child_of_the_callers_parent),
    TEST(a_sibling_is_robust_forks_and_runs_threads),
    TEST(large_copies_copy_every_byte_and_no_more),
    TEST(memory_is_written_and_discarded),
};
RUN_TESTS(tests)
