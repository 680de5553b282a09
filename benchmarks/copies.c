/* copies.c: the limit that copies are measured against: processes that take 64 files in turns.

   Small files are read and written whole, large ones go through copy_file_range; modes and times are kept, nothing else: no
   links, no attributes, no temporary names, no word about anything but the first error.

       copies SRC DST PROCESSES                                                                                            */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL = 512 * 1024, DEPTH = 64 };

static char buffer[SMALL + 1];
static long next_turn, turn, processes;

static void fail(const char *what) {
    perror(what);
    _exit(1);
}

static void copy_file(int from, int to, const char *name) {
    int in = openat(from, name, O_RDONLY | O_NOFOLLOW);
    if (in < 0) fail(name);
    struct stat st;
    if (fstat(in, &st)) fail(name);
    int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL, st.st_mode & 07777);
    if (out < 0) fail(name);
    if (st.st_size <= SMALL) {
        ssize_t size = read(in, buffer, (size_t)st.st_size + 1);
        if (size < 0 || write(out, buffer, (size_t)size) != size) fail(name);
    } else {
        for (off_t left = st.st_size; left > 0;) {
            ssize_t size = copy_file_range(in, NULL, out, NULL, (size_t)left, 0);
            if (size <= 0) fail(name);
            left -= size;
        }
    }
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (futimens(out, times) || close(out) || close(in)) fail(name);
}

/* Folders are made by the first process before the others are forked; their files are shared out by turns. */
static void walk(int from, int to, int makes_folders) {
    /* Opened anew, not duplicated: processes that share a folder's position would miss what the others have read. */
    DIR *folder = fdopendir(openat(from, ".", O_RDONLY | O_DIRECTORY));
    if (!folder) fail("opendir");
    struct dirent *entry;
    while ((entry = readdir(folder))) {
        const char *name = entry->d_name;
        if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
        if (entry->d_type == DT_DIR) {
            struct stat st;
            if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW)) fail(name);
            if (makes_folders && mkdirat(to, name, st.st_mode & 07777)) fail(name);
            int in = openat(from, name, O_RDONLY | O_DIRECTORY), out = openat(to, name, O_RDONLY | O_DIRECTORY);
            if (in < 0 || out < 0) fail(name);
            walk(in, out, makes_folders);
            close(in);
            close(out);
        } else if (!makes_folders) {
            if (next_turn++ / 64 % processes != turn) continue;
            if (entry->d_type == DT_REG) {
                copy_file(from, to, name);
            } else if (entry->d_type == DT_LNK) {
                char text[4096];
                ssize_t size = readlinkat(from, name, text, sizeof text - 1);
                if (size < 0) fail(name);
                text[size] = 0;
                if (symlinkat(text, to, name)) fail(name);
            }
        }
    }
    closedir(folder);
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "copies SRC DST PROCESSES\n");
        return 2;
    }
    umask(0);
    processes = atol(arguments[3]);
    if (processes < 1 || mkdir(arguments[2], 0700)) fail(arguments[2]);
    int from = open(arguments[1], O_RDONLY | O_DIRECTORY), to = open(arguments[2], O_RDONLY | O_DIRECTORY);
    if (from < 0 || to < 0) fail(arguments[1]);
    walk(from, to, 1);
    for (turn = 0; turn < processes; turn++) {
        pid_t pid = fork();
        if (pid < 0) fail("fork");
        if (!pid) {
            walk(from, to, 0);
            _exit(0);
        }
    }
    int status, failed = 0;
    while (wait(&status) > 0) failed |= status;
    return failed != 0;
}
