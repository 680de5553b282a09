/* files.h: many small files copied, or found to be there already, without a word for each.

   Only what is plain is done here: a regular file with no attributes, or a symbolic link, owned by who copies it, that is still
   what the listing saw and goes to a name that is free.  All else is left, untouched, to the caller, who knows what to do with it and how to
   tell of it.  Each system implements this in a file of its own, as it does platform.h. */
#ifndef PSN_FILES_H
#define PSN_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "atomic.h"

/* An entry of a folder as the listing saw it.  Its name follows, with a zero at its end, and zeros up to a multiple of 8
   bytes; then the next entry.  It travels between processes as bytes. */
struct psn_entry {
    int64_t size;
    int64_t mtime_ns;
    int64_t atime_ns;
    uint16_t name_size; /* without its zero */
    uint8_t kind;       /* enum psn_entry_kind */
    uint8_t spare[5];
};
_Static_assert(sizeof(struct psn_entry) == 32, "travels between processes");

enum psn_entry_kind {
    PSN_ENTRY_FILE,
    PSN_ENTRY_SPARSE, /* a file with fewer blocks than its size takes: with holes, or compressed */
    PSN_ENTRY_LINK,
};

static inline size_t psn_entry_room(size_t name_size) {
    return sizeof(struct psn_entry) + (name_size + 8) / 8 * 8;
}

enum psn_file_end {
    PSN_FILE_DONE,
    PSN_FILE_UNCHANGED,
    PSN_FILE_LEFT, /* nothing was done */
};

/* Where progress is seen by others while it is made. */
struct psn_files_progress {
    psn_a64 *files;
    psn_a64 *bytes;
};

/* The devices of the last two folders between which files cannot share blocks; all 0 at first. */
struct psn_files_apart {
    uint64_t source, target;
};

/* Copy the entries from the open folder `source` to `target`, in which nobody but this run has put anything.  `ends` gets an
   enum psn_file_end for each.  A copy shares the blocks of its file if the file system can.  `room` is read into: a file that does
   not fit, with a byte to spare, is left.  After a file for which the target had no space the rest is left, too.  Returns how many
   entries there were. */
size_t psn_files_copy(int source, int target, const void *entries, size_t size, void *room, size_t room_size,
                      struct psn_files_apart *apart, uint8_t *ends, struct psn_files_progress progress);

/* Which of the entries `target` has already: files with the size, the time, the mode and, where this user may set it, the
   owner of the source; links with its time and text.  Others are left. */
size_t psn_files_compare(int source, int target, const void *entries, size_t size, uint8_t *ends,
                         struct psn_files_progress progress);

#endif
