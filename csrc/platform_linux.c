/* platform_linux.c: the platform contract on Linux: futex, robust pthread mutexes, pidfd, prctl.  Memory is in
   platform_linux_memory.c. */
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- time and place ---- */

uint64_t psn_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint32_t psn_cpu(void) {
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (uint32_t)cpu;
}

/* At a fixed place from the thread's pointer, where the C library can do that for what was loaded late: a lock asks for it. */
#ifdef __GLIBC__
__attribute__((tls_model("initial-exec")))
#endif
static _Thread_local uint32_t thread_id;
static uint32_t forks; /* how often this process was forked from another since it was fresh */

static void forked(void) {
    forks++;
    thread_id = 0; /* the only thread that there is now has its parent's */
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forked); }

uint32_t psn_fork_count(void) { return forks; }

uint32_t psn_thread_id(void) {
    /* Kept, because asking costs more than a lock does. */
    if (thread_id == 0)
        thread_id = (uint32_t)syscall(SYS_gettid);
    return thread_id;
}

/* ---- waiting ---- */

static long futex(psn_a32 *word, int operation, uint32_t value, const struct timespec *timeout) {
    return syscall(SYS_futex, word, operation, value, timeout, NULL, FUTEX_BITSET_MATCH_ANY);
}

uint32_t psn_wait_prepare(struct psn_waitable *w) {
    uint32_t ticket = load_seq_cst(&w->sequence);
    add_seq_cst(&w->waiters, 1);
    return ticket;
}

psn_status psn_wait_commit(struct psn_waitable *w, uint32_t ticket, uint64_t deadline_ns) {
    struct timespec at = {.tv_sec = (time_t)(deadline_ns / 1000000000u), .tv_nsec = (long)(deadline_ns % 1000000000u)};
    /* FUTEX_WAIT_BITSET takes an absolute time on the monotonic clock. */
    if (futex(&w->sequence, FUTEX_WAIT_BITSET, ticket, deadline_ns == PSN_FOREVER ? NULL : &at) == 0 || errno == EAGAIN)
        return PSN_OK;
    return errno == ETIMEDOUT ? PSN_TIMED_OUT : PSN_INTERRUPTED;
}

/* Sequence and waiters as one word, so that a waker changes both at one instant. */
typedef psn_a64 __attribute__((may_alias)) both_words;
union both {
    uint64_t word;
    struct {
        uint32_t sequence, waiters;
    };
};

_Static_assert(offsetof(struct psn_waitable, waiters) == 4 && sizeof(union both) == 8, "the two counts must be one word");

/* Take `most` waiters off and let sequence grow; false if there are none. */
static bool take_off(struct psn_waitable *w, uint32_t most, union both *now) {
    both_words *words = (both_words *)(void *)w;
    union both seen = {.word = load_seq_cst(words)};
    do {
        if (seen.waiters == 0)
            return false;
        now->sequence = seen.sequence + 1;
        now->waiters = seen.waiters - (most < seen.waiters ? most : seen.waiters);
    } while (!cas64_seq_cst(words, &seen.word, now->word));
    return true;
}

void psn_wake_one(struct psn_waitable *w) {
    union both now;
    if (!take_off(w, 1, &now))
        return;
    if (futex(&w->sequence, FUTEX_WAKE, 1, NULL) == 0 && now.waiters) {
        /* Nobody slept: those counted have timed out or died, or find the sequence changed.  If the word is still the
           same, nobody has come and no other waker has been here since: a count alone could have come round to it. */
        cas64_seq_cst((both_words *)(void *)w, &now.word, (union both){.sequence = now.sequence}.word);
    }
}

void psn_wake_all(struct psn_waitable *w) {
    union both now;
    if (take_off(w, UINT32_MAX, &now))
        futex(&w->sequence, FUTEX_WAKE, INT_MAX, NULL);
}

/* ---- robust mutex ---- */

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct psn_mutex), "the mutex does not fit its place in shared memory");

#define MUTEX(m) ((pthread_mutex_t *)(void *)(m)->storage)
#define SPINS_BEFORE_SLEEP 64
#define MUTEX_LOOK_NS 50000000

psn_status psn_mutex_init(struct psn_mutex *m) {
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    error = error ? error : pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    error = error ? error : pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    error = error ? error : pthread_mutex_init(MUTEX(m), &attributes);
    pthread_mutexattr_destroy(&attributes);
    errno = error;
    return error ? PSN_OS_ERROR : PSN_OK;
}

static psn_status mutex_result(int error) {
    return error == 0 ? PSN_OK : error == EOWNERDEAD ? PSN_OWNER_DIED : error == EBUSY ? PSN_FULL : PSN_OS_ERROR;
}

psn_status psn_mutex_trylock(struct psn_mutex *m) { return mutex_result(pthread_mutex_trylock(MUTEX(m))); }

psn_status psn_mutex_lock(struct psn_mutex *m) {
    int error = pthread_mutex_trylock(MUTEX(m));
    for (int i = 0; error == EBUSY && i < SPINS_BEFORE_SLEEP; i++) {
        for (int k = 0; k < 8; k++)
            cpu_pause();
        error = pthread_mutex_trylock(MUTEX(m));
    }
    while (error == EBUSY || error == ETIMEDOUT) {
        /* Not for ever: a holder killed between its release and its wake-up call, with a third process taking the mutex
           in that instant, leaves those who sleep without a wake-up (the kernel sees a mutex that is not the dead one's). */
        struct timespec look;
        clock_gettime(CLOCK_REALTIME, &look);
        look.tv_nsec += MUTEX_LOOK_NS;
        look.tv_sec += look.tv_nsec / 1000000000;
        look.tv_nsec %= 1000000000;
        error = pthread_mutex_timedlock(MUTEX(m), &look);
    }
    return mutex_result(error);
}

void psn_mutex_repaired(struct psn_mutex *m) { pthread_mutex_consistent(MUTEX(m)); }

void psn_mutex_unlock(struct psn_mutex *m) { pthread_mutex_unlock(MUTEX(m)); }

/* ---- doorbell ----
   A datagram socket that the kernel gives an abstract name: a NUL and five characters, which fit a word. */

#define BELL_NAME_SIZE 6

static socklen_t bell_address(uint64_t name, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, &name, BELL_NAME_SIZE - 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + BELL_NAME_SIZE);
}

psn_status psn_bell_create(int *fd, uint64_t *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof address.sun_family;
    int bell = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bell < 0)
        return PSN_OS_ERROR;
    if (bind(bell, (struct sockaddr *)&address, size) < 0 ||
        (size = sizeof address, getsockname(bell, (struct sockaddr *)&address, &size)) < 0 ||
        size != offsetof(struct sockaddr_un, sun_path) + BELL_NAME_SIZE) {
        int error = errno;
        close(bell);
        errno = error;
        return PSN_OS_ERROR;
    }
    *name = 0;
    memcpy(name, address.sun_path + 1, BELL_NAME_SIZE - 1);
    *fd = bell;
    return PSN_OK;
}

void psn_bell_ring(uint64_t name) {
    struct sockaddr_un address;
    socklen_t size = bell_address(name, &address);
    int error = errno;
    /* A socket for one call: no descriptor is kept that a child could inherit or a program could close. */
    int ringer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (ringer >= 0) {
        /* A full bell has rung already; a bell that is gone needs no ringing. */
        sendto(ringer, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address, size);
        close(ringer);
    }
    errno = error;
}

void psn_bell_clear(int fd) {
    char rung[16];
    while (recv(fd, rung, sizeof rung, MSG_DONTWAIT) >= 0)
        continue;
}

void psn_bell_close(int fd) { close(fd); }

/* ---- packets ---- */

psn_status psn_packet_send(int fd, uint8_t first, const void *data, size_t size) {
    struct iovec parts[2] = {{&first, 1}, {(void *)(uintptr_t)data, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (sendmsg(fd, &message, MSG_NOSIGNAL) >= 0)
        return PSN_OK;
    return errno == EINTR ? PSN_INTERRUPTED : PSN_OS_ERROR;
}

psn_status psn_packet_receive(int fd, void *room, struct psn_packet *packet) {
    union {
        char space[CMSG_SPACE(PSN_PACKET_DESCRIPTORS * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct iovec part = {room, PSN_PACKET_ROOM};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t size = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (size < 0)
        return errno == EINTR ? PSN_INTERRUPTED : PSN_OS_ERROR;
    packet->size = (size_t)size;
    packet->is_cut = message.msg_flags & MSG_TRUNC;
    packet->has_lost = message.msg_flags & MSG_CTRUNC;
    packet->descriptor_count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(packet->descriptors + packet->descriptor_count, CMSG_DATA(c), count * sizeof(int));
        packet->descriptor_count += (uint32_t)count;
    }
    return PSN_OK;
}

/* ---- processes ---- */

/* Signal handlers use the next two, so they call nothing that allocates or locks. */
static ssize_t read_whole(const char *path, char *buffer, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t total = 0;
    ssize_t n;
    while (total < size - 1 && (n = read(fd, buffer + total, size - 1 - total)) > 0)
        total += (size_t)n;
    close(fd);
    buffer[total] = 0;
    return (ssize_t)total;
}

static void proc_path(char *path, uint32_t pid, const char *tail) {
    char digits[12];
    int n = 0;
    do {
        digits[n++] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid);
    memcpy(path, "/proc/", 6);
    path += 6;
    while (n)
        *path++ = digits[--n];
    strcpy(path, tail);
}

struct stat_of_process {
    char state;
    uint64_t started;
    int exit_code; /* as wait() gives it; 0 also where it is not for us to know */
};

static bool read_stat(uint32_t pid, struct stat_of_process *stat) {
    char path[64], text[1024];
    proc_path(path, pid, "/stat");
    if (read_whole(path, text, sizeof text) <= 0)
        return false;
    /* The name may hold spaces and brackets; the fields after the last bracket are the state, field 3, and numbers. */
    char *field = strrchr(text, ')');
    memset(stat, 0, sizeof *stat);
    for (int i = 3; field && (field = strchr(field + 1, ' ')); i++) {
        if (i == 3)
            stat->state = field[1];
        else if (i == 22)
            stat->started = strtoull(field, NULL, 10);
        else if (i == 52)
            stat->exit_code = (int)strtol(field, NULL, 10);
    }
    return true;
}

uint64_t psn_process_started(uint32_t pid) {
    struct stat_of_process stat;
    return read_stat(pid, &stat) ? stat.started : 0;
}

int32_t psn_process_exitcode(uint32_t pid, uint64_t started) {
    struct stat_of_process stat;
    if (!read_stat(pid, &stat) || stat.state != 'Z' || (started && stat.started != started) || stat.exit_code == 0)
        return PSN_EXIT_UNKNOWN;
    return WIFSIGNALED(stat.exit_code) ? -WTERMSIG(stat.exit_code) : WEXITSTATUS(stat.exit_code);
}

bool psn_process_is_alive(uint32_t pid, uint64_t started) {
    if (pid == 0)
        return false;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 && errno == ESRCH)
        return false;
    if (fd >= 0) {
        /* Readable once the last thread has ended; a zombie counts as ended. */
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        int n = poll(&ended, 1, 0);
        close(fd);
        if (n > 0)
            return false;
    } else {
        /* No descriptor is left.  A zombie can be signalled, but a child of ours tells that it is one. */
        siginfo_t end = {.si_pid = 0};
        if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
            return false;
        if (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == (pid_t)pid)
            return false;
    }
    uint64_t now = started ? psn_process_started(pid) : 0;
    return now == 0 || now == started;
}

/* Children of a dying process go on dying while its list is read, so what is found is killed at once, leaves last. */
static void kill_children(uint32_t pid, int depth) {
    char path[64], text[4096];
    proc_path(path, pid, "/task");
    int tasks = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tasks < 0)
        return;
    struct linux_dirent64 {
        uint64_t inode;
        int64_t offset;
        unsigned short size;
        unsigned char type;
        char name[];
    };
    _Alignas(8) char entries[1024];
    long n;
    while ((n = syscall(SYS_getdents64, tasks, entries, sizeof entries)) > 0) {
        for (long at = 0; at < n;) {
            struct linux_dirent64 *entry = (struct linux_dirent64 *)(void *)(entries + at);
            at += entry->size;
            if (entry->name[0] < '0' || entry->name[0] > '9' || strlen(entry->name) > 10)
                continue;
            char list[96];
            strcpy(list, path);
            strcat(list, "/");
            strcat(list, entry->name);
            strcat(list, "/children");
            int children = open(list, O_RDONLY | O_CLOEXEC);
            /* A list may be longer than the text, so a number may come in two reads: it ends with the space behind it. */
            uint32_t child = 0;
            ssize_t size;
            while (children >= 0 && (size = read(children, text, sizeof text)) > 0) {
                for (ssize_t i = 0; i < size; i++) {
                    if (text[i] >= '0' && text[i] <= '9') {
                        child = child * 10 + (uint32_t)(text[i] - '0');
                    } else if (child) {
                        kill((pid_t)child, SIGSTOP); /* so that it starts no more children meanwhile */
                        if (depth < 64)
                            kill_children(child, depth + 1);
                        kill((pid_t)child, SIGKILL);
                        child = 0;
                    }
                }
            }
            if (children >= 0)
                close(children);
        }
    }
    close(tasks);
}

void psn_kill_descendants(uint32_t pid) { kill_children(pid, 0); }

static volatile pid_t expected_parent;

static void parent_thread_ended(int signal_number) {
    (void)signal_number;
    int error = errno;
    /* The signal comes when the *thread* that started us ends.  The kernel hands us to another thread of the same
       process first, if there is one: then our parent is still there, and the signal will come again. */
    if (getppid() != expected_parent) {
        psn_kill_descendants((uint32_t)getpid());
        _exit(128 + SIGHUP);
    }
    errno = error;
}

_Noreturn void psn_end_by_signal(int number) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t it;
    sigemptyset(&it);
    sigaddset(&it, number);
    sigaction(number, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &it, NULL);
    kill(getpid(), number);
    _exit(128 + number); /* one that ends nobody */
}

psn_status psn_die_with_parent(uint32_t parent) {
    /* A real-time signal that neither Python nor a debugger uses by itself. */
    int signal_number = SIGRTMIN + 7;
    struct sigaction action = {.sa_handler = parent_thread_ended, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    expected_parent = (pid_t)parent;
    if (sigaction(signal_number, &action, NULL) < 0 || prctl(PR_SET_PDEATHSIG, signal_number) < 0)
        return PSN_OS_ERROR;
    sigset_t unblocked;
    sigemptyset(&unblocked);
    sigaddset(&unblocked, signal_number);
    pthread_sigmask(SIG_UNBLOCK, &unblocked, NULL);
    /* It may have ended before the call above. */
    parent_thread_ended(signal_number);
    return PSN_OK;
}

/* clone(2) with CLONE_PARENT, with what glibc's fork would do for the child's thread: its id is stored where glibc keeps it
   (the address that the kernel clears at thread exit), and its list of robust mutexes is registered again. */
psn_status psn_fork_sibling(int *pid) {
    void *robust_list = NULL, *thread_id_address = NULL;
    size_t robust_size = 0;
    if (syscall(SYS_get_robust_list, 0, &robust_list, &robust_size) < 0 ||
        prctl(PR_GET_TID_ADDRESS, &thread_id_address, 0, 0, 0) < 0)
        return PSN_OS_ERROR;
#if defined(__s390__) || defined(__CRIS__)
#error "clone's arguments come in another order here"
#endif
    unsigned long flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
#if defined(__x86_64__)
    long child = syscall(SYS_clone, flags, NULL, NULL, thread_id_address, NULL);
#else
    long child = syscall(SYS_clone, flags, NULL, NULL, NULL, thread_id_address);
#endif
    if (child < 0)
        return PSN_OS_ERROR;
    if (child == 0) {
        syscall(SYS_set_robust_list, robust_list, robust_size);
        forked();
    }
    *pid = (int)child;
    return PSN_OK;
}

struct orphan {
    char *const *argv, *const *envp;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
    int error;
};

/* In the memory of the caller, which waits; it ends before its child does anything, and so leaves that to the system. */
static int begin_orphan(void *argument) {
    struct orphan *orphan = argument;
    pid_t pid;
    orphan->error = posix_spawn(&pid, orphan->argv[0], orphan->actions, orphan->attributes, orphan->argv, orphan->envp);
    return 0;
}

static int spawn_orphan(struct orphan *orphan) {
    enum { STACK = 65536 };
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return errno;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    /* Its end sends no signal, and the program's own waits do not see it. */
    pid_t pid = clone(begin_orphan, stack + STACK, CLONE_VM | CLONE_VFORK, orphan);
    int error = pid < 0 ? errno : 0, status;
    while (pid >= 0 && waitpid(pid, &status, __WCLONE) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stack, STACK);
    return error ? error : orphan->error;
}

psn_status psn_start_orphan(char *const argv[], char *const envp[], int fd) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    if ((errno = posix_spawn_file_actions_init(&actions)))
        return PSN_OS_ERROR;
    if ((errno = posix_spawnattr_init(&attributes))) {
        posix_spawn_file_actions_destroy(&actions);
        return PSN_OS_ERROR;
    }
    struct orphan orphan = {argv, envp, &actions, &attributes, 0};
    int error = posix_spawn_file_actions_adddup2(&actions, fd, PSN_ORPHAN_FD);
    if (!error)
        error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&actions, 0, 1);
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes, &signals);
    sigaddset(&signals, SIGPIPE);
    sigaddset(&signals, SIGCHLD);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    if (!error)
        error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!error)
        error = spawn_orphan(&orphan);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    errno = error;
    return error ? PSN_OS_ERROR : PSN_OK;
}
