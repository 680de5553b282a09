/* runner.c: see runner.h. */
#include "runner.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define USUAL_DEADLINE_S 20

void fail_at(const char *file, int line, const char *format, ...) {
    const char *name = strrchr(file, '/');
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "    %s:%d: %s (process %d)\n", name ? name + 1 : file, line, text, (int)getpid());
    fflush(stderr);
    _exit(1);
}

/* Its exit status, or -1 if it did not end in time. */
static int wait_until_ended(pid_t pid, unsigned deadline_s) {
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    int n = poll(&ended, 1, (int)deadline_s * 1000);
    close(ended.fd);
    return n > 0 ? reap(pid) : -1;
}

static bool run_test(const struct test *test) {
    uint64_t start_ns = psn_clock_ns();
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        psn_lock_register_kinds();
        psn_condition_register_kinds();
        psn_channel_register_kinds();
        psn_ledger_register_kinds();
        test->run();
        fflush(NULL);
        exit(0); /* not _exit: sanitizers have their last word here */
    }
    setpgid(pid, pid);
    int status = wait_until_ended(pid, test->deadline_s ? test->deadline_s : USUAL_DEADLINE_S);
    kill(-pid, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
    char how[64] = "";
    if (status == -1)
        snprintf(how, sizeof how, ": the deadline passed");
    else if (WIFSIGNALED(status))
        snprintf(how, sizeof how, ": signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status))
        snprintf(how, sizeof how, ": exit %d", WEXITSTATUS(status));
    printf("%s  %s (%" PRIu64 " ms)%s\n", status == 0 ? "ok    " : "FAILED", test->name,
           (psn_clock_ns() - start_ns) / MS, how);
    fflush(stdout);
    return status == 0;
}

int run_tests(int argc, char **argv, const struct test *tests, size_t count) {
    int passed = 0, failed = 0;
    /* Children whose parent has died become ours, so that none is left behind. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (size_t i = 0; i < count; i++) {
        bool wanted = argc < 2;
        for (int k = 1; k < argc; k++)
            wanted |= strstr(tests[i].name, argv[k]) != NULL;
        if (wanted)
            run_test(&tests[i]) ? passed++ : failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

/* ---- an arena, and who takes part in it ---- */

void make_arena(struct psn_arena *arena, uint64_t megabytes) { OK(psn_arena_create(arena, megabytes << 20)); }

uint64_t blocks_held(struct psn_arena *arena) {
    psn_arena_lock(arena);
    uint64_t held = load_relaxed(&arena->header->blocks_held);
    psn_arena_unlock(arena);
    return held;
}

void *shared_page(void) {
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

struct child start_child(struct psn_arena *arena, body run, void *argument) {
    struct child child;
    OK(psn_process_reserve(arena, &child.identity));
    OK(psn_process_inherit(arena, child.identity));
    fflush(NULL);
    child.pid = fork();
    CHECK(child.pid >= 0);
    if (child.pid == 0) {
        psn_process_enter(arena, child.identity);
        run(arena, argument);
        psn_process_leave(arena, 0);
        _exit(0);
    }
    return child;
}

int reap(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    return status;
}

void finish_child(struct psn_arena *arena, struct child child) {
    int status = reap(child.pid);
    if (status)
        FAIL("child %d ended with status %#x", (int)child.pid, (unsigned)status);
    psn_process_sweep(arena, child.identity, false);
}

void kill_child(struct psn_arena *arena, struct child child, bool sweep) {
    kill(child.pid, SIGKILL);
    int status = reap(child.pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("child %d was to be killed but had ended with status %#x", (int)child.pid, (unsigned)status);
    if (sweep)
        psn_process_sweep(arena, child.identity, true);
}

void kill_self(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

struct psn_arena another_view(struct psn_arena *arena) {
    struct psn_arena view = *arena;
    uint32_t identity;
    OK(psn_process_reserve(arena, &identity));
    OK(psn_process_inherit(arena, identity));
    psn_process_enter(&view, identity);
    return view;
}

struct thread {
    pthread_t id;
    struct psn_arena view;
    body run;
    void *argument;
};

static void *thread_main(void *argument) {
    struct thread *thread = argument;
    thread->run(&thread->view, thread->argument);
    return NULL;
}

void in_threads(struct psn_arena *arena, int count, body run, void *argument) {
    struct thread threads[32];
    CHECK(count <= 32);
    for (int i = 0; i < count; i++)
        threads[i] = (struct thread){.view = another_view(arena), .run = run, .argument = argument};
    for (int i = 0; i < count; i++)
        EQUAL(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), 0);
    for (int i = 0; i < count; i++) {
        EQUAL(pthread_join(threads[i].id, NULL), 0);
        psn_process_sweep(arena, threads[i].view.identity, false);
    }
}

void in_processes(struct psn_arena *arena, int count, body run, void *argument) {
    struct child children[32];
    CHECK(count <= 32);
    for (int i = 0; i < count; i++)
        children[i] = start_child(arena, run, argument);
    for (int i = 0; i < count; i++)
        finish_child(arena, children[i]);
}

uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}
