/* files_linux.c: files.h on Linux.  A small file takes nine system calls, a symbolic link four, in the order that
   apps/copy/worker.py has, too. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NS 1000000000
#define SPECIAL_BITS (S_ISUID | S_ISGID) /* writing takes them off again */

/* One entry after the other; stops at one that does not fit into what there is. */
struct walk {
    const uint8_t *next, *end;
    struct psn_entry entry;
    const char *name;
};

static bool step(struct walk *walk) {
    size_t left = (size_t)(walk->end - walk->next);
    if (left < sizeof walk->entry)
        return false;
    memcpy(&walk->entry, walk->next, sizeof walk->entry);
    size_t room = psn_entry_room(walk->entry.name_size);
    if (left < room)
        return false;
    walk->name = (const char *)walk->next + sizeof walk->entry;
    walk->next += room;
    return walk->name[walk->entry.name_size] == 0;
}

static int64_t time_ns(struct timespec time) {
    return (int64_t)time.tv_sec * NS + time.tv_nsec;
}

static struct timespec time_of(int64_t ns) {
    int64_t rest = ns % NS < 0 ? ns % NS + NS : ns % NS; /* before 1970, too, nanoseconds count upwards */
    return (struct timespec){(ns - rest) / NS, rest};
}

static bool is_as_listed(const struct psn_entry *entry, const struct stat *found) {
    return S_ISREG(found->st_mode) && found->st_size == entry->size && time_ns(found->st_mtim) == entry->mtime_ns;
}

static bool is_full(int error) {
    return error == ENOSPC || error == EDQUOT || error == EROFS;
}

static void advance(struct psn_files_progress progress, const struct psn_entry *entry) {
    add_relaxed(progress.bytes, (uint64_t)entry->size);
    add_relaxed(progress.files, 1);
}

struct copier {
    int source, target;
    uint8_t *room;
    size_t room_size;
    uid_t user;
    gid_t group;
    bool is_proved; /* the target gives a new file the owner and the mode that it is made with */
    bool is_full;
    bool may_share; /* blocks, until it is known better */
};

static bool write_all(int fd, const uint8_t *data, size_t size) {
    while (size > 0) {
        ssize_t count = write(fd, data, size);
        if (count <= 0)
            return false;
        data += count;
        size -= (size_t)count;
    }
    return true;
}

/* Whether what was made has its source's owner and mode by itself; asked once for each folder. */
static bool proves(struct copier *copier, const char *name, const struct stat *wanted) {
    struct stat made;
    if (!copier->is_proved)
        copier->is_proved = fstatat(copier->target, name, &made, AT_SYMLINK_NOFOLLOW) == 0 && made.st_uid == wanted->st_uid &&
                            made.st_gid == wanted->st_gid && made.st_mode == wanted->st_mode;
    return copier->is_proved;
}

/* One byte more than it had: a file that has grown gives it.  Whether it changed while it was read, its time tells. */
static bool read_whole(struct copier *copier, int fd, const struct psn_entry *entry, struct stat *found) {
    return pread(fd, copier->room, (size_t)entry->size + 1, 0) == entry->size && fstat(fd, found) == 0 &&
           is_as_listed(entry, found);
}

/* The content of a file that was not read yet. */
static bool share(struct copier *copier, int source, int fd, const struct psn_entry *entry) {
    struct stat after;
    if (ioctl(fd, FICLONE, source) == 0)
        return fstat(source, &after) == 0 && is_as_listed(entry, &after);
    if (errno != EINVAL) /* that may be for this file alone */
        copier->may_share = false;
    errno = 0;
    return read_whole(copier, source, entry, &after) && write_all(fd, copier->room, (size_t)entry->size);
}

static bool write_file(struct copier *copier, int source, const char *name, const struct stat *found,
                       const struct psn_entry *entry, bool is_read) {
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(copier->target, name, flags, found->st_mode & 07777);
    if (fd < 0) {
        copier->is_full = is_full(errno);
        return false;
    }
    /* The time comes last: a file that has its source's is whole. */
    struct timespec times[2] = {time_of(entry->atime_ns), found->st_mtim};
    bool is_whole = proves(copier, name, found) &&
                    (is_read ? write_all(fd, copier->room, (size_t)entry->size) : share(copier, source, fd, entry)) &&
                    futimens(fd, times) == 0;
    if (!is_whole)
        copier->is_full = is_full(errno);
    is_whole = close(fd) == 0 && is_whole;
    if (!is_whole)
        unlinkat(copier->target, name, 0);
    return is_whole;
}

static bool copy_file(struct copier *copier, const char *name, const struct psn_entry *entry) {
    if (entry->size < 0 || (uint64_t)entry->size >= copier->room_size)
        return false;
    /* Not to wait for a writer if a fifo has taken the file's place. */
    int fd = openat(copier->source, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    struct stat found;
    bool is_read = !copier->may_share || entry->size == 0;
    bool is_plain = is_read ? read_whole(copier, fd, entry, &found) : fstat(fd, &found) == 0 && is_as_listed(entry, &found);
    is_plain = is_plain && found.st_uid == copier->user && found.st_gid == copier->group && !(found.st_mode & SPECIAL_BITS) &&
               flistxattr(fd, NULL, 0) <= 0;
    if (is_plain && entry->kind == PSN_ENTRY_SPARSE)
        is_plain = lseek(fd, 0, SEEK_HOLE) == entry->size;
    bool is_done = is_plain && write_file(copier, fd, name, &found, entry, is_read);
    close(fd);
    return is_done;
}

static bool copy_link(struct copier *copier, const char *name, const struct psn_entry *entry) {
    struct stat found;
    char text[PATH_MAX];
    ssize_t size = readlinkat(copier->source, name, text, sizeof text);
    if (size <= 0 || size == sizeof text || fstatat(copier->source, name, &found, AT_SYMLINK_NOFOLLOW))
        return false;
    if (!S_ISLNK(found.st_mode) || found.st_uid != copier->user || found.st_gid != copier->group)
        return false;
    text[size] = 0;
    if (symlinkat(text, copier->target, name)) {
        copier->is_full = is_full(errno);
        return false;
    }
    struct timespec times[2] = {time_of(entry->atime_ns), found.st_mtim};
    if (proves(copier, name, &found) && utimensat(copier->target, name, times, AT_SYMLINK_NOFOLLOW) == 0)
        return true;
    unlinkat(copier->target, name, 0);
    return false;
}

size_t psn_files_copy(int source, int target, const void *entries, size_t size, void *room, size_t room_size,
                      struct psn_files_apart *apart, uint8_t *ends, struct psn_files_progress progress) {
    struct walk walk = {.next = entries, .end = (const uint8_t *)entries + size};
    struct copier copier = {source, target, room, room_size, geteuid(), getegid(), false, false, false};
    struct stat from, to;
    if (fstat(source, &from) == 0 && fstat(target, &to) == 0)
        copier.may_share = from.st_dev != apart->source || to.st_dev != apart->target;
    bool may_share = copier.may_share;
    size_t count = 0;
    while (step(&walk)) {
        bool is_done = false;
        if (!copier.is_full)
            is_done = walk.entry.kind == PSN_ENTRY_LINK ? copy_link(&copier, walk.name, &walk.entry)
                                                        : copy_file(&copier, walk.name, &walk.entry);
        ends[count++] = is_done ? PSN_FILE_DONE : PSN_FILE_LEFT;
        if (is_done)
            advance(progress, &walk.entry);
    }
    if (may_share && !copier.may_share)
        *apart = (struct psn_files_apart){from.st_dev, to.st_dev};
    return count;
}

static bool is_file_there(int source, int target, const char *name, const struct psn_entry *entry, bool may_give) {
    struct stat there, found;
    if (fstatat(target, name, &there, AT_SYMLINK_NOFOLLOW) || !is_as_listed(entry, &there))
        return false;
    if (fstatat(source, name, &found, AT_SYMLINK_NOFOLLOW) || !is_as_listed(entry, &found))
        return false;
    /* What shares its file with others there, and does not here, is made anew. */
    if (there.st_nlink > 1 && found.st_nlink == 1)
        return false;
    return there.st_mode == found.st_mode && (!may_give || (there.st_uid == found.st_uid && there.st_gid == found.st_gid));
}

static bool is_link_there(int source, int target, const char *name, const struct psn_entry *entry) {
    struct stat there;
    if (fstatat(target, name, &there, AT_SYMLINK_NOFOLLOW) || !S_ISLNK(there.st_mode) ||
        time_ns(there.st_mtim) != entry->mtime_ns)
        return false;
    char text[PATH_MAX], same[PATH_MAX];
    ssize_t size = readlinkat(source, name, text, sizeof text);
    return size > 0 && size < (ssize_t)sizeof text && readlinkat(target, name, same, sizeof same) == size &&
           memcmp(text, same, (size_t)size) == 0;
}

size_t psn_files_compare(int source, int target, const void *entries, size_t size, uint8_t *ends,
                         struct psn_files_progress progress) {
    struct walk walk = {.next = entries, .end = (const uint8_t *)entries + size};
    bool may_give = geteuid() == 0;
    size_t count = 0;
    while (step(&walk)) {
        bool is_there = walk.entry.kind == PSN_ENTRY_LINK
                            ? is_link_there(source, target, walk.name, &walk.entry)
                            : is_file_there(source, target, walk.name, &walk.entry, may_give);
        ends[count++] = is_there ? PSN_FILE_UNCHANGED : PSN_FILE_LEFT;
        if (is_there)
            advance(progress, &walk.entry);
    }
    return count;
}
