/* test_copy.c: large copies into the arena, whatever is known of the pages; and touched pages on their way back. */
#include "runner.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#define MB (UINT64_C(1) << 20)
#define ROOM (20 * MB)

typedef psn_status (*fill)(struct psn_arena *arena, uint64_t offset, const void *source, uint64_t size);
static const fill fills[] = {psn_arena_fill, psn_arena_fill_by_two};

static struct psn_handle allocate(struct psn_arena *arena, uint64_t size) {
    struct psn_handle handle;
    OK(psn_block_allocate(arena, PSN_DATA, size, &handle));
    return handle;
}

static uint8_t *random_bytes(uint64_t size, uint64_t seed) {
    uint8_t *bytes = malloc(size + 8);
    for (uint64_t i = 0; i < size; i += 8) {
        uint64_t word = next_random(&seed);
        memcpy(bytes + i, &word, 8);
    }
    return bytes;
}

enum warmth { COLD, WARM, MIXED, LATE, WARMTHS };

/* LATE: the second half is cold, as when a run was lengthened. */
static void prepare(struct psn_arena *arena, uint64_t offset, uint64_t size, enum warmth warmth, uint64_t *random) {
    psn_memory_discard(arena->fd, offset, size);
    if (warmth != COLD)
        memset(psn_at(arena, offset), 0xaa, size);
    for (uint64_t page = 0; warmth == MIXED && page < size / PSN_PAGE; page++)
        if (next_random(random) % 3 == 0)
            psn_memory_discard(arena->fd, offset + page * PSN_PAGE, PSN_PAGE);
    if (warmth == LATE)
        psn_memory_discard(arena->fd, offset + size / 2, size / 2);
}

static void expect_copy(struct psn_arena *arena, uint64_t block, uint64_t at, const uint8_t *source, uint64_t size,
                        enum warmth warmth) {
    const uint8_t *bytes = psn_at(arena, block);
    if (memcmp(bytes + at, source, size) != 0)
        FAIL("%" PRIu64 " bytes at %" PRIu64 ", warmth %d, are not those of the source", size, at, warmth);
    for (uint64_t i = at > 64 ? at - 64 : 0; i < at; i++)
        CHECK(bytes[i] == (warmth == COLD ? 0 : 0xaa) || warmth >= MIXED);
    for (uint64_t i = at + size; i < at + size + 64; i++)
        CHECK(bytes[i] == (warmth == COLD ? 0 : 0xaa) || warmth >= MIXED);
}

static void every_byte_arrives_and_no_other_changes(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle block = allocate(&arena, ROOM);
    uint8_t *source = random_bytes(ROOM, 7);
    uint64_t random = 3;
    static const uint64_t sizes[] = {0,      1,          63,     4095,       16384,           100000,   MB - 1, MB,
                                     MB + 1, 2 * MB + 77, 3 * MB, 8 * MB - 5, 8 * MB + 4097, 17 * MB};
    static const uint64_t places[] = {0, 1, 63, 4095, 5000, MB - 3};
    for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (unsigned p = 0; p < sizeof places / sizeof places[0]; p++)
            for (int warmth = 0; warmth < WARMTHS; warmth++)
                for (int by = 0; by < 2; by++) {
                    if (sizes[s] > 4 * MB && (p + (unsigned)warmth + (unsigned)by) % 3)
                        continue; /* a third of them is enough */
                    prepare(&arena, block.offset, (places[p] + sizes[s]) / PSN_PAGE * PSN_PAGE + 2 * PSN_PAGE, warmth, &random);
                    uint64_t shift = next_random(&random) % 100;
                    OK(fills[by](&arena, block.offset + places[p], source + shift, sizes[s]));
                    expect_copy(&arena, block.offset, places[p], source + shift, sizes[s], warmth);
                }
}

static void what_another_process_has_touched_is_overwritten(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle block = allocate(&arena, ROOM);
    uint8_t *source = random_bytes(ROOM, 11);
    pid_t toucher = fork();
    if (toucher == 0) {
        memset(psn_at(&arena, block.offset), 0xaa, ROOM);
        _exit(0);
    }
    EQUAL(reap(toucher), 0);
    for (int round = 0; round < 3; round++) {
        OK(psn_arena_fill(&arena, block.offset, source + round, ROOM - 100));
        expect_copy(&arena, block.offset, 0, source + round, ROOM - 100, WARM);
    }
}

static void fill_own(struct psn_arena *view, void *argument) {
    const uint8_t *source = argument;
    for (int round = 0; round < 6; round++) {
        struct psn_handle block = allocate(view, 3 * MB);
        OK(psn_arena_fill_by_two(view, block.offset + (uint64_t)round, source + round, 3 * MB - 10));
        CHECK(memcmp((uint8_t *)psn_at(view, block.offset) + round, source + round, 3 * MB - 10) == 0);
        psn_block_drop(view, block);
    }
}

static void threads_copy_by_two_at_the_same_time(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    uint8_t *source = random_bytes(4 * MB, 5);
    in_threads(&arena, 4, fill_own, source);
    WHOLE(&arena);
}

static void trim_and_allocate(struct psn_arena *view, void *argument) {
    (void)argument;
    uint64_t random = view->identity | 1;
    for (int round = 0; round < 60; round++) {
        uint64_t size = 1 + next_random(&random) % (3 * MB), *words;
        struct psn_handle block = allocate(view, size + 8);
        words = psn_at(view, block.offset);
        words[0] = words[size / 8] = block.generation;
        psn_arena_trim(view, next_random(&random) % (2 * MB));
        if (words[0] != block.generation || words[size / 8] != block.generation)
            FAIL("pages of a held block were given back");
        psn_block_drop(view, block);
    }
}

static void threads_give_back_only_what_is_free(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    in_threads(&arena, 4, trim_and_allocate, NULL);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

static void processes_give_back_only_what_is_free(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    in_processes(&arena, 4, trim_and_allocate, NULL);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

/* ---- limits ---- */

static void a_copy_does_without_the_file_where_files_are_limited(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle block = allocate(&arena, 4 * MB);
    uint8_t *source = random_bytes(4 * MB, 9);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096}); /* a write would be SIGXFSZ */
    OK(psn_arena_fill(&arena, block.offset, source, 4 * MB));
    expect_copy(&arena, block.offset, 0, source, 4 * MB - 64, MIXED);
}

static void a_copy_does_without_a_file_that_cannot_be_written_to(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle block = allocate(&arena, 4 * MB);
    uint8_t *source = random_bytes(4 * MB, 9);
    int fd = arena.fd;
    arena.fd = open("/dev/null", O_RDONLY);
    arena.file = psn_memory_file(arena.fd);
    OK(psn_arena_fill_by_two(&arena, block.offset, source, 4 * MB));
    expect_copy(&arena, block.offset, 0, source, 4 * MB - 64, MIXED);
    arena.fd = fd;
    arena.file = psn_memory_file(fd);
}

static void a_file_that_has_the_arenas_number_is_not_written_to(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle block = allocate(&arena, 4 * MB);
    uint8_t *source = random_bytes(4 * MB, 9);
    int fd = arena.fd;
    arena.fd = memfd_create("another", 0);
    EQUAL(psn_arena_fd(&arena), -1);
    OK(fills[0](&arena, block.offset, source, 4 * MB));
    expect_copy(&arena, block.offset, 0, source, 4 * MB, MIXED);
    EQUAL(lseek(arena.fd, 0, SEEK_END), 0);
    close(arena.fd);
    arena.fd = fd;
    EQUAL(psn_arena_fd(&arena), fd);
}

static void a_full_file_is_no_memory(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle block = allocate(&arena, 4 * MB);
    uint8_t *source = random_bytes(4 * MB, 9);
    int fd = arena.fd;
    arena.fd = open("/dev/full", O_WRONLY);
    arena.file = psn_memory_file(arena.fd);
    STATUS(fills[0](&arena, block.offset, source, 4 * MB), PSN_NO_MEMORY);
    /* The second thread does not write to the file: if it is quick it takes all, and there is room for it. */
    if (fills[1](&arena, block.offset, source, 4 * MB) != PSN_NO_MEMORY)
        expect_copy(&arena, block.offset, 0, source, 4 * MB, MIXED);
    arena.fd = fd;
    arena.file = psn_memory_file(fd);
    psn_block_drop(&arena, block);
    WHOLE(&arena);
}

static void a_copy_does_without_a_second_thread_where_there_can_be_none(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle block = allocate(&arena, ROOM);
    uint8_t *source = random_bytes(ROOM, 9);
    setrlimit(RLIMIT_NPROC, &(struct rlimit){0, 0});
    if (getuid() == 0 && (setgid(65534) || setuid(65534))) /* root has no limit */
        FAIL("cannot become nobody");
    struct psn_helper helper;
    STATUS(psn_helper_start(&helper, NULL, NULL), PSN_OS_ERROR);
    OK(psn_arena_fill_by_two(&arena, block.offset, source, ROOM));
    expect_copy(&arena, block.offset, 0, source, ROOM - 64, MIXED);
}

static void count_signal(int number) { (void)number; }

static void copies_go_on_through_signals(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle block = allocate(&arena, ROOM);
    uint8_t *source = random_bytes(ROOM, 13);
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = count_signal}, NULL);
    struct itimerval often = {{0, 200}, {0, 200}};
    for (int round = 0; round < 10; round++) {
        psn_memory_discard(arena.fd, block.offset, ROOM);
        setitimer(ITIMER_REAL, &often, NULL);
        OK(fills[round & 1](&arena, block.offset, source + round, ROOM - 100));
        setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
        expect_copy(&arena, block.offset, 0, source + round, ROOM - 100, MIXED);
    }
}

/* ---- deaths ---- */

static void fill_for_ever(struct psn_arena *view, void *argument) {
    psn_a32 *has_begun = argument;
    uint8_t *source = calloc(1, ROOM);
    for (;;) {
        struct psn_handle block = allocate(view, ROOM);
        store_seq_cst(has_begun, 1);
        OK(psn_arena_fill_by_two(view, block.offset, source, ROOM));
        psn_block_drop(view, block);
        psn_arena_trim(view, 0);
    }
}

static void who_is_killed_within_a_copy_leaves_nothing(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    psn_a32 *has_begun = shared_page();
    uint64_t random = 77;
    for (int round = 0; round < 25; round++) {
        store_seq_cst(has_begun, 0);
        struct child child = start_child(&arena, fill_for_ever, has_begun);
        UNTIL(load_seq_cst(has_begun));
        usleep((useconds_t)(next_random(&random) % 25000));
        kill_child(&arena, child, true);
        EQUAL(blocks_held(&arena), 0);
        WHOLE(&arena);
    }
}

/* ---- what stays touched ---- */

static void a_warm_run_is_lengthened_for_a_little_more(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    uint64_t size = 2 * MB;
    struct psn_handle block = allocate(&arena, size), first = block;
    for (int growth = 1; growth < 10; growth++) { /* at the top */
        psn_block_drop(&arena, block);
        size += 5 * PSN_PAGE;
        block = allocate(&arena, size);
        EQUAL(block.offset, first.offset);
        CHECK(psn_block_is_warm(&arena, block.offset));
        EQUAL(load_relaxed(&arena.header->top), size / PSN_PAGE);
        WHOLE(&arena);
    }
    struct psn_handle end = allocate(&arena, PSN_PAGE);
    psn_block_drop(&arena, block);
    psn_arena_trim(&arena, 0);
    block = allocate(&arena, 2 * MB);
    psn_block_drop(&arena, block);
    block = allocate(&arena, 2 * MB + 3 * PSN_PAGE); /* into the cold run behind it */
    EQUAL(block.offset, first.offset);
    CHECK(psn_block_is_warm(&arena, block.offset));
    EQUAL(load_relaxed(&arena.header->warm_free), 0);
    WHOLE(&arena);
    psn_block_drop(&arena, end);
    psn_block_drop(&arena, block);
    WHOLE(&arena);
}

static void idle_memory_is_given_back_bit_by_bit(void) {
    struct psn_arena arena;
    make_arena(&arena, 1024);
    arena.header->warm_limit = arena.header->page_count;
    psn_block_drop(&arena, allocate(&arena, 300 * MB));
    uint64_t warm = load_relaxed(&arena.header->warm_free);
    psn_arena_tend(&arena);
    EQUAL(load_relaxed(&arena.header->warm_free), warm); /* it has just been used */
    for (int left = 300; left > 4;) {
        store_relaxed(&arena.header->large_at, psn_clock_ns() - 10000 * MS);
        store_relaxed(&arena.header->tended_at, 0);
        psn_arena_tend(&arena);
        psn_arena_tend(&arena); /* too soon */
        left = left - 128 > 4 ? left - 128 : 4;
        EQUAL(load_relaxed(&arena.header->warm_free) * PSN_PAGE, (uint64_t)left * MB);
        WHOLE(&arena);
    }
    EQUAL(blocks_held(&arena), 0);
}

static const struct test tests[] = {
    LONG_TEST(every_byte_arrives_and_no_other_changes, 100),
    TEST(what_another_process_has_touched_is_overwritten),
    TEST(threads_copy_by_two_at_the_same_time),
    LONG_TEST(threads_give_back_only_what_is_free, 60),
    TEST(processes_give_back_only_what_is_free),
    TEST(a_copy_does_without_the_file_where_files_are_limited),
    TEST(a_copy_does_without_a_file_that_cannot_be_written_to),
    TEST(a_file_that_has_the_arenas_number_is_not_written_to),
    TEST(a_full_file_is_no_memory),
    TEST(a_copy_does_without_a_second_thread_where_there_can_be_none),
    TEST(copies_go_on_through_signals),
    LONG_TEST(who_is_killed_within_a_copy_leaves_nothing, 60),
    TEST(a_warm_run_is_lengthened_for_a_little_more),
    TEST(idle_memory_is_given_back_bit_by_bit),
};
RUN_TESTS(tests)
