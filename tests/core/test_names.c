/* test_names.c: the table of named segments, alone and with others, and what the dead leave in it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "runner.h"

static struct psn_named named(const char *name, uint64_t inode, uint32_t maker) {
    struct psn_named it = {.device = 7, .inode = inode, .maker = maker};
    snprintf(it.name, sizeof it.name, "%s", name);
    return it;
}

static void add(struct psn_arena *arena, const char *name, uint64_t inode) {
    struct psn_named it = named(name, inode, 0);
    OK(psn_names_add(arena, &it));
}

static uint32_t drop(struct psn_arena *arena, const char *name, uint64_t inode, uint32_t maker) {
    struct psn_named it = named(name, inode, maker);
    return psn_names_remove(arena, &it);
}

static uint64_t count(struct psn_arena *arena) {
    struct psn_named found;
    uint64_t n = 0;
    for (uint64_t place = 0; (place = psn_names_next(arena, place, &found));)
        n++;
    return n;
}

static void a_name_is_found_as_it_was_added_until_it_is_removed(void) {
    struct psn_arena arena;
    struct psn_named found;
    make_arena(&arena, 16);
    EQUAL(psn_names_next(&arena, 0, &found), 0);
    add(&arena, "psm_one", 11);
    add(&arena, "psm_two", 12);
    EQUAL(psn_names_next(&arena, 0, &found), 1);
    CHECK(strcmp(found.name, "psm_one") == 0);
    EQUAL(found.device, 7);
    EQUAL(found.inode, 11);
    EQUAL(found.maker, arena.identity);
    EQUAL(drop(&arena, "psm_one", 11, 0), 1);
    EQUAL(drop(&arena, "psm_one", 11, 0), 0);
    EQUAL(psn_names_next(&arena, 0, &found), 2);
    CHECK(strcmp(found.name, "psm_two") == 0);
    WHOLE(&arena);
}

static void what_differs_in_file_or_maker_stays(void) {
    struct psn_arena arena;
    make_arena(&arena, 16);
    add(&arena, "psm", 11);
    EQUAL(drop(&arena, "psm_", 11, 0), 0);
    EQUAL(drop(&arena, "ps", 11, 0), 0);
    EQUAL(drop(&arena, "psm", 12, 0), 0);
    EQUAL(drop(&arena, "psm", 11, arena.identity + 1024), 0);
    EQUAL(count(&arena), 1);
    EQUAL(drop(&arena, "psm", 0, arena.identity), 1);
    add(&arena, "psm", 0); /* of a file that nobody knew */
    EQUAL(drop(&arena, "psm", 11, 0), 1);
}

static void the_longest_name_is_kept_whole(void) {
    struct psn_arena arena;
    struct psn_named found;
    char longest[PSN_NAME_LIMIT + 1];
    memset(longest, 'x', PSN_NAME_LIMIT);
    longest[PSN_NAME_LIMIT] = 0;
    make_arena(&arena, 16);
    add(&arena, longest, 1);
    CHECK(psn_names_next(&arena, 0, &found) == 1 && strcmp(found.name, longest) == 0);
    EQUAL(drop(&arena, longest, 1, 0), 1);
    add(&arena, "short", 1); /* in the same place: nothing of the other is left */
    CHECK(psn_names_next(&arena, 0, &found) == 1 && strcmp(found.name, "short") == 0);
}

static void a_full_table_says_so_and_takes_more_when_some_are_gone(void) {
    struct psn_arena arena;
    struct psn_named it = named("psm", 1, 0);
    make_arena(&arena, 2);
    uint64_t limit = arena.header->name_limit;
    CHECK(limit >= 50 && limit <= PSN_NAMES);
    for (uint64_t i = 0; i < limit; i++)
        OK(psn_names_add(&arena, &it));
    STATUS(psn_names_add(&arena, &it), PSN_NO_MEMORY);
    EQUAL(drop(&arena, "psm", 1, 0), limit);
    OK(psn_names_add(&arena, &it));
    WHOLE(&arena);
}

static void add_and_remove(struct psn_arena *arena, void *argument) {
    (void)argument;
    char mine[32];
    snprintf(mine, sizeof mine, "psm_%x", arena->identity);
    for (int i = 1; i <= 300; i++) {
        add(arena, mine, (uint64_t)i);
        struct psn_named found;
        /* Whatever is found is one name, never parts of two. */
        for (uint64_t place = 0; (place = psn_names_next(arena, place, &found));) {
            char whose[32];
            snprintf(whose, sizeof whose, "psm_%x", found.maker);
            CHECK(strcmp(found.name, whose) == 0);
        }
        EQUAL(drop(arena, mine, (uint64_t)i, 0), 1);
    }
}

static void threads_that_add_and_remove_see_whole_names(void) {
    struct psn_arena arena;
    make_arena(&arena, 16);
    in_threads(&arena, 4, add_and_remove, NULL);
    EQUAL(count(&arena), 0);
}

static void processes_that_add_and_remove_see_whole_names(void) {
    struct psn_arena arena;
    make_arena(&arena, 16);
    in_processes(&arena, 4, add_and_remove, NULL);
    EQUAL(count(&arena), 0);
}

static void add_for_ever(struct psn_arena *arena, void *argument) {
    for (;;) {
        add(arena, "psm_killed", 5);
        EQUAL(drop(arena, "psm_killed", 5, 0), 1);
        add_relaxed((psn_a64 *)argument, 1);
    }
}

static void those_who_are_killed_at_it_leave_no_place_that_cannot_be_used(void) {
    struct psn_arena arena;
    psn_a64 *rounds = shared_page();
    uint64_t seed = 20;
    make_arena(&arena, 1);
    uint64_t limit = arena.header->name_limit;
    for (int i = 0; i < 60; i++) {
        uint64_t before = load_relaxed(rounds);
        struct child child = start_child(&arena, add_for_ever, rounds);
        UNTIL(load_relaxed(rounds) > before);
        usleep((useconds_t)(next_random(&seed) % 500));
        kill_child(&arena, child, true);
        CHECK(drop(&arena, "psm_killed", 5, child.identity) <= 1); /* alive still, or not there yet */
    }
    EQUAL(count(&arena), 0);
    for (uint64_t i = 0; i < limit; i++)
        add(&arena, "psm", 1);
    EQUAL(count(&arena), limit);
    WHOLE(&arena);
}

/* ---- who outlives the program: platform.h ---- */

static void wait_for_go(struct psn_arena *arena, void *argument) {
    (void)arena;
    UNTIL(load_relaxed((psn_a64 *)argument)); }

static void the_file_is_free_when_its_last_user_is_gone_and_not_before(void) {
    struct psn_arena arena;
    psn_a64 *go = shared_page();
    int apart;
    make_arena(&arena, 16);
    OK(psn_memory_reopen(arena.fd, &apart));
    struct child child = start_child(&arena, wait_for_go, go);
    psn_arena_detach(&arena); /* from here on only the child has it */
    CHECK(flock(apart, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
    store_relaxed(go, 1);
    CHECK(flock(apart, LOCK_EX) == 0);
    EQUAL(reap(child.pid), 0);
    close(apart);
}

static void a_watcher_is_seen_by_its_lock(void) {
    struct psn_arena arena;
    psn_a64 *steps = shared_page();
    make_arena(&arena, 16);
    EQUAL(psn_memory_watcher(arena.fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int apart;
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
        OK(psn_memory_reopen(arena.fd, &apart));
        CHECK(fcntl(apart, F_SETLK, &lock) == 0);
        store_relaxed(steps, 1);
        pause();
        _exit(1);
    }
    UNTIL(load_relaxed(steps));
    EQUAL(psn_memory_watcher(arena.fd), pid);
    kill(pid, SIGKILL);
    reap(pid);
    EQUAL(psn_memory_watcher(arena.fd), 0);
}

static void an_orphan_is_nobodys_child_and_has_the_descriptor(void) {
    int ends[2];
    char text[64] = "";
    CHECK(pipe(ends) == 0);
    char *argv[] = {"/bin/sh", "-c", "echo $PPID $COLOUR `readlink /proc/self/fd/0` >&3", NULL};
    char *envp[] = {"COLOUR=blue", "PATH=/bin:/usr/bin", NULL};
    OK(psn_start_orphan(argv, envp, ends[1]));
    close(ends[1]);
    FILE *in = fdopen(ends[0], "r");
    CHECK(fgets(text, sizeof text, in) != NULL);
    int parent = 0;
    char rest[64] = "";
    CHECK(sscanf(text, "%d %63[^\n]", &parent, rest) == 2);
    CHECK(parent != getpid() && parent > 0);
    CHECK(strcmp(rest, "blue /dev/null") == 0);
    CHECK(waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD);
    fclose(in);
}

static void an_orphan_that_cannot_be_started_is_an_error(void) {
    char *argv[] = {"/nowhere/program", NULL}, *envp[] = {NULL};
    STATUS(psn_start_orphan(argv, envp, 0), PSN_OS_ERROR);
    EQUAL(errno, ENOENT);
    CHECK(waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD);
}

static const struct test tests[] = {
    TEST(a_name_is_found_as_it_was_added_until_it_is_removed),
    TEST(what_differs_in_file_or_maker_stays),
    TEST(the_longest_name_is_kept_whole),
    TEST(a_full_table_says_so_and_takes_more_when_some_are_gone),
    TEST(threads_that_add_and_remove_see_whole_names),
    TEST(processes_that_add_and_remove_see_whole_names),
    TEST(those_who_are_killed_at_it_leave_no_place_that_cannot_be_used),
    TEST(the_file_is_free_when_its_last_user_is_gone_and_not_before),
    TEST(a_watcher_is_seen_by_its_lock),
    TEST(an_orphan_is_nobodys_child_and_has_the_descriptor),
    TEST(an_orphan_that_cannot_be_started_is_an_error),
};
RUN_TESTS(tests)
