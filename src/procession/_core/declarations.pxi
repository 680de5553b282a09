# What csrc/ offers, for Cython.

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(PyObject *value)
    void PyOS_BeforeFork()
    void PyOS_AfterFork_Parent()
    void PyOS_AfterFork_Child()
    ctypedef struct PyThreadState:
        pass
    ctypedef struct PyInterpreterState:
        pass
    PyInterpreterState *PyInterpreterState_Get()
    PyThreadState *PyInterpreterState_ThreadHead(PyInterpreterState *interpreter)
    PyThreadState *PyThreadState_Next(PyThreadState *thread)

cdef extern from "platform.h" nogil:
    ctypedef enum psn_status:
        PSN_OK
        PSN_TIMED_OUT
        PSN_INTERRUPTED
        PSN_EMPTY
        PSN_FULL
        PSN_CLOSED
        PSN_GONE
        PSN_OWNER_DIED
        PSN_NOT_OWNER
        PSN_NOT_HELD
        PSN_NO_MEMORY
        PSN_NO_SLOT
        PSN_BAD_ARENA
        PSN_OS_ERROR
    const char *psn_status_text(psn_status status)
    ctypedef struct psn_a32:
        pass
    ctypedef struct psn_a64:
        pass
    uint32_t load_acquire32 "load_acquire"(psn_a32 *p)
    uint64_t load_acquire64 "load_acquire"(psn_a64 *p)
    uint32_t load_relaxed32 "load_relaxed"(psn_a32 *p)
    uint64_t load_relaxed64 "load_relaxed"(psn_a64 *p)
    void store_relaxed64 "store_relaxed"(psn_a64 *p, uint64_t v)
    void store_relaxed32 "store_relaxed"(psn_a32 *p, uint32_t v)
    void store_release64 "store_release"(psn_a64 *p, uint64_t v)
    bint cas64_seq_cst(psn_a64 *p, uint64_t *expected, uint64_t desired)
    uint64_t PSN_FOREVER
    uint64_t psn_clock_ns()
    psn_status psn_bell_create(int *fd, uint64_t *name)
    void psn_bell_ring(uint64_t name)
    void psn_bell_clear(int fd)
    void psn_bell_close(int fd)
    enum:
        PSN_PACKET_ROOM
    struct psn_packet:
        size_t size
        bint is_cut
        bint has_lost
        uint32_t descriptor_count
        int *descriptors
    psn_status psn_packet_send(int fd, uint8_t first, const void *data, size_t size)
    psn_status psn_packet_receive(int fd, void *room, psn_packet *packet)
    psn_status psn_die_with_parent(uint32_t parent)
    void psn_kill_descendants(uint32_t pid)
    void psn_end_by_signal(int number)
    psn_status psn_fork_sibling(int *pid)
    enum:
        PSN_ORPHAN_FD
    psn_status psn_start_orphan(char **argv, char **envp, int fd)
    psn_status psn_memory_reopen(int fd, int *apart)
    uint32_t psn_memory_watcher(int fd)
    psn_status psn_memory_map(int fd, uint64_t size, uint8_t **base)
    void psn_memory_unmap(uint8_t *base, uint64_t size)
    void psn_memory_discard(int fd, uint64_t offset, uint64_t size)
    psn_status psn_memory_remap(int fd, uint8_t *at, uint64_t offset, uint64_t size, bint is_private)
    uint64_t psn_memory_total()
    uint32_t psn_thread_id()
    uint32_t psn_fork_count()

cdef extern from "arena.h" nogil:
    enum psn_block_kind:
        PSN_DATA
        PSN_LOCK
        PSN_SEMAPHORE
        PSN_MESSAGE
        PSN_CHANNEL
        PSN_CONDITION
        PSN_EVENT
    struct psn_claim:
        # "from" is a keyword here
        psn_a64 first "from"
        psn_a64 to
        psn_a64 running
        psn_a64 item
        psn_a64 began
    struct psn_process:
        psn_a32 state
        psn_a32 identity
        psn_a32 pid
        psn_a32 parent
        psn_a32 exitcode
        psn_a64 boot
        psn_a32 is_dismissed
        psn_a64 condemned
        psn_a64 condemned_item
        psn_a64 told
        psn_claim claim
    uint64_t PSN_NOT_RUNNING
    uint64_t PSN_INITIALIZING
    uint64_t PSN_ANY_ITEM
    bint psn_claim_begin(psn_claim *claim, uint64_t position)
    struct psn_death:
        uint32_t pid
        int32_t exitcode
    int32_t PSN_EXIT_UNKNOWN
    enum psn_process_state:
        PSN_SLOT_FREE
        PSN_SLOT_ENDED
        PSN_SLOT_SWEPT
    struct psn_block:
        uint64_t size
        psn_a64 generation
    struct psn_message:
        uint32_t ref_room
        uint32_t ref_count
        uint64_t body_size
        uint64_t *refs
    struct psn_arena_header:
        uint64_t size
        psn_a64 blocks_held
        psn_a64 warm_free
        psn_a64 rebuilds
        psn_a64 top
        uint64_t names_offset
        uint64_t name_limit
    struct psn_arena:
        psn_arena_header *header
        uint8_t *base
        uint64_t size
        int fd
        uint32_t slot
        uint32_t identity
    struct psn_handle:
        uint64_t offset
        uint64_t generation
    uint32_t PSN_SLOTS
    uint32_t PSN_PAGE
    psn_status psn_arena_create(psn_arena *arena, uint64_t size)
    psn_status psn_arena_attach(psn_arena *arena, int fd)
    void psn_arena_detach(psn_arena *arena)
    int psn_arena_fd(const psn_arena *arena)
    void psn_arena_trim(psn_arena *arena, uint64_t keep_bytes)
    void psn_arena_tend(psn_arena *arena)
    const char *psn_arena_check(psn_arena *arena)
    void *psn_at(psn_arena *arena, uint64_t offset)
    psn_process *psn_process_at(psn_arena *arena, uint32_t slot)
    psn_status psn_block_allocate(psn_arena *arena, psn_block_kind kind, uint64_t size, psn_handle *out)
    psn_status psn_block_hold(psn_arena *arena, psn_handle handle)
    psn_status psn_block_hold_pinned(psn_arena *arena, uint64_t offset, psn_handle *out)
    void psn_block_drop(psn_arena *arena, psn_handle handle)
    void psn_block_disown(psn_arena *arena, psn_handle handle)
    psn_block *psn_block_of(psn_arena *arena, uint64_t offset)
    bint psn_block_is_warm(psn_arena *arena, uint64_t offset)
    psn_status psn_arena_fill(psn_arena *arena, uint64_t offset, const void *source, uint64_t size)
    psn_status psn_message_allocate(psn_arena *arena, uint32_t ref_room, uint64_t body_size, psn_handle *out)
    psn_status psn_message_refer(psn_arena *arena, uint64_t message, psn_handle target)
    void psn_message_give(psn_arena *arena, psn_handle message, uint32_t identity)
    psn_status psn_message_adopt(psn_arena *arena, psn_handle message)
    uint8_t *psn_message_body(psn_message *message)
    psn_status psn_process_reserve(psn_arena *arena, uint32_t *identity)
    void psn_process_enter(psn_arena *arena, uint32_t identity)
    void psn_process_leave(psn_arena *arena, uint32_t exitcode)
    psn_status psn_process_inherit(psn_arena *arena, uint32_t identity)
    void psn_process_sweep_to(psn_arena *arena, uint32_t identity, bint died, int32_t exitcode, psn_process_state state)
    uint32_t psn_process_sweep_dead(psn_arena *arena)
    bint psn_identity_is_alive(psn_arena *arena, uint32_t identity)
    uint32_t psn_identity_slot(uint32_t identity)

cdef extern from "lock.h" nogil:
    struct psn_lock:
        psn_a32 owner
        psn_a32 thread
        uint32_t depth
    struct psn_semaphore:
        psn_a32 value
        uint32_t limit
    void psn_lock_init(psn_lock *lock, bint recursive)
    psn_status psn_lock_acquire(psn_arena *arena, psn_lock *lock, uint64_t deadline_ns, psn_death *death)
    psn_status psn_lock_acquire_soon(psn_arena *arena, psn_lock *lock, psn_death *death)
    psn_status psn_lock_release(psn_arena *arena, psn_lock *lock)
    bint psn_lock_is_mine(psn_arena *arena, psn_lock *lock)
    psn_status psn_semaphore_init(psn_semaphore *semaphore, uint32_t value, uint32_t limit)
    psn_status psn_semaphore_acquire(psn_arena *arena, psn_semaphore *semaphore, uint64_t deadline_ns, psn_death *death)
    psn_status psn_semaphore_release(psn_arena *arena, psn_semaphore *semaphore)
    void psn_lock_register_kinds()

cdef extern from "condition.h" nogil:
    struct psn_condition:
        pass
    struct psn_event:
        psn_a32 is_set
        psn_a32 sets
    psn_status psn_condition_init(psn_condition *condition)
    void psn_condition_begin(psn_arena *arena, psn_condition *condition, uint64_t *ticket)
    psn_status psn_condition_wait(psn_arena *arena, psn_condition *condition, uint64_t ticket, uint64_t deadline_ns)
    bint psn_condition_leave(psn_arena *arena, psn_condition *condition, uint64_t ticket, bint passes)
    void psn_condition_notify(psn_arena *arena, psn_condition *condition, uint32_t count)
    uint32_t psn_condition_waiting(psn_arena *arena, psn_condition *condition)
    void psn_event_init(psn_event *event)
    void psn_event_set(psn_event *event)
    void psn_event_clear(psn_event *event)
    psn_status psn_event_wait(psn_event *event, uint32_t seen, uint64_t deadline_ns)
    void psn_condition_register_kinds()

cdef extern from "channel.h" nogil:
    uint32_t PSN_INLINE
    uint32_t PSN_TAKE_LIMIT
    uint32_t PSN_SLOT_MESSAGE
    struct psn_slot:
        uint32_t size
        uint32_t tag
        psn_handle message
    struct psn_channel:
        psn_a64 head
        psn_a64 tail
        psn_a32 is_closed
        uint64_t limit
    psn_status psn_channel_create(psn_arena *arena, uint64_t limit, psn_handle *out)
    psn_status psn_channel_put(psn_arena *arena, uint64_t channel, uint32_t tag, const void *data, uint32_t size, uint64_t deadline_ns)
    psn_status psn_channel_put_message(psn_arena *arena, uint64_t channel, uint32_t tag, psn_handle message, uint64_t deadline_ns)
    psn_status psn_channel_withdraw(psn_arena *arena, uint64_t channel, uint64_t position, const uint32_t *readers, uint32_t count, uint32_t tag)
    psn_status psn_channel_take(psn_arena *arena, uint64_t channel, uint32_t wanted, psn_claim *claim, uint64_t deadline_ns, uint32_t spin_us, psn_slot *out, uint32_t *taken, uint64_t *first)
    psn_status psn_channel_put_many(psn_arena *arena, uint64_t channel, const psn_slot *slots, uint32_t count, uint64_t deadline_ns, uint32_t *put)
    psn_status psn_channel_take_alike(psn_arena *arena, uint64_t channel, uint32_t wanted, uint32_t tag, uint64_t deadline_ns, uint32_t spin_us, psn_slot *out, uint32_t *taken)
    uint64_t psn_channel_count(psn_channel *channel)
    void psn_channel_rouse(psn_arena *arena, uint64_t channel)
    void psn_channel_close(psn_arena *arena, uint64_t channel)
    psn_status psn_channel_listen(psn_arena *arena, uint64_t channel, uint64_t bell)
    void psn_channel_unlisten(psn_arena *arena, uint64_t channel, uint64_t bell)
    const char *psn_channel_check(psn_arena *arena, uint64_t channel)
    void psn_channel_register_kinds()

cdef extern from "ledger.h" nogil:
    struct psn_ledger:
        pass
    psn_status psn_ledger_create(psn_arena *arena, psn_handle channel, psn_handle *out)
    psn_status psn_ledger_take(psn_arena *arena, psn_ledger *ledger, uint64_t deadline_ns, uint32_t spin_us, psn_slot *out)
    psn_status psn_ledger_done(psn_arena *arena, psn_ledger *ledger)
    psn_status psn_ledger_join(psn_arena *arena, psn_ledger *ledger, uint64_t deadline_ns, psn_death *death, uint32_t *lost)
    uint64_t psn_ledger_unfinished(psn_arena *arena, psn_ledger *ledger)
    void psn_ledger_register_kinds()

cdef extern from "names.h" nogil:
    enum:
        PSN_NAME_LIMIT
    struct psn_name:
        pass
    struct psn_names:
        pass
    struct psn_named:
        uint64_t device
        uint64_t inode
        uint32_t maker
        char *name
    psn_status psn_names_add(psn_arena *arena, const psn_named *named)
    uint32_t psn_names_remove(psn_arena *arena, const psn_named *named)
    uint64_t psn_names_next(psn_arena *arena, uint64_t place, psn_named *out)
