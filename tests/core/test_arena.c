/* test_arena.c: pages, blocks, holders, process slots, and what is left after a death inside the allocator. */
#include "runner.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct psn_handle allocate(struct psn_arena *arena, uint64_t size) {
    struct psn_handle handle;
    OK(psn_block_allocate(arena, PSN_DATA, size, &handle));
    return handle;
}

static void fill(struct psn_arena *arena, struct psn_handle handle, uint64_t size) {
    memset(psn_at(arena, handle.offset), (int)(handle.generation * 37 & 0xff), size);
}

static void expect_filled(struct psn_arena *arena, struct psn_handle handle, uint64_t size) {
    const uint8_t *bytes = psn_at(arena, handle.offset);
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i] != (uint8_t)(handle.generation * 37))
            FAIL("byte %" PRIu64 " of %" PRIu64 " was overwritten", i, size);
}

/* ---- making and attaching ---- */

static void no_descriptor_lies_in_the_data_whatever_the_size(void) {
    for (uint64_t pages = 64; pages < 1200; pages++) {
        struct psn_arena arena;
        OK(psn_arena_create(&arena, pages * PSN_PAGE));
        struct psn_arena_header *h = arena.header;
        CHECK(h->pages_offset + h->page_count * sizeof(struct psn_page) <= h->data_offset);
        CHECK(h->data_offset + h->page_count * PSN_PAGE <= h->size);
        CHECK(h->page_count + 2 + h->data_offset / PSN_PAGE > pages);
        psn_arena_detach(&arena);
    }
}

static void the_whole_arena_can_be_used_and_given_back(void) {
    /* 1736704 bytes: data and descriptors meet without a gap */
    for (uint64_t size = 1736704 - 4 * PSN_PAGE; size <= 1736704 + 4 * PSN_PAGE; size += PSN_PAGE) {
        struct psn_arena arena;
        OK(psn_arena_create(&arena, size));
        struct psn_handle handles[200];
        uint64_t n = 0, pages = arena.header->page_count;
        while (psn_block_allocate(&arena, PSN_DATA, PSN_PAGE, &handles[n]) == PSN_OK) {
            fill(&arena, handles[n], PSN_PAGE);
            n++;
        }
        EQUAL(n, pages);
        for (uint64_t i = 0; i < n; i++)
            expect_filled(&arena, handles[i], PSN_PAGE);
        WHOLE(&arena);
        for (uint64_t i = 0; i < n; i++)
            psn_block_drop(&arena, handles[i * 7 % n]);
        for (uint64_t i = 0; i < n; i++)
            psn_block_drop(&arena, handles[i]);
        WHOLE(&arena);
        struct psn_handle all;
        OK(psn_block_allocate(&arena, PSN_DATA, pages * PSN_PAGE, &all));
        psn_block_drop(&arena, all);
        EQUAL(blocks_held(&arena), 0);
        psn_arena_detach(&arena);
    }
}

static void an_arena_too_large_for_the_machine_is_halved_until_it_fits(void) {
    struct psn_arena arena;
    OK(psn_arena_create(&arena, UINT64_C(1) << 50));
    CHECK(arena.size >= UINT64_C(1) << 30);
    fill(&arena, allocate(&arena, 100000), 100000);
    WHOLE(&arena);
}

static void attach_sees_the_same_blocks(void) {
    struct psn_arena arena, other;
    make_arena(&arena, 64);
    struct psn_handle handle = allocate(&arena, 500);
    fill(&arena, handle, 500);
    OK(psn_arena_attach(&other, dup(arena.fd)));
    CHECK(other.base != arena.base);
    CHECK(psn_block_find(&other, handle) != NULL);
    expect_filled(&other, handle, 500);
    EQUAL(other.identity, 0);
    psn_arena_detach(&other);
    WHOLE(&arena);
}

static void attach_refuses_what_is_no_arena(void) {
    struct psn_arena arena;
    int empty = memfd_create("empty", 0), zeros = memfd_create("zeros", 0);
    EQUAL(ftruncate(zeros, 1 << 20), 0);
    CHECK(psn_arena_attach(&arena, empty) != PSN_OK);
    STATUS(psn_arena_attach(&arena, zeros), PSN_BAD_ARENA);
    STATUS(psn_arena_attach(&arena, 999), PSN_OS_ERROR);
    /* an arena that was cut off */
    make_arena(&arena, 64);
    int cut = dup(arena.fd);
    EQUAL(ftruncate(cut, 1 << 20), 0);
    struct psn_arena other;
    CHECK(psn_arena_attach(&other, cut) != PSN_OK);
}

/* ---- allocate and free ---- */

static void every_size_is_given_out_whole_and_comes_back(void) {
    struct psn_arena arena;
    make_arena(&arena, 256);
    enum { COUNT = 2400 };
    static struct psn_handle handles[COUNT];
    static uint64_t sizes[COUNT];
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < COUNT; i++) {
            sizes[i] = i < 2100 ? i * 8 + (uint64_t)round : i * 97;
            handles[i] = allocate(&arena, sizes[i]);
            EQUAL(handles[i].offset % 16, 0);
            fill(&arena, handles[i], sizes[i]);
        }
        EQUAL(blocks_held(&arena), COUNT);
        WHOLE(&arena);
        for (uint64_t i = 0; i < COUNT; i++) {
            expect_filled(&arena, handles[i], sizes[i]);
            EQUAL(psn_block_find(&arena, handles[i])->size, sizes[i]);
        }
        for (uint64_t i = 0; i < COUNT; i++) {
            uint64_t k = i * 1013 % COUNT;
            expect_filled(&arena, handles[k], sizes[k]);
            psn_block_drop(&arena, handles[k]);
            CHECK(psn_block_find(&arena, handles[k]) == NULL);
            if (i % 100 == 0)
                WHOLE(&arena);
        }
        EQUAL(blocks_held(&arena), 0);
        WHOLE(&arena);
    }
}

static uint64_t free_runs(struct psn_arena *arena) {
    uint64_t n = 0, top = load_relaxed(&arena->header->top);
    for (uint64_t page = 0; page < top; page += load_relaxed(&psn_page_at(arena, page)->pages))
        n += load_relaxed(&psn_page_at(arena, page)->kind) == PSN_PAGE_FREE;
    return n;
}

static void neighbouring_free_runs_become_one(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int order = 0; order < 6; order++) {
        struct psn_handle run[3];
        for (int i = 0; i < 3; i++)
            run[i] = allocate(&arena, (uint64_t)(i + 2) * PSN_PAGE);
        for (int i = 0; i < 3; i++) {
            psn_block_drop(&arena, run[orders[order][i]]);
            WHOLE(&arena);
        }
        EQUAL(free_runs(&arena), 1);
        EQUAL(load_relaxed(&arena.header->top), 9);
    }
}

static void a_run_is_split_and_the_rest_is_used(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle large = allocate(&arena, 10 * PSN_PAGE);
    psn_block_drop(&arena, large);
    struct psn_handle a = allocate(&arena, 4 * PSN_PAGE), b = allocate(&arena, 6 * PSN_PAGE);
    EQUAL(load_relaxed(&arena.header->top), 10);
    EQUAL(free_runs(&arena), 0);
    CHECK(a.offset == large.offset && b.offset == large.offset + 4 * PSN_PAGE);
    WHOLE(&arena);
}

static void warm_pages_are_taken_first_and_trimmed_ones_read_as_zeros(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle cold = allocate(&arena, 40 * PSN_PAGE), hedge = allocate(&arena, PSN_PAGE),
                      warm = allocate(&arena, 40 * PSN_PAGE), end = allocate(&arena, PSN_PAGE);
    CHECK(!psn_block_is_warm(&arena, cold.offset));
    fill(&arena, cold, 40 * PSN_PAGE);
    fill(&arena, warm, 40 * PSN_PAGE);
    psn_block_drop(&arena, cold);
    psn_arena_trim(&arena, 0);
    psn_block_drop(&arena, warm);
    EQUAL(load_relaxed(&arena.header->warm_free), 40);
    struct psn_handle next = allocate(&arena, 30 * PSN_PAGE);
    EQUAL(next.offset, warm.offset);
    CHECK(psn_block_is_warm(&arena, next.offset));
    EQUAL(load_relaxed(&arena.header->warm_free), 10);
    struct psn_handle other = allocate(&arena, 40 * PSN_PAGE);
    EQUAL(other.offset, cold.offset);
    CHECK(!psn_block_is_warm(&arena, other.offset));
    const uint64_t *words = psn_at(&arena, other.offset);
    for (uint64_t i = 0; i < 40 * PSN_PAGE / 8; i++)
        EQUAL(words[i], 0);
    WHOLE(&arena);
    psn_block_drop(&arena, hedge);
    psn_block_drop(&arena, end);
    WHOLE(&arena);
}

static void no_more_pages_stay_warm_than_the_limit(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    arena.header->warm_limit = 100;
    struct psn_handle handles[40];
    for (int i = 0; i < 40; i++)
        handles[i] = allocate(&arena, 8 * PSN_PAGE);
    for (int i = 0; i < 40; i++) {
        psn_block_drop(&arena, handles[i]);
        CHECK(load_relaxed(&arena.header->warm_free) <= 100);
        WHOLE(&arena);
    }
    psn_arena_trim(&arena, 0);
    EQUAL(load_relaxed(&arena.header->warm_free), 0);
    WHOLE(&arena);
}

static void no_memory_is_a_status_and_passes(void) {
    struct psn_arena arena;
    OK(psn_arena_create(&arena, 128 * PSN_PAGE));
    static struct psn_handle handles[40000];
    struct psn_handle none;
    for (int round = 0; round < 2; round++) {
        uint64_t n = 0;
        STATUS(psn_block_allocate(&arena, PSN_DATA, UINT64_C(1) << 40, &none), PSN_NO_MEMORY);
        STATUS(psn_block_allocate(&arena, PSN_DATA, UINT64_MAX, &none), PSN_NO_MEMORY);
        while (psn_block_allocate(&arena, PSN_DATA, 1 + n * 61 % 9000, &handles[n]) == PSN_OK)
            n++;
        CHECK(n > 100);
        WHOLE(&arena);
        for (uint64_t i = 0; i < n; i++)
            psn_block_drop(&arena, handles[i]);
        EQUAL(blocks_held(&arena), 0);
        WHOLE(&arena);
    }
}

static void messages_of_impossible_size_are_refused(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle none;
    STATUS(psn_message_allocate(&arena, 0, UINT64_MAX, &none), PSN_NO_MEMORY);
    STATUS(psn_message_allocate(&arena, 4, UINT64_MAX - 40, &none), PSN_NO_MEMORY);
    STATUS(psn_message_allocate(&arena, UINT32_MAX, 0, &none), PSN_NO_MEMORY);
    EQUAL(blocks_held(&arena), 0);
}

/* ---- generations ---- */

static void a_stale_handle_is_gone_whatever_became_of_its_place(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    enum { COUNT = 600 };
    static struct psn_handle stale[COUNT];
    for (uint64_t i = 0; i < COUNT; i++)
        stale[i] = allocate(&arena, i * 40 % 20000);
    for (uint64_t i = 0; i < COUNT; i++)
        psn_block_drop(&arena, stale[i]);
    for (uint64_t step = 1; step < 12; step++) {
        static struct psn_handle fresh[COUNT];
        for (uint64_t i = 0; i < COUNT; i++) {
            fresh[i] = allocate(&arena, i * 40 * step % 20000);
            /* a payload that looks like headers of held blocks must not help */
            uint32_t *words = psn_at(&arena, fresh[i].offset);
            for (uint64_t k = 0; k < i * 40 * step % 20000 / 4; k++)
                words[k] = PSN_BLOCK_HELD;
        }
        for (uint64_t i = 0; i < COUNT; i++) {
            CHECK(psn_block_find(&arena, stale[i]) == NULL);
            STATUS(psn_block_hold(&arena, stale[i]), PSN_GONE);
            psn_block_drop(&arena, stale[i]);
            psn_block_disown(&arena, stale[i]);
        }
        WHOLE(&arena);
        for (uint64_t i = 0; i < COUNT; i++)
            psn_block_drop(&arena, fresh[i]);
        EQUAL(blocks_held(&arena), 0);
    }
}

static void no_offset_but_that_of_a_block_is_found(void) {
    struct psn_arena arena;
    make_arena(&arena, 8);
    struct psn_handle small[3] = {allocate(&arena, 100), allocate(&arena, 5000), allocate(&arena, 3 * PSN_PAGE)};
    uint64_t found = 0;
    for (uint64_t offset = 0; offset < arena.size + 2 * PSN_PAGE; offset += 8)
        found += psn_block_of(&arena, offset) != NULL;
    EQUAL(found, 3);
    CHECK(psn_block_of(&arena, UINT64_MAX) == NULL);
    for (int i = 0; i < 3; i++) {
        CHECK(psn_block_of(&arena, small[i].offset) == psn_block_find(&arena, small[i]));
        STATUS(psn_block_hold(&arena, (struct psn_handle){small[i].offset, small[i].generation + 1}), PSN_GONE);
    }
}

/* ---- holders ---- */

static void a_block_lives_until_its_last_holder_lets_go_in_any_slot(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    static struct psn_arena views[1000];
    int count = 1000;
    for (int i = 0; i < count; i++) {
        uint32_t identity;
        OK(psn_process_reserve(&arena, &identity));
        views[i] = arena;
        psn_process_enter(&views[i], identity);
    }
    EQUAL(views[999].slot, 1000);
    static const int sets[][3] = {{1, 2, 3}, {1, 62, 63}, {62, 63, 64}, {63, 127, 128}, {5, 500, 999}, {999, 998, 960}};
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++)
        for (int last = 0; last < 3; last++) {
            uint64_t before = blocks_held(&arena);
            struct psn_handle handle;
            OK(psn_block_allocate(&views[sets[s][0]], PSN_DATA, 100 + s * 3000, &handle));
            for (int i = 0; i < 3; i++) {
                OK(psn_block_hold(&views[sets[s][i]], handle));
                OK(psn_block_hold(&views[sets[s][i]], handle));
            }
            psn_block_drop(&arena, handle); /* we do not hold it */
            WHOLE(&arena);
            for (int i = 1; i <= 3; i++) {
                CHECK(psn_block_find(&arena, handle) != NULL);
                psn_block_drop(&views[sets[s][(last + i) % 3]], handle);
                WHOLE(&arena);
            }
            CHECK(psn_block_find(&arena, handle) == NULL);
            EQUAL(blocks_held(&arena), before);
        }
    /* and none is left when all have gone at once */
    struct psn_handle handle = allocate(&views[999], 50);
    for (int i = 0; i < count; i++)
        OK(psn_block_hold(&views[i], handle));
    for (int i = 0; i < count; i++)
        psn_process_sweep(&arena, views[i].identity, i % 2);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

static void the_bits_of_high_slots_take_memory_only_while_one_is_set(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_arena high[2] = {arena, arena};
    uint32_t identity;
    for (int i = 0; i < 200; i++) {
        OK(psn_process_reserve(&arena, &identity));
        psn_process_enter(&high[i % 2], identity);
    }
    struct psn_handle handle = allocate(&arena, 50);
    uint64_t before = blocks_held(&arena);
    for (int round = 0; round < 3; round++) {
        OK(psn_block_hold(&high[0], handle));
        OK(psn_block_hold(&high[1], handle));
        EQUAL(blocks_held(&arena), before + 1);
        psn_block_drop(&high[0], handle);
        EQUAL(blocks_held(&arena), before + 1);
        psn_block_drop(&high[1], handle);
        EQUAL(blocks_held(&arena), before);
        WHOLE(&arena);
    }
    OK(psn_block_hold(&high[1], handle));
    psn_process_sweep(&arena, high[1].identity, true);
    EQUAL(blocks_held(&arena), before);
    WHOLE(&arena);
}

static void a_holder_in_a_high_slot_needs_memory_and_says_so(void) {
    struct psn_arena arena;
    OK(psn_arena_create(&arena, 64 * PSN_PAGE));
    struct psn_arena high = arena;
    uint32_t identity;
    for (int i = 0; i < 70; i++) {
        OK(psn_process_reserve(&arena, &identity));
        psn_process_enter(&high, identity);
    }
    struct psn_handle first = allocate(&arena, 8100), handle, all[300];
    int n = 0;
    while (psn_block_allocate(&arena, PSN_DATA, 8100, &all[n]) == PSN_OK)
        n++;
    STATUS(psn_block_hold(&high, first), PSN_NO_MEMORY);
    STATUS(psn_block_allocate(&high, PSN_DATA, 8100, &handle), PSN_NO_MEMORY);
    STATUS(psn_process_inherit(&arena, identity), PSN_NO_MEMORY);
    WHOLE(&arena);
    psn_block_drop(&arena, first);
    /* one free block of the right class, but no place for the holder's bit */
    STATUS(psn_block_allocate(&high, PSN_DATA, 8100, &handle), PSN_NO_MEMORY);
    WHOLE(&arena);
    EQUAL(blocks_held(&arena), n);
    OK(psn_block_allocate(&arena, PSN_DATA, 8100, &handle));
}

static void child_keeps(struct psn_arena *arena, void *argument) {
    struct psn_handle *handle = argument;
    CHECK(psn_block_find(arena, *handle) != NULL);
    UNTIL(blocks_held(arena) == 1);
    expect_filled(arena, *handle, 300);
}

static void a_forked_child_holds_what_its_parent_held(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle handle = allocate(&arena, 300), other = allocate(&arena, 70000);
    fill(&arena, handle, 300);
    struct child child = start_child(&arena, child_keeps, &handle);
    psn_block_drop(&arena, handle);
    CHECK(psn_block_find(&arena, handle) != NULL);
    psn_process_sweep(&arena, child.identity + 1, true); /* nobody */
    CHECK(psn_block_find(&arena, other) != NULL);
    psn_block_drop(&arena, other);
    CHECK(psn_block_find(&arena, other) != NULL);
    /* the child still holds it: take that away, so that one block is left */
    struct psn_arena as_child = arena;
    as_child.identity = child.identity;
    as_child.slot = psn_identity_slot(child.identity);
    psn_block_drop(&as_child, other);
    finish_child(&arena, child);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

/* ---- messages ---- */

static void a_message_keeps_what_it_refers_to(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle target = allocate(&arena, 1000), message, again;
    OK(psn_message_allocate(&arena, 3, 500, &message));
    OK(psn_message_refer(&arena, message.offset, target));
    OK(psn_message_refer(&arena, message.offset, target));
    struct psn_message *m = psn_at(&arena, message.offset);
    EQUAL(m->ref_count, 2);
    EQUAL(m->body_size, 500);
    memset(psn_message_body(m), 0xee, 500);
    EQUAL(m->refs[1], target.offset);
    psn_block_drop(&arena, target);
    WHOLE(&arena);
    CHECK(psn_block_find(&arena, target) != NULL);
    OK(psn_block_hold_pinned(&arena, m->refs[0], &again));
    EQUAL(again.generation, target.generation);
    psn_block_disown(&arena, message);
    CHECK(psn_block_find(&arena, message) == NULL);
    CHECK(psn_block_find(&arena, target) != NULL);
    psn_block_drop(&arena, again);
    EQUAL(blocks_held(&arena), 0);
    STATUS(psn_block_hold_pinned(&arena, target.offset, &again), PSN_GONE);
    WHOLE(&arena);
}

static void a_message_has_room_for_so_many_references_and_no_more(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle target = allocate(&arena, 10), message;
    OK(psn_message_allocate(&arena, 1, 0, &message));
    OK(psn_message_refer(&arena, message.offset, target));
    CHECK(psn_message_refer(&arena, message.offset, target) != PSN_OK);
    psn_block_drop(&arena, target);
    psn_block_disown(&arena, message);
    EQUAL(blocks_held(&arena), 0);
    OK(psn_message_allocate(&arena, 1, 0, &message));
    STATUS(psn_message_refer(&arena, message.offset, target), PSN_GONE);
}

static void freeing_a_chain_of_messages_frees_every_link(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle link = allocate(&arena, 10), next;
    for (int i = 0; i < 1000; i++) {
        OK(psn_message_allocate(&arena, 1, (uint64_t)i * 10, &next));
        OK(psn_message_refer(&arena, next.offset, link));
        if (i == 0)
            psn_block_drop(&arena, link);
        else
            psn_block_disown(&arena, link);
        link = next;
    }
    EQUAL(blocks_held(&arena), 1001);
    psn_block_disown(&arena, link);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

static void a_message_given_away_belongs_to_the_other_process(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_arena other = another_view(&arena);
    struct psn_handle message;
    OK(psn_message_allocate(&arena, 0, 100, &message));
    psn_message_give(&arena, message, other.identity);
    psn_block_disown(&arena, message);
    CHECK(psn_block_find(&arena, message) != NULL);
    psn_process_sweep(&arena, other.identity, true);
    EQUAL(blocks_held(&arena), 0);
}

/* ---- process slots ---- */

static void child_takes_much_and_dies(struct psn_arena *arena, void *argument) {
    struct psn_handle *target = argument, message;
    for (uint64_t i = 0; i < 50; i++) {
        allocate(arena, i * 700);
        OK(psn_message_allocate(arena, 1, i * 700, &message));
        OK(psn_message_refer(arena, message.offset, *target));
    }
    kill_self();
}

static void what_only_a_killed_process_had_is_freed_by_its_sweep(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_handle target = allocate(&arena, 100);
    for (int round = 0; round < 80; round++) {
        struct child child = start_child(&arena, child_takes_much_and_dies, &target);
        reap(child.pid);
        EQUAL(blocks_held(&arena), 101);
        EQUAL(load_relaxed(&psn_block_find(&arena, target)->pins), 50);
        struct psn_death death;
        CHECK(psn_identity_has_died(&arena, child.identity, &death));
        EQUAL(death.pid, child.pid);
        EQUAL(death.exitcode, PSN_EXIT_UNKNOWN); /* we have collected it */
        if (round % 2)
            psn_process_sweep(&arena, child.identity, true);
        else
            EQUAL(psn_process_sweep_dead(&arena), 1);
        psn_process_sweep(&arena, child.identity, true); /* a second time does nothing */
        EQUAL(blocks_held(&arena), 1);
        EQUAL(load_relaxed(&psn_block_find(&arena, target)->pins), 0);
        CHECK(!psn_identity_is_alive(&arena, child.identity));
        CHECK(!psn_identity_has_died(&arena, child.identity, &death));
        WHOLE(&arena);
    }
}

static void child_waits(struct psn_arena *arena, void *argument) {
    (void)arena, (void)argument;
    for (;;)
        pause();
}

static void child_ends(struct psn_arena *arena, void *argument) { (void)arena, (void)argument; }

static void who_is_alive_is_known_at_every_stage(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct psn_death death;
    uint32_t reserved;
    CHECK(psn_identity_is_alive(&arena, arena.identity));
    CHECK(!psn_identity_is_alive(&arena, 0));
    OK(psn_process_reserve(&arena, &reserved));
    CHECK(psn_identity_is_alive(&arena, reserved)); /* about to start, and we are here */
    struct child child = start_child(&arena, child_waits, NULL);
    CHECK(psn_identity_is_alive(&arena, child.identity));
    UNTIL(load_acquire(&psn_process_at(&arena, psn_identity_slot(child.identity))->state) == PSN_SLOT_RUNNING);
    CHECK(!psn_identity_has_died(&arena, child.identity, &death));
    EQUAL(psn_process_sweep_dead(&arena), 0);
    kill(child.pid, SIGKILL);
    UNTIL(psn_identity_has_died(&arena, child.identity, &death)); /* as a zombie too */
    EQUAL(death.exitcode, -SIGKILL);
    CHECK(!psn_identity_is_alive(&arena, child.identity));
    reap(child.pid);
    CHECK(psn_identity_has_died(&arena, child.identity, &death));
    EQUAL(psn_process_sweep_dead(&arena), 1);
    child = start_child(&arena, child_ends, NULL);
    reap(child.pid);
    CHECK(!psn_identity_is_alive(&arena, child.identity));
    CHECK(!psn_identity_has_died(&arena, child.identity, &death)); /* in order */
    EQUAL(psn_process_sweep_dead(&arena), 1);
    psn_process_sweep(&arena, reserved, true);
    WHOLE(&arena);
}

static void a_slot_used_again_has_another_identity(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    uint32_t first, second;
    OK(psn_process_reserve(&arena, &first));
    psn_process_sweep(&arena, first, false);
    OK(psn_process_reserve(&arena, &second));
    EQUAL(psn_identity_slot(first), psn_identity_slot(second));
    CHECK(first != second);
    psn_process_sweep(&arena, first, true); /* stale: must not touch the new one */
    CHECK(psn_identity_is_alive(&arena, second));
    CHECK(!psn_identity_is_alive(&arena, first));
}

static void slots_run_out_and_those_of_the_dead_come_back(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct child dead = start_child(&arena, child_waits, NULL);
    UNTIL(load_acquire(&psn_process_at(&arena, psn_identity_slot(dead.identity))->state) == PSN_SLOT_RUNNING);
    uint32_t identity;
    for (uint32_t i = 2; i < PSN_SLOTS; i++)
        OK(psn_process_reserve(&arena, &identity));
    STATUS(psn_process_reserve(&arena, &identity), PSN_NO_SLOT);
    kill_child(&arena, dead, false);
    OK(psn_process_reserve(&arena, &identity));
    EQUAL(psn_identity_slot(identity), psn_identity_slot(dead.identity));
    STATUS(psn_process_reserve(&arena, &identity), PSN_NO_SLOT);
}

static void child_reserves_and_dies(struct psn_arena *arena, void *argument) {
    OK(psn_process_reserve(arena, argument));
    kill_self();
}

static void a_child_that_never_started_goes_with_its_parent(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    uint32_t *reserved = shared_page();
    struct child child = start_child(&arena, child_reserves_and_dies, reserved);
    reap(child.pid);
    CHECK(*reserved != 0);
    CHECK(!psn_identity_is_alive(&arena, *reserved));
    EQUAL(psn_process_sweep_dead(&arena), 2);
}

/* ---- a death inside the allocator ---- */

static void child_dies_with_the_mutex(struct psn_arena *arena, void *argument) {
    (void)argument;
    psn_arena_lock(arena);
    /* all that is derived may be half changed */
    struct psn_arena_header *h = arena->header;
    memset(h->classes, 0xa5, sizeof h->classes);
    memset(h->bins, 0xa5, sizeof h->bins);
    store_relaxed(&h->warm_free, 12345678);
    store_relaxed(&h->blocks_held, 12345678);
    h->last_run = 87654321;
    uint64_t top = load_relaxed(&h->top);
    for (uint64_t page = 0; page < top; page += load_relaxed(&psn_page_at(arena, page)->pages)) {
        struct psn_page *p = psn_page_at(arena, page);
        p->live = 77;
        p->first_free = p->before = p->next = p->prev = 7777777;
        if (load_relaxed(&p->kind) == PSN_PAGE_RUN)
            store_relaxed(&p->block.pins, 99);
    }
    kill_self();
}

static void the_next_locker_rebuilds_what_a_dead_one_left(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    enum { COUNT = 400 };
    static struct psn_handle handles[COUNT];
    struct psn_handle message, target = allocate(&arena, 3 * PSN_PAGE);
    OK(psn_message_allocate(&arena, 2, 100, &message));
    OK(psn_message_refer(&arena, message.offset, target));
    for (uint64_t i = 0; i < COUNT; i++) {
        handles[i] = allocate(&arena, i * 77 % 30000);
        fill(&arena, handles[i], i * 77 % 30000);
    }
    for (int i = 0; i < COUNT; i += 3)
        psn_block_drop(&arena, handles[i]);
    uint64_t held = blocks_held(&arena), warm = load_relaxed(&arena.header->warm_free);
    for (int round = 1; round <= 3; round++) {
        struct child child = start_child(&arena, child_dies_with_the_mutex, NULL);
        reap(child.pid);
        EQUAL(blocks_held(&arena), held);
        EQUAL(load_relaxed(&arena.header->rebuilds), round);
        EQUAL(load_relaxed(&arena.header->warm_free), warm);
        EQUAL(load_relaxed(&psn_block_find(&arena, target)->pins), 1);
        WHOLE(&arena);
        psn_process_sweep(&arena, child.identity, true);
        EQUAL(blocks_held(&arena), held);
    }
    for (uint64_t i = 0; i < COUNT; i++)
        if (i % 3) {
            expect_filled(&arena, handles[i], i * 77 % 30000);
            psn_block_drop(&arena, handles[i]);
        }
    psn_block_disown(&arena, message);
    EQUAL(blocks_held(&arena), 1);
    psn_block_drop(&arena, target);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

/* ---- many at once ---- */

static void churn(struct psn_arena *arena, void *argument) {
    enum { KEPT = 60 };
    struct psn_handle kept[KEPT] = {{0, 0}};
    uint64_t sizes[KEPT], random = (uint64_t)arena->identity * 7919 + 1;
    uint64_t rounds = *(uint64_t *)argument;
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t k = next_random(&random) % KEPT;
        if (kept[k].offset) {
            expect_filled(arena, kept[k], sizes[k]);
            psn_block_drop(arena, kept[k]);
            psn_arena_lock(arena); /* where it lay may be another's payload by now */
            bool is_gone = psn_block_find(arena, kept[k]) == NULL;
            psn_arena_unlock(arena);
            CHECK(is_gone);
            kept[k].offset = 0;
        } else {
            sizes[k] = next_random(&random) % (next_random(&random) % 8 ? 3000 : 100000);
            kept[k] = allocate(arena, sizes[k]);
            fill(arena, kept[k], sizes[k]);
        }
        if (i % 997 == 0)
            WHOLE(arena);
    }
    for (int k = 0; k < KEPT; k++)
        if (kept[k].offset)
            psn_block_drop(arena, kept[k]);
}

static void one_process_allocates_and_frees_at_random(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    uint64_t rounds = 30000;
    churn(&arena, &rounds);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

static void threads_allocate_and_free_at_random(void) {
    struct psn_arena arena;
    make_arena(&arena, 128);
    uint64_t rounds = 4000;
    in_threads(&arena, 6, churn, &rounds);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

static void processes_allocate_and_free_at_random(void) {
    struct psn_arena arena;
    make_arena(&arena, 128);
    uint64_t rounds = 8000;
    in_processes(&arena, 6, churn, &rounds);
    EQUAL(blocks_held(&arena), 0);
    EQUAL(load_relaxed(&arena.header->rebuilds), 0);
    WHOLE(&arena);
}

struct shared_block {
    struct psn_handle handle;
    uint64_t rounds;
};

static void hold_and_drop(struct psn_arena *arena, void *argument) {
    struct shared_block *shared = argument;
    for (uint64_t i = 0; i < shared->rounds; i++) {
        OK(psn_block_hold(arena, shared->handle));
        CHECK(psn_block_find(arena, shared->handle) != NULL);
        psn_block_drop(arena, shared->handle);
    }
}

static void threads_hold_and_drop_one_block(void) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct shared_block shared = {allocate(&arena, 100), 3000};
    in_threads(&arena, 6, hold_and_drop, &shared);
    EQUAL(blocks_held(&arena), 1);
    psn_block_drop(&arena, shared.handle);
    EQUAL(blocks_held(&arena), 0);
}

static const struct test tests[] = {
    TEST(no_descriptor_lies_in_the_data_whatever_the_size),
    TEST(the_whole_arena_can_be_used_and_given_back),
    TEST(an_arena_too_large_for_the_machine_is_halved_until_it_fits),
    TEST(attach_sees_the_same_blocks),
    TEST(attach_refuses_what_is_no_arena),
    TEST(every_size_is_given_out_whole_and_comes_back),
    TEST(neighbouring_free_runs_become_one),
    TEST(a_run_is_split_and_the_rest_is_used),
    TEST(warm_pages_are_taken_first_and_trimmed_ones_read_as_zeros),
    TEST(no_more_pages_stay_warm_than_the_limit),
    TEST(no_memory_is_a_status_and_passes),
    TEST(messages_of_impossible_size_are_refused),
    TEST(a_stale_handle_is_gone_whatever_became_of_its_place),
    TEST(no_offset_but_that_of_a_block_is_found),
    TEST(a_block_lives_until_its_last_holder_lets_go_in_any_slot),
    TEST(the_bits_of_high_slots_take_memory_only_while_one_is_set),
    TEST(a_holder_in_a_high_slot_needs_memory_and_says_so),
    TEST(a_forked_child_holds_what_its_parent_held),
    TEST(a_message_keeps_what_it_refers_to),
    TEST(a_message_has_room_for_so_many_references_and_no_more),
    TEST(freeing_a_chain_of_messages_frees_every_link),
    TEST(a_message_given_away_belongs_to_the_other_process),
    TEST(what_only_a_killed_process_had_is_freed_by_its_sweep),
    TEST(who_is_alive_is_known_at_every_stage),
    TEST(a_slot_used_again_has_another_identity),
    TEST(slots_run_out_and_those_of_the_dead_come_back),
    TEST(a_child_that_never_started_goes_with_its_parent),
    TEST(the_next_locker_rebuilds_what_a_dead_one_left),
    TEST(one_process_allocates_and_frees_at_random),
    TEST(threads_allocate_and_free_at_random),
    TEST(processes_allocate_and_free_at_random),
    TEST(threads_hold_and_drop_one_block),
};
RUN_TESTS(tests)
