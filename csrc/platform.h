/* platform.h: all that the core asks of an operating system.  Each system has files of its own that
   implement it; the build picks one system.
   Nothing above this file names a system call. */
#ifndef PSN_PLATFORM_H
#define PSN_PLATFORM_H

#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "status.h"

#define PSN_FOREVER UINT64_MAX /* a deadline that never passes */

/* ---- time and place ---- */
uint64_t psn_clock_ns(void); /* monotonic, the same in every process of the machine */
uint32_t psn_cpu(void);      /* the cpu that this thread runs on now; stale at once */
uint32_t psn_thread_id(void);
uint32_t psn_fork_count(void); /* changes in a forked child, before anything of the program runs there */

/* ---- waiting ----
   A waitable is a place to sleep until somebody wakes it.  `sequence` grows with every wake that found a waiter;
   `waiters` counts those who sleep or are about to.  The count may be too high (a waiter that timed out or was killed
   stays in it until a wake finds nobody), never too low: that is what lets a waker skip the system call.

   waiter                                     waker
     ticket = psn_wait_prepare(w)               make the condition true
     is the condition true?  then go on         psn_wake_one(w): if waiters, take one off, sequence + 1, wake
     psn_wait_commit(w, ticket, deadline)
   The waker takes the waiter off *before* sequence grows: one who was counted and is not asleep yet finds the sequence
   changed and does not sleep; one who is asleep is woken.  So no sleeper is ever left uncounted. */
struct psn_waitable {
    psn_a32 sequence;
    psn_a32 waiters;
    uint64_t handle; /* room for an event handle where the system has no futex between processes */
};
_Static_assert(sizeof(struct psn_waitable) == 16, "shared layout");

uint32_t psn_wait_prepare(struct psn_waitable *w);
/* OK: woken, or no need to sleep; TIMED_OUT; INTERRUPTED. */
PSN_MUST_CHECK psn_status psn_wait_commit(struct psn_waitable *w, uint32_t ticket, uint64_t deadline_ns);
void psn_wake_one(struct psn_waitable *w);
void psn_wake_all(struct psn_waitable *w);

/* ---- robust mutex ----
   Held for well under a microsecond and never by Python code.  If a holder dies, the kernel marks the mutex at once, and
   the next locker gets OWNER_DIED *and holds the mutex*: it repairs what the mutex guards, then calls
   psn_mutex_repaired().  If it dies too, the one after it gets OWNER_DIED again. */
struct psn_mutex {
    _Alignas(8) unsigned char storage[40];
};
PSN_MUST_CHECK psn_status psn_mutex_init(struct psn_mutex *m);
PSN_MUST_CHECK psn_status psn_mutex_lock(struct psn_mutex *m);    /* OK, OWNER_DIED */
PSN_MUST_CHECK psn_status psn_mutex_trylock(struct psn_mutex *m); /* OK, OWNER_DIED, FULL where somebody holds it */
void psn_mutex_repaired(struct psn_mutex *m);
void psn_mutex_unlock(struct psn_mutex *m);

/* ---- doorbell ----
   A file descriptor to poll beside others, and a name under which any process of the machine can ring it. */
PSN_MUST_CHECK psn_status psn_bell_create(int *fd, uint64_t *name);
void psn_bell_ring(uint64_t name); /* never blocks; a bell that is gone is silently skipped */
void psn_bell_clear(int fd);
void psn_bell_close(int fd);

/* ---- packets ----
   On a connected socket that keeps messages apart.  Errors are the system's, in errno; INTERRUPTED by a signal. */
#define PSN_PACKET_ROOM (131072u + 64u)
#define PSN_PACKET_DESCRIPTORS 253u /* that the kernel takes with one packet */
struct psn_packet {
    size_t size; /* 0 and no descriptors: the other end is closed */
    bool is_cut; /* it was larger than the room */
    bool has_lost; /* descriptors, for this process has no room for them */
    uint32_t descriptor_count;
    int descriptors[PSN_PACKET_DESCRIPTORS];
};
/* A packet of one byte and then the data. */
PSN_MUST_CHECK psn_status psn_packet_send(int fd, uint8_t first, const void *data, size_t size);
/* Into PSN_PACKET_ROOM bytes. */
PSN_MUST_CHECK psn_status psn_packet_receive(int fd, void *room, struct psn_packet *packet);

/* ---- processes ---- */
uint64_t psn_process_started(uint32_t pid); /* start time in the system's own unit, 0 if unknown or gone */
/* False once all threads of the process have ended, also while it is a zombie, also if its pid was given to another. */
bool psn_process_is_alive(uint32_t pid, uint64_t started);
/* How a process ended that nobody has collected yet: its exit code, negative for a signal; PSN_EXIT_UNKNOWN if it runs, if it
   is not there any more, or where the system does not tell. */
#define PSN_EXIT_UNKNOWN INT32_MIN
int32_t psn_process_exitcode(uint32_t pid, uint64_t started);
/* Die at once, with all descendants, when the process `parent` ends.  Works while the interpreter lock is held. */
PSN_MUST_CHECK psn_status psn_die_with_parent(uint32_t parent);
_Noreturn void psn_end_by_signal(int number); /* as if nobody had ever handled it; runs nothing more */
void psn_kill_descendants(uint32_t pid); /* SIGKILL to children, their children, ... of `pid`; async-signal-safe */
/* Fork a child whose parent is the caller's parent.  Gives 0 in the child.  The caller must be single-threaded. */
PSN_MUST_CHECK psn_status psn_fork_sibling(int *pid);
/* Start the program argv[0] as nobody's child, in a session of its own: no wait, no signal for the group or the descendants of
   the caller hits it.  It inherits stderr, and `fd` as PSN_ORPHAN_FD, and reads nothing.  Cheap also in a large process. */
#define PSN_ORPHAN_FD 3
PSN_MUST_CHECK psn_status psn_start_orphan(char *const argv[], char *const envp[], int fd);

/* ---- memory ---- */
/* Anonymous, sparse, freed with its last user.  While any process has this descriptor, a copy of it, or a mapping made with
   it, a lock is held on the file; one who opens the file anew gets flock(LOCK_EX) on it when the last user is gone. */
PSN_MUST_CHECK psn_status psn_memory_create(uint64_t size, int *fd);
PSN_MUST_CHECK psn_status psn_memory_reopen(int fd, int *apart); /* a descriptor that does not count as a user */
/* The pid of the process that watches the file with fcntl's F_SETLK on its first byte; 0 if there is none. */
uint32_t psn_memory_watcher(int fd);
PSN_MUST_CHECK psn_status psn_memory_map(int fd, uint64_t size, uint8_t **base);
/* Map a part of it again, in place: as everybody's memory, or as this process's own copy of what is there now (made page by
   page when it is written to). */
PSN_MUST_CHECK psn_status psn_memory_remap(int fd, uint8_t *at, uint64_t offset, uint64_t size, bool is_private);
void psn_memory_unmap(uint8_t *base, uint64_t size);
uint64_t psn_memory_file(int fd); /* which file it is, as long as that is open; 0 for none */
void psn_memory_discard(int fd, uint64_t offset, uint64_t size); /* gives pages back; they read as zeros */
/* Write by way of the file: the cheapest for pages that do not exist yet, and no memory is a status, not a signal.  One thread
   at a time, as the system sees to.  OS_ERROR where it must not be done (ulimit -f). */
PSN_MUST_CHECK psn_status psn_memory_write(int fd, uint64_t offset, const void *source, size_t size);
/* Whether some page of this part of a shared mapping does not exist, or if nobody can tell.  At most PSN_LOOK bytes. */
#define PSN_LOOK (UINT64_C(1) << 20)
bool psn_memory_is_missing(const uint8_t *at, uint64_t size);
/* Make the pages of this part of a shared mapping exist, for stores to follow: dearer than psn_memory_write(), but several
   threads can do it at a time.  NO_MEMORY, or OS_ERROR where the system has no such call. */
PSN_MUST_CHECK psn_status psn_memory_populate(uint8_t *at, uint64_t size);
uint64_t psn_page_faults(void); /* of this thread so far; those that need no disk */
/* memcpy, past the caches where the machine can: 1.6 times as fast for what no cache can hold. */
void psn_copy_past_caches(void *target, const void *source, size_t size);

/* A thread that lives only as long as its starter waits for it; signals go to the others. */
struct psn_helper {
    _Alignas(8) unsigned char thread[16];
    void (*run)(void *argument);
    void *argument;
};
PSN_MUST_CHECK psn_status psn_helper_start(struct psn_helper *helper, void (*run)(void *argument), void *argument);
void psn_helper_join(struct psn_helper *helper);
/* Whether a cpu that we may use seems to have nothing to do; stale at once, and false if nobody can tell. */
bool psn_has_idle_cpu(void);

/* Bytes of RAM, or fewer where limits of this process (ulimit -v, -f) do not allow a shared memory of that size; half of its
   address space is left to the program. */
uint64_t psn_memory_total(void);

#endif
