/* test_files.c: small files in bulk, and what is left to the caller. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "files.h"
#include "runner.h"

enum { ROOM = 4096, MOST = 16 };

/* Two new folders, and entries of the first as the listing would give them. */
struct trees {
    char base[64];
    int source, target;
    uint8_t entries[4096];
    size_t size;
    uint8_t room[ROOM], ends[MOST];
    struct psn_files_apart apart;
    psn_a64 files, bytes;
};

static int open_new(const char *base, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", base, name);
    EQUAL(mkdir(path, 0700), 0);
    return open(path, O_RDONLY | O_DIRECTORY);
}

static void set_up(struct trees *t) {
    memset(t, 0, sizeof *t);
    umask(0);
    snprintf(t->base, sizeof t->base, "/tmp/test_files-XXXXXX");
    CHECK(mkdtemp(t->base) != NULL);
    t->source = open_new(t->base, "source");
    t->target = open_new(t->base, "target");
    memset(t->ends, 9, sizeof t->ends);
}

static void tear_down(struct trees *t) {
    char command[128];
    close(t->source);
    close(t->target);
    snprintf(command, sizeof command, "rm -rf '%s'", t->base);
    EQUAL(system(command), 0);
}

static void make(int folder, const char *name, const char *content, int64_t seconds, mode_t mode) {
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC, mode);
    CHECK(fd >= 0);
    EQUAL(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    struct timespec times[2] = {{seconds, 7}, {seconds, 999999999}};
    EQUAL(futimens(fd, times), 0);
    close(fd);
}

static void list(struct trees *t, const char *name) {
    struct stat found;
    EQUAL(fstatat(t->source, name, &found, AT_SYMLINK_NOFOLLOW), 0);
    struct psn_entry entry = {.size = found.st_size,
                              .mtime_ns = found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec,
                              .atime_ns = found.st_atim.tv_sec * 1000000000 + found.st_atim.tv_nsec,
                              .name_size = (uint16_t)strlen(name),
                              .kind = S_ISLNK(found.st_mode)                     ? PSN_ENTRY_LINK
                                      : found.st_blocks * 512 < found.st_size ? PSN_ENTRY_SPARSE
                                                                                 : PSN_ENTRY_FILE};
    memcpy(t->entries + t->size, &entry, sizeof entry);
    memcpy(t->entries + t->size + sizeof entry, name, strlen(name));
    t->size += psn_entry_room(strlen(name));
}

static void add(struct trees *t, const char *name, const char *content) {
    make(t->source, name, content, 1000, 0640);
    list(t, name);
}

static size_t copy(struct trees *t) {
    struct psn_files_progress progress = {&t->files, &t->bytes};
    return psn_files_copy(t->source, t->target, t->entries, t->size, t->room, ROOM, &t->apart, t->ends, progress);
}

static size_t compare(struct trees *t) {
    struct psn_files_progress progress = {&t->files, &t->bytes};
    return psn_files_compare(t->source, t->target, t->entries, t->size, t->ends, progress);
}

static bool is_in_target(struct trees *t, const char *name) {
    return faccessat(t->target, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void copies_have_content_mode_and_times(void) {
    struct trees t;
    set_up(&t);
    add(&t, "a", "first");
    add(&t, "empty", "");
    add(&t, "a name of eight and more", "third");
    make(t.source, "old", "before 1970", -5, 0400);
    list(&t, "old");
    EQUAL(copy(&t), 4);
    for (int i = 0; i < 4; i++)
        EQUAL(t.ends[i], PSN_FILE_DONE);
    EQUAL(t.files, 4);
    EQUAL(t.bytes, 5 + 5 + 11);
    struct stat source, target;
    char content[16] = {0};
    EQUAL(fstatat(t.source, "old", &source, 0), 0);
    EQUAL(fstatat(t.target, "old", &target, 0), 0);
    EQUAL(target.st_mode, source.st_mode);
    EQUAL(target.st_mtim.tv_sec, -5);
    EQUAL(target.st_mtim.tv_nsec, 999999999);
    EQUAL(target.st_atim.tv_sec, -5);
    EQUAL(target.st_atim.tv_nsec, 7);
    int fd = openat(t.target, "a", O_RDONLY);
    EQUAL(read(fd, content, sizeof content), 5);
    CHECK(strcmp(content, "first") == 0);
    close(fd);
    tear_down(&t);
}

static void what_is_not_plain_is_left_untouched(void) {
    struct trees t;
    set_up(&t);
    add(&t, "grown", "12");
    add(&t, "shrunk", "12345");
    add(&t, "touched", "12");
    add(&t, "gone", "12");
    add(&t, "taken", "new");
    make(t.source, "setuid", "12", 1000, 04755);
    list(&t, "setuid");
    char long_content[ROOM + 1];
    memset(long_content, 'x', ROOM);
    long_content[ROOM] = 0;
    add(&t, "does not fit", long_content);
    add(&t, "a fifo now", "12");
    make(t.source, "grown", "123", 1000, 0640);
    make(t.source, "shrunk", "1", 1000, 0640);
    make(t.source, "touched", "12", 1001, 0640);
    unlinkat(t.source, "gone", 0);
    unlinkat(t.source, "a fifo now", 0);
    EQUAL(mkfifoat(t.source, "a fifo now", 0600), 0);
    make(t.target, "taken", "old", 1, 0600);
    EQUAL(copy(&t), 8);
    for (int i = 0; i < 8; i++)
        EQUAL(t.ends[i], PSN_FILE_LEFT);
    EQUAL(t.files, 0);
    EQUAL(t.bytes, 0);
    CHECK(!is_in_target(&t, "grown") && !is_in_target(&t, "shrunk") && !is_in_target(&t, "touched"));
    CHECK(!is_in_target(&t, "setuid") && !is_in_target(&t, "does not fit"));
    struct stat taken;
    EQUAL(fstatat(t.target, "taken", &taken, 0), 0);
    EQUAL(taken.st_mtim.tv_sec, 1);
    tear_down(&t);
}

static void attributes_and_holes_are_left(void) {
    struct trees t;
    set_up(&t);
    add(&t, "plain", "12");
    int fd = openat(t.source, "plain", O_RDWR);
    bool has_attributes = fsetxattr(fd, "user.colour", "red", 3, 0) == 0;
    close(fd);
    fd = openat(t.source, "hole", O_RDWR | O_CREAT, 0600);
    EQUAL(ftruncate(fd, 3000), 0);
    close(fd);
    list(&t, "hole");
    EQUAL(copy(&t), 2);
    EQUAL(t.ends[0], has_attributes ? PSN_FILE_LEFT : PSN_FILE_DONE);
    EQUAL(t.ends[1], PSN_FILE_LEFT);
    tear_down(&t);
}

static void links_have_text_and_time(void) {
    struct trees t;
    set_up(&t);
    EQUAL(symlinkat("nowhere/at all", t.source, "link"), 0);
    struct timespec times[2] = {{1000, 1}, {1000, 2}};
    EQUAL(utimensat(t.source, "link", times, AT_SYMLINK_NOFOLLOW), 0);
    list(&t, "link");
    EQUAL(compare(&t), 1);
    EQUAL(t.ends[0], PSN_FILE_LEFT);
    EQUAL(copy(&t), 1);
    EQUAL(t.ends[0], PSN_FILE_DONE);
    struct stat found;
    char text[32] = {0};
    EQUAL(fstatat(t.target, "link", &found, AT_SYMLINK_NOFOLLOW), 0);
    EQUAL(found.st_mtim.tv_sec, 1000);
    EQUAL(found.st_mtim.tv_nsec, 2);
    EQUAL(readlinkat(t.target, "link", text, sizeof text), 14);
    CHECK(strcmp(text, "nowhere/at all") == 0);
    EQUAL(compare(&t), 1);
    EQUAL(t.ends[0], PSN_FILE_UNCHANGED);
    EQUAL(copy(&t), 1);
    EQUAL(t.ends[0], PSN_FILE_LEFT);
    unlinkat(t.target, "link", 0);
    EQUAL(symlinkat("elsewhere", t.target, "link"), 0);
    EQUAL(utimensat(t.target, "link", times, AT_SYMLINK_NOFOLLOW), 0);
    EQUAL(compare(&t), 1);
    EQUAL(t.ends[0], PSN_FILE_LEFT);
    tear_down(&t);
}

static void what_the_target_has_is_unchanged(void) {
    struct trees t;
    set_up(&t);
    add(&t, "same", "12");
    add(&t, "missing", "12");
    add(&t, "other size", "12");
    add(&t, "other time", "12");
    add(&t, "other mode", "12");
    add(&t, "with another name", "12");
    make(t.target, "same", "ab", 1000, 0640);
    make(t.target, "other size", "123", 1000, 0640);
    make(t.target, "other time", "12", 1001, 0640);
    make(t.target, "other mode", "12", 1000, 0600);
    make(t.target, "with another name", "12", 1000, 0640);
    EQUAL(linkat(t.target, "with another name", t.target, "another", 0), 0);
    EQUAL(compare(&t), 6);
    EQUAL(t.ends[0], PSN_FILE_UNCHANGED);
    for (int i = 1; i < 6; i++)
        EQUAL(t.ends[i], PSN_FILE_LEFT);
    EQUAL(t.files, 1);
    tear_down(&t);
}

static void entries_that_are_cut_off_are_not_read(void) {
    struct trees t;
    set_up(&t);
    add(&t, "one", "12");
    size_t whole = t.size;
    add(&t, "another one", "12");
    for (size_t size = 0; size < t.size; size++) {
        size_t all = t.size;
        t.size = size;
        EQUAL(compare(&t), size < whole ? 0 : 1);
        t.size = all;
    }
    tear_down(&t);
}

static const struct test tests[] = {
    TEST(copies_have_content_mode_and_times),
    TEST(what_is_not_plain_is_left_untouched),
    TEST(attributes_and_holes_are_left),
    TEST(links_have_text_and_time),
    TEST(what_the_target_has_is_unchanged),
    TEST(entries_that_are_cut_off_are_not_read),
};
RUN_TESTS(tests)
