/* platform_linux_memory.c: the part of the platform contract that is about memory, on Linux: memfd, and copying into it.
   What the ways of copying cost is in docs/architecture.md, "Large copies". */
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

psn_status psn_memory_create(uint64_t size, int *fd) {
    *fd = memfd_create("procession", MFD_CLOEXEC);
    if (*fd < 0)
        return PSN_OS_ERROR;
    if (ftruncate(*fd, (off_t)size) == 0 && flock(*fd, LOCK_SH) == 0)
        return PSN_OK;
    int error = errno;
    close(*fd);
    errno = error;
    return PSN_OS_ERROR;
}

psn_status psn_memory_reopen(int fd, int *apart) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *apart = open(path, O_RDWR | O_CLOEXEC);
    return *apart < 0 ? PSN_OS_ERROR : PSN_OK;
}

uint32_t psn_memory_watcher(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? (uint32_t)lock.l_pid : 0;
}

psn_status psn_memory_map(int fd, uint64_t size, uint8_t **base) {
    struct stat file;
    if (fstat(fd, &file) < 0)
        return PSN_OS_ERROR;
    if ((uint64_t)file.st_size < size) { /* to read behind its end would be a signal, not a status */
        errno = EINVAL;
        return PSN_OS_ERROR;
    }
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED)
        return PSN_OS_ERROR;
    madvise(at, size, MADV_DONTDUMP); /* or a core dump would be as large as the machine */
    *base = at;
    return PSN_OK;
}

psn_status psn_memory_remap(int fd, uint8_t *at, uint64_t offset, uint64_t size, bool is_private) {
    int flags = MAP_FIXED | MAP_NORESERVE | (is_private ? MAP_PRIVATE : MAP_SHARED);
    return mmap(at, size, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset) == MAP_FAILED ? PSN_OS_ERROR : PSN_OK;
}

void psn_memory_unmap(uint8_t *base, uint64_t size) { munmap(base, size); }

uint64_t psn_memory_file(int fd) {
    struct stat file;
    return fstat(fd, &file) < 0 ? 0 : ((uint64_t)file.st_dev << 40) + (uint64_t)file.st_ino;
}

void psn_memory_discard(int fd, uint64_t offset, uint64_t size) {
    (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
}

psn_status psn_memory_write(int fd, uint64_t offset, const void *source, size_t size) {
    struct rlimit limit;
    /* A write beyond ulimit -f would be a signal; stores are not limited. */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < offset + size) {
        errno = EFBIG;
        return PSN_OS_ERROR;
    }
    const char *at = source;
    while (size) {
        ssize_t n = pwrite(fd, at, size, (off_t)offset);
        if (n < 0 && errno != EINTR)
            return errno == ENOSPC || errno == ENOMEM ? PSN_NO_MEMORY : PSN_OS_ERROR;
        if (n > 0) {
            at += n;
            offset += (uint64_t)n;
            size -= (size_t)n;
        }
    }
    return PSN_OK;
}

/* Round to whole pages. */
static uint8_t *whole_pages(const uint8_t *at, uint64_t *size) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)at & ~(page - 1);
    *size = ((uintptr_t)at + *size - start + page - 1) & ~(page - 1);
    return (uint8_t *)start;
}

bool psn_memory_is_missing(const uint8_t *at, uint64_t size) {
    enum { SMALLEST_PAGE = 4096 };
    uint8_t exists[PSN_LOOK / SMALLEST_PAGE + 2];
    uint8_t *start = whole_pages(at, &size);
    uint64_t pages = size / (uint64_t)sysconf(_SC_PAGESIZE);
    if (pages > sizeof exists || mincore(start, size, exists) < 0)
        return true;
    for (uint64_t i = 0; i < pages; i++)
        if (!(exists[i] & 1))
            return true;
    return false;
}

psn_status psn_memory_populate(uint8_t *at, uint64_t size) {
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
    at = whole_pages(at, &size);
    while (madvise(at, size, MADV_POPULATE_WRITE) < 0) {
        if (errno == EFAULT || errno == ENOMEM) /* where a store would be a SIGBUS */
            return PSN_NO_MEMORY;
        if (errno != EINTR && errno != EAGAIN)
            return PSN_OS_ERROR;
    }
    return PSN_OK;
}

uint64_t psn_page_faults(void) {
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_minflt : 0;
}

void psn_copy_past_caches(void *target, const void *source, size_t size) {
#if defined(__x86_64__)
    size_t head = -(uintptr_t)target & 63;
    if (size >= 4096) {
        memcpy(target, source, head);
        __m128i *to = (__m128i *)(void *)((uint8_t *)target + head);
        const __m128i *from = (const __m128i *)(const void *)((const uint8_t *)source + head);
        size_t lines = (size - head) / 64;
        for (size_t i = 0; i < lines; i++, to += 4, from += 4) {
            __m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
            __m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);
            _mm_stream_si128(to, a);
            _mm_stream_si128(to + 1, b);
            _mm_stream_si128(to + 2, c);
            _mm_stream_si128(to + 3, d);
        }
        _mm_sfence(); /* streaming stores are not ordered by the stores that commit a message */
        memcpy(to, from, size - head - lines * 64);
        return;
    }
#endif
    memcpy(target, source, size);
}

/* ---- a second thread ---- */

_Static_assert(sizeof(pthread_t) <= sizeof(((struct psn_helper *)0)->thread), "the thread does not fit its place");

#define HELPER_STACK (256u << 10)

static void *helper_main(void *argument) {
    struct psn_helper *helper = argument;
    helper->run(helper->argument);
    return NULL;
}

psn_status psn_helper_start(struct psn_helper *helper, void (*run)(void *), void *argument) {
    helper->run = run;
    helper->argument = argument;
    /* Signals are for the program's own threads, but for those that this one brings about. */
    sigset_t blocked, before;
    sigfillset(&blocked);
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        sigdelset(&blocked, own[i]);
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error == 0) {
        error = pthread_attr_setstacksize(&attributes, HELPER_STACK);
        pthread_sigmask(SIG_SETMASK, &blocked, &before);
        if (error == 0)
            error = pthread_create((pthread_t *)(void *)helper->thread, &attributes, helper_main, helper);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    errno = error;
    return error ? PSN_OS_ERROR : PSN_OK;
}

void psn_helper_join(struct psn_helper *helper) { pthread_join(*(pthread_t *)(void *)helper->thread, NULL); }

bool psn_has_idle_cpu(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) < 2)
        return false;
    /* "0.20 0.18 0.12 1/80 11206": after the averages, how many threads run or want to at this moment, ours among them. */
    char text[128];
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *slash = strchr(text, '/');
    if (!slash)
        return false;
    while (slash > text && slash[-1] != ' ')
        slash--;
    return strtol(slash, NULL, 10) < sysconf(_SC_NPROCESSORS_ONLN);
}

uint64_t psn_memory_total(void) {
    uint64_t total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur / 2 < total)
        total = limit.rlim_cur / 2;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < total)
        total = limit.rlim_cur / 4096 * 4096;
    return total;
}
