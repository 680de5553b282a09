/* test_layout.c: docs/layout.md says what the headers say.  Every row of its tables is compared with the code, every field
   must have its row, and rows must follow each other without a gap. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "condition.h"
#include "files.h"
#include "ledger.h"
#include "lock.h"

struct field {
    const char *in, *name;
    size_t offset, size, struct_size;
    int is_documented;
};
#define F(in, name) {#in, #name, offsetof(struct in, name), sizeof(((struct in *)0)->name), sizeof(struct in), 0}

static struct field fields[] = {
    F(psn_arena_header, magic), F(psn_arena_header, version), F(psn_arena_header, slots), F(psn_arena_header, size),
    F(psn_arena_header, slots_offset), F(psn_arena_header, pages_offset), F(psn_arena_header, data_offset),
    F(psn_arena_header, page_count), F(psn_arena_header, warm_limit), F(psn_arena_header, mutex),
    F(psn_arena_header, serial), F(psn_arena_header, top), F(psn_arena_header, warm_free),
    F(psn_arena_header, rebuilds), F(psn_arena_header, blocks_held), F(psn_arena_header, swept_at),
    F(psn_arena_header, classes), F(psn_arena_header, bins), F(psn_arena_header, last_run),
    F(psn_arena_header, large_at), F(psn_arena_header, tended_at), F(psn_arena_header, names_offset),
    F(psn_arena_header, name_limit), F(psn_arena_header, spare),
    F(psn_name, state), F(psn_name, device), F(psn_name, inode), F(psn_name, text), F(psn_names, top),
    F(psn_process, state), F(psn_process, identity), F(psn_process, pid), F(psn_process, parent),
    F(psn_process, started), F(psn_process, boot), F(psn_process, claim), F(psn_process, exitcode),
    F(psn_process, is_dismissed), F(psn_process, condemned), F(psn_process, condemned_item), F(psn_process, told),
    F(psn_process, spare),
    F(psn_claim, from), F(psn_claim, to), F(psn_claim, running), F(psn_claim, item),
    F(psn_claim, began), F(psn_claim, begun),
    F(psn_page, kind), F(psn_page, size_class), F(psn_page, pages), F(psn_page, warm), F(psn_page, live),
    F(psn_page, first_free), F(psn_page, before), F(psn_page, next), F(psn_page, prev), F(psn_page, spare),
    F(psn_page, block),
    F(psn_block, state), F(psn_block, kind), F(psn_block, generation), F(psn_block, size), F(psn_block, next),
    F(psn_block, owner), F(psn_block, pins), F(psn_block, home), F(psn_block, holders), F(psn_block, more_holders),
    F(psn_message, ref_room), F(psn_message, ref_count), F(psn_message, body_size),
    F(psn_mutex, storage),
    F(psn_waitable, sequence), F(psn_waitable, waiters), F(psn_waitable, handle),
    F(psn_lock, owner), F(psn_lock, thread), F(psn_lock, depth), F(psn_lock, recursive), F(psn_lock, released),
    F(psn_lock, dead_pid), F(psn_lock, dead_exitcode), F(psn_lock, cpu), F(psn_lock, spare),
    F(psn_semaphore, mutex), F(psn_semaphore, value), F(psn_semaphore, initial), F(psn_semaphore, limit),
    F(psn_semaphore, has_died), F(psn_semaphore, released), F(psn_semaphore, permits), F(psn_semaphore, dead),
    F(psn_semaphore, taken), F(psn_semaphore, dead_exitcode), F(psn_semaphore, spare),
    F(psn_condition, mutex), F(psn_condition, arrivals), F(psn_condition, horizon), F(psn_condition, eligible),
    F(psn_condition, permits), F(psn_condition, changed), F(psn_condition, waiting), F(psn_condition, spare),
    F(psn_count, identity), F(psn_count, count),
    F(psn_counts, here), F(psn_counts, table), F(psn_counts, others), F(psn_counts, total), F(psn_counts, moving),
    F(psn_counts, moved), F(psn_counts, looked), F(psn_counts, spare),
    F(psn_event, is_set), F(psn_event, sets), F(psn_event, changed), F(psn_event, spare),
    F(psn_channel, put_mutex), F(psn_channel, tail), F(psn_channel, put_cpu), F(psn_channel, is_closed),
    F(psn_channel, seen_head), F(psn_channel, get_mutex), F(psn_channel, head), F(psn_channel, get_cpu),
    F(psn_channel, claimer), F(psn_channel, seen_tail), F(psn_channel, ring), F(psn_channel, items),
    F(psn_channel, room), F(psn_channel, has_bells), F(psn_channel, spare), F(psn_channel, limit),
    F(psn_channel, spare2), F(psn_channel, bells), F(psn_channel, awake_until), F(psn_channel, old_ring),
    F(psn_channel, new_ring), F(psn_channel, spare3),
    F(psn_ledger, take_mutex), F(psn_ledger, mutex), F(psn_ledger, channel), F(psn_ledger, finished),
    F(psn_ledger, noted), F(psn_ledger, taker), F(psn_ledger, taker_count), F(psn_ledger, step), F(psn_ledger, early),
    F(psn_ledger, lost), F(psn_ledger, dead), F(psn_ledger, dead_pid), F(psn_ledger, dead_exitcode),
    F(psn_ledger, next_early), F(psn_ledger, next_lost), F(psn_ledger, taken),
    F(psn_ring_slot, position), F(psn_ring_slot, slot),
    F(psn_slot, size), F(psn_slot, tag), F(psn_slot, message), F(psn_slot, tail),
    F(psn_handle, offset), F(psn_handle, generation),
    F(psn_entry, size), F(psn_entry, mtime_ns), F(psn_entry, atime_ns), F(psn_entry, name_size), F(psn_entry, kind),
    F(psn_entry, spare),
};
#define FIELDS (sizeof fields / sizeof fields[0])

static int failed;

static void complain(int line, const char *in, const char *name, const char *what) {
    printf("layout.md:%d: struct %s, %s: %s\n", line, in, name, what);
    failed++;
}

static struct field *find(const char *in, const char *name) {
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(fields[i].in, in) == 0 && strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

int main(int argc, char **argv) {
    FILE *page = fopen(argc > 1 ? argv[1] : "docs/layout.md", "r");
    if (!page) {
        perror("layout.md");
        return 1;
    }
    char text[2048], in[64] = "", name[64];
    size_t offset, size, end = 0, struct_size = 0;
    int rows = 0;
    for (int line = 1; fgets(text, sizeof text, page); line++) {
        char next[64];
        size_t next_size;
        if (sscanf(text, "## struct %63[a-z_]: %zu bytes", next, &next_size) == 2) {
            if (end != struct_size)
                complain(line, in, "its end", "rows do not reach it");
            strcpy(in, next);
            struct_size = next_size;
            end = 0;
        } else if (sscanf(text, "| %zu | %zu | `%63[a-z_0-9]`", &offset, &size, name) == 3) {
            struct field *field = find(in, name);
            rows++;
            if (!field) {
                complain(line, in, name, "no such field");
                continue;
            }
            if (field->offset != offset || field->size != size)
                complain(line, in, name, "lies elsewhere or has another size");
            if (field->struct_size != struct_size)
                complain(line, in, name, "the struct has another size");
            if (offset != end)
                complain(line, in, name, "does not begin where the row before ends");
            end = offset + size;
            field->is_documented = 1;
        }
    }
    fclose(page);
    if (end != struct_size)
        complain(0, in, "its end", "rows do not reach it");
    for (size_t i = 0; i < FIELDS; i++)
        if (!fields[i].is_documented)
            complain(0, fields[i].in, fields[i].name, "is not documented");
    printf("%d rows compared, %d failed\n", rows, failed);
    return failed != 0;
}
