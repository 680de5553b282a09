/* runner.h: each test in a process of its own, with a deadline; all processes that it leaves behind are killed after it.
   A test that returns has passed.  Helpers make arenas, children that take part in them, and threads that act as processes. */
#ifndef RUNNER_H
#define RUNNER_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "arena.h"
#include "channel.h"
#include "condition.h"
#include "ledger.h"
#include "lock.h"
#include "names.h"

struct test {
    const char *name;
    void (*run)(void);
    unsigned deadline_s; /* 0: the usual one */
};
#define TEST(function) {#function, function, 0}
#define LONG_TEST(function, seconds) {#function, function, seconds}

/* Run those whose name contains one of the arguments, or all.  The exit code for main. */
int run_tests(int argc, char **argv, const struct test *tests, size_t count);
#define RUN_TESTS(tests) \
    int main(int argc, char **argv) { return run_tests(argc, argv, tests, sizeof(tests) / sizeof((tests)[0])); }

_Noreturn void fail_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition) ((condition) ? (void)0 : FAIL("not true: %s", #condition))
#define EQUAL(left, right)                                                                                          \
    do {                                                                                                            \
        int64_t left_ = (int64_t)(left), right_ = (int64_t)(right);                                                 \
        if (left_ != right_)                                                                                        \
            FAIL("%s is %" PRId64 ", expected %s = %" PRId64, #left, left_, #right, right_);                        \
    } while (0)
#define STATUS(call, expected)                                                                                      \
    do {                                                                                                            \
        psn_status status_ = (call);                                                                                \
        if (status_ != (expected))                                                                                  \
            FAIL("%s gave \"%s\", expected %s", #call, psn_status_text(status_), #expected);                        \
    } while (0)
#define OK(call) STATUS(call, PSN_OK)
#define WHOLE(arena)                                                                                                \
    do {                                                                                                            \
        const char *broken_ = psn_arena_check(arena);                                                               \
        if (broken_)                                                                                                \
            FAIL("the arena is not whole: %s", broken_);                                                            \
    } while (0)
#define WHOLE_CHANNEL(arena, channel)                                                                               \
    do {                                                                                                            \
        const char *broken_ = psn_channel_check(arena, channel);                                                    \
        if (broken_)                                                                                                \
            FAIL("the channel is not whole: %s", broken_);                                                          \
    } while (0)

#define MS UINT64_C(1000000)
#define AFTER(ms) (psn_clock_ns() + (ms) * MS)
/* Wait for another process or thread to make it true. */
#define UNTIL(condition)                                                                                            \
    do {                                                                                                            \
        uint64_t end_ = AFTER(5000);                                                                                \
        while (!(condition))                                                                                        \
            if (psn_clock_ns() > end_)                                                                              \
                FAIL("never true: %s", #condition);                                                                 \
            else                                                                                                    \
                usleep(200);                                                                                        \
    } while (0)

/* ---- an arena, and who takes part in it ---- */

void make_arena(struct psn_arena *arena, uint64_t megabytes);
uint64_t blocks_held(struct psn_arena *arena);
void *shared_page(void); /* zeros that forked children share */

struct child {
    pid_t pid;
    uint32_t identity;
};
typedef void (*body)(struct psn_arena *arena, void *argument);
/* Fork a child that holds what we hold; it runs `body` and ends in order. */
struct child start_child(struct psn_arena *arena, body run, void *argument);
int reap(pid_t pid);                                      /* the wait status */
void finish_child(struct psn_arena *arena, struct child); /* it must have passed; swept */
void kill_child(struct psn_arena *arena, struct child, bool sweep);
_Noreturn void kill_self(void);

/* A view of the arena with an identity of its own, so that a thread can act as a process. */
struct psn_arena another_view(struct psn_arena *arena);
/* `body` in `count` threads at once, each with its own view; waits for all. */
void in_threads(struct psn_arena *arena, int count, body run, void *argument);
/* The same in processes, which must all pass. */
void in_processes(struct psn_arena *arena, int count, body run, void *argument);

/* xorshift; any seed but 0 */
uint64_t next_random(uint64_t *state);

#endif
