/* test_channel.c: channels between threads and processes: order, blocks, limits, growth, closing, bells and claims. */
#include "runner.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static struct psn_channel *channel_at(struct psn_arena *arena, struct psn_handle channel) {
    return psn_at(arena, channel.offset);
}

static unsigned ring_log(struct psn_arena *arena, struct psn_handle channel) {
    return (unsigned)(load_relaxed(&channel_at(arena, channel)->ring) & 63);
}

static void put_number(struct psn_arena *arena, struct psn_handle channel, uint64_t number) {
    OK(psn_channel_put(arena, channel.offset, (uint32_t)number, &number, sizeof number, PSN_FOREVER));
}

static uint64_t number_in(const struct psn_slot *slot) {
    uint64_t number;
    memcpy(&number, &slot->message, sizeof number);
    return number;
}

static uint64_t take_number(struct psn_arena *arena, struct psn_handle channel, uint64_t deadline_ns) {
    struct psn_slot slot;
    uint32_t taken;
    uint64_t first;
    OK(psn_channel_take(arena, channel.offset, 1, NULL, deadline_ns, 0, &slot, &taken, &first));
    EQUAL(taken, 1);
    EQUAL(slot.size, 8);
    EQUAL(slot.tag, (uint32_t)number_in(&slot));
    return number_in(&slot);
}

static psn_status try_take(struct psn_arena *arena, struct psn_handle channel, uint64_t deadline_ns) {
    struct psn_slot slot;
    uint32_t taken;
    uint64_t first;
    return psn_channel_take(arena, channel.offset, 1, NULL, deadline_ns, 0, &slot, &taken, &first);
}

/* A message of `size` bytes, each of them `fill`. */
static struct psn_handle make_message(struct psn_arena *arena, uint64_t size, uint8_t fill) {
    struct psn_handle message;
    OK(psn_message_allocate(arena, 0, size, &message));
    memset(psn_message_body(psn_at(arena, message.offset)), fill, size);
    return message;
}

static void put_message(struct psn_arena *arena, struct psn_handle channel, uint64_t size, uint8_t fill) {
    OK(psn_channel_put_message(arena, channel.offset, fill, make_message(arena, size, fill), PSN_FOREVER));
}

static void expect_message(struct psn_arena *arena, const struct psn_slot *slot, uint64_t size) {
    EQUAL(slot->size, PSN_SLOT_MESSAGE);
    struct psn_block *block = psn_block_find(arena, slot->message);
    CHECK(block != NULL);
    EQUAL(load_relaxed(&block->owner), arena->identity);
    EQUAL(load_relaxed(&block->home), 0);
    struct psn_message *m = psn_at(arena, slot->message.offset);
    EQUAL(m->body_size, size);
    for (uint64_t i = 0; i < size; i++)
        EQUAL(psn_message_body(m)[i], slot->tag);
}

/* ---- one process ---- */

static void messages_come_in_the_order_they_were_put(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    uint64_t put = 0, taken = 0, random = 5;
    for (int i = 0; i < 2000; i++) {
        for (uint64_t n = next_random(&random) % 7; n > 0; n--)
            put_number(&arena, channel, put++);
        for (uint64_t n = next_random(&random) % 7; n > 0 && taken < put; n--)
            EQUAL(take_number(&arena, channel, 0), taken++);
        EQUAL(psn_channel_count(channel_at(&arena, channel)), put - taken);
        WHOLE_CHANNEL(&arena, channel.offset);
    }
    while (taken < put)
        EQUAL(take_number(&arena, channel, 0), taken++);
    STATUS(try_take(&arena, channel, 0), PSN_EMPTY);
    WHOLE(&arena);
}

static void inline_messages_of_every_size_arrive_whole(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    for (uint32_t size = 0; size <= PSN_INLINE; size++) {
        uint8_t bytes[PSN_INLINE];
        memset(bytes, (int)size + 1, sizeof bytes);
        OK(psn_channel_put(&arena, channel.offset, size, bytes, size, 0));
        struct psn_slot slot;
        uint32_t taken;
        uint64_t first;
        OK(psn_channel_take(&arena, channel.offset, 1, NULL, 0, 0, &slot, &taken, &first));
        EQUAL(slot.size, size);
        EQUAL(slot.tag, size);
        EQUAL(first, size);
        EQUAL(memcmp(&slot.message, bytes, size), 0);
    }
}

static void many_are_put_as_far_as_there_is_room(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    static struct psn_slot slots[300];
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 200, &channel));
    for (uint32_t i = 0; i < 300; i++) {
        uint64_t number = i;
        slots[i] = (struct psn_slot){.size = 8, .tag = i};
        memcpy(&slots[i].message, &number, 8);
    }
    uint32_t put;
    OK(psn_channel_put_many(&arena, channel.offset, slots, 150, 0, &put));
    EQUAL(put, 150);
    STATUS(psn_channel_put_many(&arena, channel.offset, slots + 150, 150, 0, &put), PSN_FULL);
    EQUAL(put, 50);
    STATUS(psn_channel_put_many(&arena, channel.offset, slots, 1, AFTER(5), &put), PSN_FULL);
    EQUAL(put, 0);
    WHOLE_CHANNEL(&arena, channel.offset);
    for (uint64_t i = 0; i < 200; i++)
        EQUAL(take_number(&arena, channel, 0), i);
    STATUS(try_take(&arena, channel, 0), PSN_EMPTY);
    /* A hundred at a time go round a ring that is hardly larger. */
    for (int turn = 0; turn < 20; turn++) {
        OK(psn_channel_put_many(&arena, channel.offset, slots, 100, 0, &put));
        for (uint64_t i = 0; i < 100; i++)
            EQUAL(take_number(&arena, channel, 0), i);
    }
    psn_channel_close(&arena, channel.offset);
    STATUS(psn_channel_put_many(&arena, channel.offset, slots, 2, 0, &put), PSN_CLOSED);
}

static void a_message_with_another_tag_is_taken_alone(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    static const uint32_t tags[] = {7, 7, 7, 1, 1, 7, 2, 7}, lengths[] = {3, 1, 1, 1, 1, 1};
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        OK(psn_channel_put(&arena, channel.offset, tags[i], "x", 1, 0));
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        OK(psn_channel_take_alike(&arena, channel.offset, PSN_TAKE_LIMIT, 7, 0, 0, slots, &taken));
        EQUAL(taken, lengths[i]);
    }
    STATUS(psn_channel_take_alike(&arena, channel.offset, 1, 7, 0, 0, slots, &taken), PSN_EMPTY);
}

static void message_blocks_change_hands(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    struct psn_arena reader = another_view(&arena);
    uint64_t start = blocks_held(&arena);
    for (uint8_t i = 1; i < 60; i++)
        put_message(&arena, channel, i * UINT64_C(900), i);
    EQUAL(blocks_held(&arena), start + 59);
    WHOLE(&arena);
    WHOLE_CHANNEL(&arena, channel.offset);
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    for (uint64_t next = 0; next < 59; next += taken) {
        OK(psn_channel_take(&reader, channel.offset, 13, NULL, 0, 0, slots, &taken, &first));
        EQUAL(first, next);
        WHOLE_CHANNEL(&arena, channel.offset);
        for (uint32_t i = 0; i < taken; i++) {
            EQUAL(slots[i].tag, next + i + 1);
            expect_message(&reader, &slots[i], (next + i + 1) * 900);
            psn_block_disown(&reader, slots[i].message);
        }
    }
    EQUAL(blocks_held(&arena), start);
    WHOLE(&arena);
}

static void a_take_carries_off_no_more_than_wanted_and_the_limit(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    for (uint64_t i = 0; i < 200; i++)
        put_number(&arena, channel, i);
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    static const uint32_t wanted[] = {0, 1, 5, 64, 1000, 64}, expected[] = {1, 1, 5, 64, 64, 64};
    uint64_t next = 0;
    for (int i = 0; i < 6; i++) {
        OK(psn_channel_take(&arena, channel.offset, wanted[i], NULL, 0, 0, slots, &taken, &first));
        EQUAL(taken, expected[i]);
        EQUAL(first, next);
        for (uint32_t k = 0; k < taken; k++)
            EQUAL(number_in(&slots[k]), next + k);
        next += taken;
    }
    OK(psn_channel_take(&arena, channel.offset, 64, NULL, 0, 0, slots, &taken, &first));
    EQUAL(taken, 1);
}

static void a_bounded_channel_is_full_at_its_limit(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    static const uint64_t limits[] = {1, 2, 63, 64, 65, 200};
    for (int i = 0; i < 6; i++) {
        OK(psn_channel_create(&arena, limits[i], &channel));
        for (uint64_t round = 0; round < 3; round++) {
            for (uint64_t k = 0; k < limits[i]; k++)
                put_number(&arena, channel, k);
            uint64_t number = 9;
            STATUS(psn_channel_put(&arena, channel.offset, 0, &number, 8, 0), PSN_FULL);
            WHOLE_CHANNEL(&arena, channel.offset);
            for (uint64_t k = 0; k < limits[i]; k++)
                EQUAL(take_number(&arena, channel, 0), k);
        }
    }
}

static void waiting_ends_at_the_deadline_and_costs_no_processor(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 1, &channel));
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    uint64_t start_ns = psn_clock_ns();
    STATUS(try_take(&arena, channel, start_ns + 150 * MS), PSN_EMPTY);
    CHECK(psn_clock_ns() >= start_ns + 150 * MS && psn_clock_ns() < start_ns + 450 * MS);
    put_number(&arena, channel, 1);
    start_ns = psn_clock_ns();
    uint64_t number = 2;
    STATUS(psn_channel_put(&arena, channel.offset, 0, &number, 8, start_ns + 150 * MS), PSN_FULL);
    CHECK(psn_clock_ns() >= start_ns + 150 * MS && psn_clock_ns() < start_ns + 450 * MS);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 30);
    /* a message that found no room stays the caller's */
    struct psn_handle message = make_message(&arena, 100, 1);
    STATUS(psn_channel_put_message(&arena, channel.offset, 0, message, 0), PSN_FULL);
    EQUAL(load_relaxed(&psn_block_find(&arena, message)->owner), arena.identity);
    EQUAL(load_relaxed(&psn_block_find(&arena, message)->home), 0);
    psn_block_disown(&arena, message);
    CHECK(psn_block_find(&arena, message) == NULL);
}

static void a_ring_grows_and_shrinks_wherever_its_messages_lie(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 256);
    OK(psn_channel_create(&arena, 0, &channel));
    uint64_t start = blocks_held(&arena), put = 0, taken = 0;
    static const uint64_t offsets[] = {0, 1, 31, 63, 64, 65, 1000};
    for (int i = 0; i < 7; i++) {
        while (put < taken + offsets[i] % 64) /* move head and tail on */
            put_number(&arena, channel, put++);
        while (taken < put)
            EQUAL(take_number(&arena, channel, 0), taken++);
        EQUAL(ring_log(&arena, channel), 6);
        for (uint64_t k = 0; k < 9000; k++) {
            put_number(&arena, channel, put++);
            if (k % 5 == 0)
                EQUAL(take_number(&arena, channel, 0), taken++);
        }
        EQUAL(ring_log(&arena, channel), 13);
        WHOLE_CHANNEL(&arena, channel.offset);
        WHOLE(&arena);
        while (taken < put)
            EQUAL(take_number(&arena, channel, 0), taken++);
        EQUAL(ring_log(&arena, channel), 6);
        WHOLE_CHANNEL(&arena, channel.offset);
        WHOLE(&arena);
        EQUAL(blocks_held(&arena), start);
    }
}

static void a_put_that_finds_no_memory_for_a_larger_ring_says_so(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    OK(psn_arena_create(&arena, 100 * PSN_PAGE));
    OK(psn_channel_create(&arena, 0, &channel));
    uint64_t put = 0;
    psn_status status;
    while ((status = psn_channel_put(&arena, channel.offset, (uint32_t)put, &put, 8, 0)) == PSN_OK)
        put++;
    EQUAL(status, PSN_NO_MEMORY);
    CHECK(put >= 1024);
    WHOLE_CHANNEL(&arena, channel.offset);
    WHOLE(&arena);
    for (uint64_t i = 0; i < put; i++)
        EQUAL(take_number(&arena, channel, 0), i);
    put_number(&arena, channel, 7);
}

/* ---- closing and freeing ---- */

static void a_closed_channel_is_drained_and_then_closed(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    for (uint64_t i = 0; i < 10; i++)
        put_number(&arena, channel, i);
    psn_channel_close(&arena, channel.offset);
    uint64_t number = 1;
    STATUS(psn_channel_put(&arena, channel.offset, 0, &number, 8, PSN_FOREVER), PSN_CLOSED);
    for (uint64_t i = 0; i < 10; i++)
        EQUAL(take_number(&arena, channel, PSN_FOREVER), i);
    STATUS(try_take(&arena, channel, PSN_FOREVER), PSN_CLOSED);
    STATUS(try_take(&arena, channel, 0), PSN_CLOSED);
}

static void wait_for_close(struct psn_arena *arena, void *argument) {
    struct psn_handle channel = *(struct psn_handle *)argument;
    uint64_t number = 1;
    if (arena->identity % 2)
        STATUS(try_take(arena, channel, PSN_FOREVER), PSN_CLOSED);
    else {
        channel = ((struct psn_handle *)argument)[1];
        STATUS(psn_channel_put(arena, channel.offset, 0, &number, 8, PSN_FOREVER), PSN_CLOSED);
    }
}

static void closing_wakes_all_who_wait_for_messages_or_room(void) {
    struct psn_arena arena;
    struct psn_handle channels[2];
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channels[0]));
    OK(psn_channel_create(&arena, 1, &channels[1]));
    put_number(&arena, channels[1], 1);
    struct child children[6];
    for (int i = 0; i < 6; i++)
        children[i] = start_child(&arena, wait_for_close, channels);
    UNTIL(load_seq_cst(&channel_at(&arena, channels[0])->items.waiters) >= 3 &&
          load_seq_cst(&channel_at(&arena, channels[1])->room.waiters) >= 3);
    usleep(20000);
    uint64_t start_ns = psn_clock_ns();
    psn_channel_close(&arena, channels[0].offset);
    psn_channel_close(&arena, channels[1].offset);
    for (int i = 0; i < 6; i++)
        finish_child(&arena, children[i]);
    CHECK(psn_clock_ns() - start_ns < 200 * MS);
}

struct closing {
    struct psn_handle channel;
    psn_a32 put;
    psn_a32 taken;
    psn_a32 started;
};

static void put_until_closed(struct psn_arena *arena, void *argument) {
    struct closing *closing = argument;
    uint32_t taken;
    struct psn_slot slot;
    uint64_t first, number = 3;
    add_seq_cst(&closing->started, 1);
    if (arena->identity % 2) {
        while (psn_channel_put(arena, closing->channel.offset, 0, &number, 8, PSN_FOREVER) == PSN_OK)
            add_seq_cst(&closing->put, 1);
    } else {
        while (psn_channel_take(arena, closing->channel.offset, 1, NULL, PSN_FOREVER, 5, &slot, &taken, &first) == PSN_OK)
            add_seq_cst(&closing->taken, 1);
    }
}

static void what_was_put_before_the_close_is_taken_after_it(void) {
    for (int round = 0; round < 150; round++) {
        struct psn_arena arena;
        make_arena(&arena, 16);
        struct closing *closing = shared_page();
        OK(psn_channel_create(&arena, round % 3 ? 0 : 5, &closing->channel));
        struct child children[4];
        for (int i = 0; i < 4; i++)
            children[i] = start_child(&arena, put_until_closed, closing);
        UNTIL(load_seq_cst(&closing->started) == 4);
        usleep((unsigned)round * 7);
        psn_channel_close(&arena, closing->channel.offset);
        for (int i = 0; i < 4; i++)
            finish_child(&arena, children[i]);
        EQUAL(load_seq_cst(&closing->put), load_seq_cst(&closing->taken));
        psn_arena_detach(&arena);
    }
}

static void freeing_a_channel_frees_all_that_was_unread(void) {
    struct psn_arena arena;
    struct psn_handle channel, target;
    make_arena(&arena, 64);
    for (int round = 0; round < 3; round++) {
        OK(psn_block_allocate(&arena, PSN_DATA, 50000, &target));
        OK(psn_channel_create(&arena, 0, &channel));
        for (int i = 0; i < 300; i++) {
            struct psn_handle message;
            OK(psn_message_allocate(&arena, 2, (uint64_t)i * 20, &message));
            OK(psn_message_refer(&arena, message.offset, target));
            OK(psn_channel_put_message(&arena, channel.offset, 0, message, 0));
            put_number(&arena, channel, 1);
        }
        psn_block_drop(&arena, target);
        EQUAL(blocks_held(&arena), 303);
        WHOLE(&arena);
        psn_block_drop(&arena, channel);
        EQUAL(blocks_held(&arena), 0);
        WHOLE(&arena);
    }
}

static void a_channel_in_a_message_lives_as_long_as_the_message(void) {
    struct psn_arena arena;
    struct psn_handle outer, inner, message;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &outer));
    OK(psn_channel_create(&arena, 0, &inner));
    put_message(&arena, inner, 300, 4);
    OK(psn_message_allocate(&arena, 1, 0, &message));
    OK(psn_message_refer(&arena, message.offset, inner));
    OK(psn_channel_put_message(&arena, outer.offset, 0, message, 0));
    psn_block_drop(&arena, inner);
    CHECK(psn_block_find(&arena, inner) != NULL);
    psn_block_drop(&arena, outer);
    EQUAL(blocks_held(&arena), 0);
    WHOLE(&arena);
}

/* ---- many at once ---- */

struct traffic {
    struct psn_handle channel;
    uint32_t writers, readers;
    uint64_t per_writer;
    uint64_t with_blocks;
    psn_a32 next_role;
    psn_a64 sum;
    psn_a64 taken;
};

static void write_or_read(struct psn_arena *arena, void *argument) {
    struct traffic *t = argument;
    uint32_t role = add_seq_cst(&t->next_role, 1);
    uint64_t random = role * 7907 + 3;
    if (role < t->writers) {
        for (uint64_t i = 0; i < t->per_writer; i++) {
            uint64_t number = role * t->per_writer + i;
            if (t->with_blocks && next_random(&random) % 2) {
                struct psn_handle message;
                uint64_t size = 8 + next_random(&random) % 3000;
                OK(psn_message_allocate(arena, 0, size, &message));
                memcpy(psn_message_body(psn_at(arena, message.offset)), &number, 8);
                OK(psn_channel_put_message(arena, t->channel.offset, role, message, PSN_FOREVER));
            } else {
                OK(psn_channel_put(arena, t->channel.offset, role, &number, 8, PSN_FOREVER));
            }
        }
        return;
    }
    uint64_t last[32];
    memset(last, 0xff, sizeof last);
    for (;;) {
        struct psn_slot slots[PSN_TAKE_LIMIT];
        uint32_t taken, wanted = (uint32_t)(next_random(&random) % 4 ? 1 : next_random(&random) % 64);
        uint64_t first;
        psn_status status = psn_channel_take(arena, t->channel.offset, wanted, NULL, PSN_FOREVER,
                                             role % 2 ? 20 : 0, slots, &taken, &first);
        if (status == PSN_CLOSED)
            return;
        OK(status);
        for (uint32_t i = 0; i < taken; i++) {
            uint64_t number = number_in(&slots[i]);
            if (slots[i].size == PSN_SLOT_MESSAGE) {
                memcpy(&number, psn_message_body(psn_at(arena, slots[i].message.offset)), 8);
                psn_block_disown(arena, slots[i].message);
            }
            uint32_t writer = slots[i].tag;
            EQUAL(number / t->per_writer, writer);
            CHECK(last[writer] == UINT64_MAX || number > last[writer]); /* a writer's messages stay in order */
            last[writer] = number;
            add_seq_cst(&t->sum, number);
        }
        if (add_seq_cst(&t->taken, taken) + taken == t->writers * t->per_writer)
            psn_channel_close(arena, t->channel.offset);
    }
}

static void check_traffic(bool threads, uint64_t limit, uint32_t writers, uint32_t readers, uint64_t per_writer, bool blocks) {
    struct psn_arena arena;
    make_arena(&arena, 256);
    struct traffic *t = shared_page();
    t->writers = writers;
    t->readers = readers;
    t->per_writer = per_writer;
    t->with_blocks = blocks;
    OK(psn_channel_create(&arena, limit, &t->channel));
    uint64_t start = blocks_held(&arena), all = writers * per_writer;
    (threads ? in_threads : in_processes)(&arena, (int)(writers + readers), write_or_read, t);
    EQUAL(load_seq_cst(&t->taken), all);
    EQUAL(load_seq_cst(&t->sum), all * (all - 1) / 2);
    WHOLE_CHANNEL(&arena, t->channel.offset);
    WHOLE(&arena);
    CHECK(blocks_held(&arena) == start);
    EQUAL(load_relaxed(&arena.header->rebuilds), 0);
    psn_block_drop(&arena, t->channel);
    EQUAL(blocks_held(&arena), 0);
}

static void threads_exchange_each_message_exactly_once(void) { check_traffic(true, 0, 3, 3, 4000, true); }
static void threads_exchange_through_a_bounded_channel(void) { check_traffic(true, 7, 3, 3, 2000, true); }
static void threads_hand_over_one_by_one(void) { check_traffic(true, 1, 1, 1, 2000, false); }
static void processes_exchange_each_message_exactly_once(void) { check_traffic(false, 0, 4, 4, 30000, true); }
static void processes_exchange_inline_messages(void) { check_traffic(false, 0, 4, 4, 60000, false); }
static void processes_exchange_through_a_bounded_channel(void) { check_traffic(false, 3, 4, 4, 10000, true); }
static void one_writer_feeds_many_readers(void) { check_traffic(false, 0, 1, 7, 60000, true); }
static void many_writers_feed_one_reader(void) { check_traffic(false, 100, 7, 1, 10000, true); }

static void wait_in_take(struct psn_arena *arena, void *argument) {
    take_number(arena, *(struct psn_handle *)argument, PSN_FOREVER);
}

static void a_wake_up_given_to_a_killed_reader_is_made_good(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    for (int round = 0; round < 5; round++) {
        struct child doomed = start_child(&arena, wait_in_take, &channel);
        UNTIL(load_seq_cst(&channel_at(&arena, channel)->items.waiters) >= 1);
        usleep(5000);
        struct child other = start_child(&arena, wait_in_take, &channel);
        usleep(20000);
        kill(doomed.pid, SIGSTOP);
        usleep(1000);
        uint64_t start_ns = psn_clock_ns();
        put_number(&arena, channel, 1); /* perhaps for the one that is stopped */
        kill_child(&arena, doomed, true);
        finish_child(&arena, other);
        CHECK(psn_clock_ns() - start_ns < 1000 * MS);
    }
}

/* ---- bells ---- */

static bool rings(int fd, int wait_ms) {
    struct pollfd at = {.fd = fd, .events = POLLIN};
    return poll(&at, 1, wait_ms) == 1;
}

static void put_one(struct psn_arena *arena, void *argument) { put_number(arena, *(struct psn_handle *)argument, 1); }

static void a_bell_rings_once_for_each_time_one_listens(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    int fds[PSN_BELLS + 1];
    uint64_t bells[PSN_BELLS + 1];
    for (int i = 0; i <= PSN_BELLS; i++)
        OK(psn_bell_create(&fds[i], &bells[i]));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < PSN_BELLS; i++) {
            OK(psn_channel_listen(&arena, channel.offset, bells[i]));
            OK(psn_channel_listen(&arena, channel.offset, bells[i]));
        }
        STATUS(psn_channel_listen(&arena, channel.offset, bells[PSN_BELLS]), PSN_FULL);
        psn_channel_unlisten(&arena, channel.offset, bells[1]);
        finish_child(&arena, start_child(&arena, put_one, &channel));
        for (int i = 0; i < PSN_BELLS; i++) {
            EQUAL(rings(fds[i], 0), i != 1);
            psn_bell_clear(fds[i]);
        }
        put_number(&arena, channel, 1);
        for (int i = 0; i < PSN_BELLS; i++)
            CHECK(!rings(fds[i], 0));
    }
    OK(psn_channel_listen(&arena, channel.offset, bells[0]));
    psn_channel_close(&arena, channel.offset);
    CHECK(rings(fds[0], 0));
}

struct listening {
    struct psn_handle channel;
    uint64_t total;
    psn_a64 taken;
    psn_a32 next_role;
};

static void listen_or_put(struct psn_arena *arena, void *argument) {
    struct listening *l = argument;
    uint32_t role = add_seq_cst(&l->next_role, 1);
    uint64_t random = role + 77;
    if (role < 2) {
        for (uint64_t i = 0; i < l->total / 2; i++) {
            put_number(arena, l->channel, i);
            if (next_random(&random) % 4 == 0)
                usleep((unsigned)(next_random(&random) % 60));
        }
        return;
    }
    int fd;
    uint64_t bell;
    OK(psn_bell_create(&fd, &bell));
    while (load_seq_cst(&l->taken) < l->total) {
        OK(psn_channel_listen(arena, l->channel.offset, bell));
        psn_status status = try_take(arena, l->channel, 0);
        if (status == PSN_OK) {
            if (add_seq_cst(&l->taken, 1) + 1 == l->total)
                psn_channel_close(arena, l->channel.offset);
            continue;
        }
        if (status == PSN_CLOSED)
            return;
        if (!rings(fd, 3000))
            FAIL("the bell did not ring, and %" PRIu64 " messages are there",
                 psn_channel_count(channel_at(arena, l->channel)));
        psn_bell_clear(fd);
    }
    psn_channel_unlisten(arena, l->channel.offset, bell);
}

static void check_listening(bool threads, uint64_t total) {
    struct psn_arena arena;
    make_arena(&arena, 64);
    struct listening *l = shared_page();
    l->total = total;
    OK(psn_channel_create(&arena, 0, &l->channel));
    (threads ? in_threads : in_processes)(&arena, 5, listen_or_put, l);
    EQUAL(load_seq_cst(&l->taken), total);
}

static void threads_that_listen_hear_of_every_message(void) { check_listening(true, 2000); }
static void processes_that_listen_hear_of_every_message(void) { check_listening(false, 10000); }

/* ---- claims ---- */

static void a_claim_names_what_is_taken(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    struct psn_claim *claim = &psn_process_at(&arena, arena.slot)->claim;
    for (uint64_t i = 0; i < 20; i++)
        put_number(&arena, channel, i);
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    for (uint64_t next = 0; next < 20; next += taken) {
        OK(psn_channel_take(&arena, channel.offset, 6, claim, 0, 0, slots, &taken, &first));
        EQUAL(first, next);
        EQUAL(load_relaxed(&claim->from), next);
        EQUAL(load_relaxed(&claim->to), next + taken);
    }
}

/* A reader that claims and is killed before it takes; stands in for a death at that very instruction (see test_deaths.c). */
static void claim_and_die(struct psn_arena *arena, void *argument) {
    struct psn_channel *c = channel_at(arena, *(struct psn_handle *)argument);
    struct psn_claim *claim = &psn_process_at(arena, arena->slot)->claim;
    OK(psn_mutex_lock(&c->get_mutex));
    c->claimer = arena->identity;
    store_relaxed(&claim->from, load_relaxed(&c->head));
    store_release(&claim->to, load_relaxed(&c->head) + 3);
    kill_self();
}

static void a_claim_to_what_others_took_is_void(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    for (uint64_t i = 0; i < 20; i++)
        put_number(&arena, channel, i);
    EQUAL(take_number(&arena, channel, 0), 0);
    struct child child = start_child(&arena, claim_and_die, &channel);
    reap(child.pid);
    struct psn_claim *claim = &psn_process_at(&arena, psn_identity_slot(child.identity))->claim;
    CHECK(load_relaxed(&claim->from) >= load_relaxed(&channel_at(&arena, channel)->head));
    EQUAL(take_number(&arena, channel, 0), 1);
    CHECK(load_relaxed(&claim->from) >= load_relaxed(&claim->to));
}

/* ---- taking back ---- */

#define TAKEN_BACK UINT32_MAX /* as a tag */

static void what_is_queued_can_be_taken_back(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    uint64_t blocks = load_relaxed(&arena.header->blocks_held);
    for (uint64_t i = 0; i < 3; i++)
        put_number(&arena, channel, i);
    struct psn_handle message;
    OK(psn_message_allocate(&arena, 0, 100000, &message));
    OK(psn_channel_put_message(&arena, channel.offset, 0, message, 0));
    OK(psn_channel_withdraw(&arena, channel.offset, 1, NULL, 0, TAKEN_BACK));
    OK(psn_channel_withdraw(&arena, channel.offset, 3, NULL, 0, TAKEN_BACK));
    EQUAL(psn_channel_withdraw(&arena, channel.offset, 3, NULL, 0, TAKEN_BACK), PSN_GONE); /* once */
    EQUAL(load_relaxed(&arena.header->blocks_held), blocks);
    EQUAL(psn_channel_withdraw(&arena, channel.offset, 4, NULL, 0, TAKEN_BACK), PSN_GONE); /* never put */
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    OK(psn_channel_take(&arena, channel.offset, 4, NULL, 0, 0, slots, &taken, &first));
    EQUAL(taken, 4);
    EQUAL(slots[0].tag, 0);
    EQUAL(slots[1].tag, TAKEN_BACK);
    EQUAL(slots[1].size, 0);
    EQUAL(slots[3].tag, TAKEN_BACK);
    EQUAL(slots[3].size, 0);
    EQUAL(psn_channel_withdraw(&arena, channel.offset, 2, NULL, 0, TAKEN_BACK), PSN_GONE); /* taken by one who claims nothing */
    CHECK(psn_channel_check(&arena, channel.offset) == NULL);
}

static void what_is_claimed_can_be_taken_back_until_it_is_begun(void) {
    struct psn_arena arena;
    struct psn_handle channel;
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &channel));
    struct psn_claim *claim = &psn_process_at(&arena, arena.slot)->claim;
    for (uint64_t i = 0; i < 4; i++)
        put_number(&arena, channel, i);
    struct psn_slot slots[PSN_TAKE_LIMIT];
    uint32_t taken;
    uint64_t first;
    OK(psn_channel_take(&arena, channel.offset, 3, claim, 0, 0, slots, &taken, &first));
    CHECK(psn_claim_begin(claim, 0));
    EQUAL(load_relaxed(&claim->running), 0);
    EQUAL(psn_channel_withdraw(&arena, channel.offset, 0, &arena.identity, 1, TAKEN_BACK), PSN_GONE);
    OK(psn_channel_withdraw(&arena, channel.offset, 2, &arena.identity, 1, TAKEN_BACK));
    EQUAL(psn_channel_withdraw(&arena, channel.offset, 2, &arena.identity, 1, TAKEN_BACK), PSN_GONE); /* once */
    CHECK(psn_claim_begin(claim, 1));
    CHECK(!psn_claim_begin(claim, 2));
    EQUAL(load_relaxed(&claim->running), 1);
    OK(psn_channel_take(&arena, channel.offset, 3, claim, 0, 0, slots, &taken, &first));
    CHECK(psn_claim_begin(claim, 3)); /* a new claim has none of the old one's bits */
}

#define RACED 20000u
struct race {
    struct psn_arena *arena;
    struct psn_handle channel;
    psn_a32 *fate; /* by message: how often it was run or taken back */
};

static void *take_and_run(void *argument) {
    struct race *race = argument;
    struct psn_claim *claim = &psn_process_at(race->arena, race->arena->slot)->claim;
    struct psn_slot slots[PSN_TAKE_LIMIT];
    for (;;) {
        uint32_t taken;
        uint64_t first;
        psn_status status = psn_channel_take(race->arena, race->channel.offset, PSN_TAKE_LIMIT, claim, PSN_FOREVER, 0, slots,
                                             &taken, &first);
        if (status == PSN_CLOSED)
            return NULL;
        for (uint32_t i = 0; status == PSN_OK && i < taken; i++)
            if (slots[i].tag != TAKEN_BACK && psn_claim_begin(claim, first + i))
                add_relaxed(&race->fate[first + i], 1);
    }
}

static void threads_run_or_take_back_each_message_exactly_once(void) {
    struct psn_arena arena;
    static psn_a32 fate[RACED];
    struct race race = {&arena, {0, 0}, fate};
    make_arena(&arena, 64);
    OK(psn_channel_create(&arena, 0, &race.channel));
    pthread_t reader;
    CHECK(pthread_create(&reader, NULL, take_and_run, &race) == 0);
    uint32_t taken_back = 0;
    for (uint64_t i = 0; i < RACED; i++) {
        put_number(&arena, race.channel, i);
        /* Each once, up to seven messages later: it is queued, claimed, running or done by then. */
        for (uint64_t lag = 0; lag < 8 && lag <= i; lag++) {
            uint64_t which = i - lag;
            if (which % 8 != lag || psn_channel_withdraw(&arena, race.channel.offset, which, &arena.identity, 1, TAKEN_BACK) != PSN_OK)
                continue;
            add_relaxed(&fate[which], 1);
            taken_back++;
        }
    }
    psn_channel_close(&arena, race.channel.offset);
    pthread_join(reader, NULL);
    for (uint64_t i = 0; i < RACED; i++)
        EQUAL(load_relaxed(&fate[i]), 1);
    CHECK(taken_back > 0);
}

static const struct test tests[] = {
    TEST(messages_come_in_the_order_they_were_put),
    TEST(inline_messages_of_every_size_arrive_whole),
    TEST(many_are_put_as_far_as_there_is_room),
    TEST(a_message_with_another_tag_is_taken_alone),
    TEST(message_blocks_change_hands),
    TEST(a_take_carries_off_no_more_than_wanted_and_the_limit),
    TEST(a_bounded_channel_is_full_at_its_limit),
    TEST(waiting_ends_at_the_deadline_and_costs_no_processor),
    TEST(a_ring_grows_and_shrinks_wherever_its_messages_lie),
    TEST(a_put_that_finds_no_memory_for_a_larger_ring_says_so),
    TEST(a_closed_channel_is_drained_and_then_closed),
    TEST(closing_wakes_all_who_wait_for_messages_or_room),
    TEST(what_was_put_before_the_close_is_taken_after_it),
    TEST(freeing_a_channel_frees_all_that_was_unread),
    TEST(a_channel_in_a_message_lives_as_long_as_the_message),
    TEST(threads_exchange_each_message_exactly_once),
    TEST(threads_exchange_through_a_bounded_channel),
    TEST(threads_hand_over_one_by_one),
    TEST(processes_exchange_each_message_exactly_once),
    TEST(processes_exchange_inline_messages),
    TEST(processes_exchange_through_a_bounded_channel),
    TEST(one_writer_feeds_many_readers),
    TEST(many_writers_feed_one_reader),
    TEST(a_wake_up_given_to_a_killed_reader_is_made_good),
    TEST(a_bell_rings_once_for_each_time_one_listens),
    TEST(threads_that_listen_hear_of_every_message),
    TEST(processes_that_listen_hear_of_every_message),
    TEST(a_claim_names_what_is_taken),
    TEST(a_claim_to_what_others_took_is_void),
    TEST(what_is_queued_can_be_taken_back),
    TEST(what_is_claimed_can_be_taken_back_until_it_is_begun),
    TEST(threads_run_or_take_back_each_message_exactly_once),
};
RUN_TESTS(tests)
