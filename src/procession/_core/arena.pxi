# The arena of this process, its blocks and process slots.

FOREVER = PSN_FOREVER

cdef psn_arena arena
# Of the process that `arena` speaks for.  In a forked child, until it has entered its slot, it is still the parent: what is
# deallocated there meanwhile (the interpreter clears the state of the threads that are not there any more) is the parent's.
cdef uint32_t arena_forks = 0
arena.base = NULL
arena.fd = -1
psn_lock_register_kinds()
psn_condition_register_kinds()
psn_channel_register_kinds()
psn_ledger_register_kinds()


cdef object failure(psn_status status, uint64_t wanted=0):
    """The exception for a status; the one place where that is decided."""
    cdef str text = psn_status_text(status).decode()
    if status == PSN_GONE:
        return errors.SharedObjectGone("the shared object has been freed: no process held it any more when its handle arrived")
    cdef int number = errno
    if status == PSN_NO_MEMORY:
        return errors.OutOfMemory(
            f"no room is left in the shared memory for {f'{wanted:,} bytes' if wanted else 'this'}: the program's arena has "
            f"{arena.size >> 20} MiB (the machine's memory, or what ulimit -v or -f allows), and some of it is in use")
    if status == PSN_NO_SLOT:
        return errors.OutOfMemory(
            "a program can have 1024 processes at one time, and has them: wait for some to end before you start more")
    if status == PSN_CLOSED:
        return errors.Closed("the channel is closed")
    if status == PSN_BAD_ARENA:
        return errors.ProcessionError("the descriptor is not an arena of this version of procession")
    if status == PSN_OS_ERROR:
        return OSError(number, strerror(number).decode(errors="replace"))
    return errors.ProcessionError(text)


cdef tuple told_of(psn_death *death):
    """The exit code, None if nobody has told, and in words how the process ended."""
    if death.exitcode == PSN_EXIT_UNKNOWN:
        return None, f"process {death.pid} was killed"
    return death.exitcode, f"process {death.pid} {errors.describe_exit(death.exitcode)}"


cdef object owner_died(psn_death *death):
    """The exception for PSN_OWNER_DIED of a lock."""
    exitcode, end = told_of(death)
    return errors.OwnerDied(
        f"{end} while it held the lock; the lock is free again, what it guards may be half changed",
        pid=death.pid, exitcode=exitcode)


cdef object consumer_died(psn_death *death, uint32_t lost):
    """The exception for PSN_OWNER_DIED of a ledger."""
    exitcode, end = told_of(death)
    return errors.ConsumerDied(
        f"{end} before it called task_done() for what it had taken: lost {lost}, which now count as done",
        pid=death.pid, exitcode=exitcode, lost=lost)


cdef inline bint is_entered():
    return psn_fork_count() == arena_forks


cdef inline int check(psn_status status, uint64_t wanted=0) except -1:
    if status != PSN_OK:
        raise failure(status, wanted)
    return 0


def clock_ns() -> int:
    """Monotonic nanoseconds, the same in every process of the machine."""
    return psn_clock_ns()


def memory_total() -> int:
    """Bytes of RAM, or fewer where limits of this process do not allow a shared memory of that size."""
    return psn_memory_total()


# ---- the arena ----

def arena_create(uint64_t size) -> None:
    """Make the program's arena, of `size` bytes of address space or as much as can be had."""
    global arena_forks
    arena_forks = psn_fork_count()
    cdef psn_status status = psn_arena_create(&arena, size)
    if status == PSN_OS_ERROR:
        raise no_arena("There can be no shared memory")
    check(status)


def arena_attach(int fd, uint32_t identity) -> None:
    """Map the arena behind `fd`, as the process that `identity` was reserved for."""
    cdef psn_status status = psn_arena_attach(&arena, fd)
    if status == PSN_OS_ERROR:
        raise no_arena("The shared memory of the program cannot be mapped")
    check(status)
    process_enter(identity)


cdef object no_arena(str what):
    cdef int number = errno
    return OSError(number, f"{strerror(number).decode(errors='replace')}. {what}: look at ulimit -v, -f and -n")


def arena_is_ready() -> bool:
    return arena.base != NULL


def arena_fd() -> int:
    return psn_arena_fd(&arena)


def arena_trim(uint64_t keep_bytes) -> None:
    """Give touched free pages back to the system until at most `keep_bytes` are left."""
    if arena.base != NULL and is_entered():
        with nogil:
            psn_arena_trim(&arena, keep_bytes)


def arena_check() -> str | None:
    """The first broken invariant, or None."""
    cdef const char *broken = psn_arena_check(&arena)
    return None if broken == NULL else broken.decode()


def arena_facts() -> dict[str, int]:
    """Counts for tests and for people: bytes of address space, blocks held, bytes touched and free, recoveries, processes."""
    cdef uint32_t processes = 0, state
    if arena.base == NULL:
        return {"size": 0, "blocks": 0, "warm": 0, "used": 0, "rebuilds": 0, "processes": 0}
    for slot in range(PSN_SLOTS):
        state = load_relaxed32(&psn_process_at(&arena, slot).state)
        processes += state != PSN_SLOT_FREE and state != PSN_SLOT_SWEPT
    return {
        "size": arena.size,
        "blocks": load_relaxed64(&arena.header.blocks_held),
        "warm": load_relaxed64(&arena.header.warm_free) * PSN_PAGE,
        "used": load_relaxed64(&arena.header.top) * PSN_PAGE,
        "rebuilds": load_relaxed64(&arena.header.rebuilds),
        "processes": processes,
    }


# ---- processes ----

def process_identity() -> int:
    """Of this process; never that of an earlier one in the same slot."""
    return arena.identity


def process_parent() -> int:
    """The identity of the process that started this one."""
    return load_relaxed32(&psn_process_at(&arena, arena.slot).parent)


def process_reserve() -> int:
    """Take a slot for a child that is about to start."""
    cdef uint32_t identity
    check(psn_process_reserve(&arena, &identity))
    return identity


def process_inherit(uint32_t identity) -> None:
    """Before a fork: the child will hold all that this process holds."""
    check(psn_process_inherit(&arena, identity))


def process_enter(uint32_t identity) -> None:
    """In the child of a fork: this is the process that `identity` was reserved for."""
    global arena_forks
    arena_forks = psn_fork_count()
    psn_process_enter(&arena, identity)


def process_leave(int exitcode) -> None:
    """This process ends in order: locks that it holds are not those of a dead owner."""
    if arena.base != NULL and is_entered():
        psn_process_leave(&arena, <uint32_t>exitcode)


def process_sweep(uint32_t identity, bint died, exitcode: int | None = None) -> None:
    """The process has ended, with this exit code if it is known; let go of what it held.  Idempotent."""
    cdef int32_t code = PSN_EXIT_UNKNOWN if exitcode is None else exitcode
    with nogil:
        psn_process_sweep_to(&arena, identity, died, code, PSN_SLOT_FREE)


def process_sweep_dead() -> int:
    """Sweep every process that ended without a word; their number."""
    cdef uint32_t n
    with nogil:
        n = psn_process_sweep_dead(&arena)
    return n


def process_exitcode(uint32_t identity) -> int | None:
    """What a process that ended in order said its exit code would be; None if it did not end so."""
    cdef psn_process *process = psn_process_at(&arena, psn_identity_slot(identity))
    if load_acquire32(&process.identity) != identity or load_acquire32(&process.state) != PSN_SLOT_ENDED:
        return None
    return load_acquire32(&process.exitcode)


def process_is_alive(uint32_t identity) -> bool:
    """Whether the process of that identity has not ended, in whatever way."""
    return psn_identity_is_alive(&arena, identity)


def process_claim(uint32_t identity) -> tuple[int, int, int, int]:
    """Of a worker: first position taken, one past the last, the one that runs, and which of its items."""
    cdef psn_claim *claim = &psn_process_at(&arena, psn_identity_slot(identity)).claim
    return (load_acquire64(&claim.first), load_acquire64(&claim.to), load_acquire64(&claim.running),
            load_acquire64(&claim.item))


def process_task(uint32_t identity) -> tuple[int, int, int]:
    """Of a worker that may be at work: the position that runs, which of its items, and when that was begun."""
    cdef psn_claim *claim = &psn_process_at(&arena, psn_identity_slot(identity)).claim
    cdef uint64_t running, item, began
    while True:
        running, item, began = load_acquire64(&claim.running), load_acquire64(&claim.item), load_acquire64(&claim.began)
        if running == load_acquire64(&claim.running) and item == load_acquire64(&claim.item):
            return running, item, began


def process_condemn(uint32_t identity, uint64_t position, uint64_t item) -> None:
    """A worker's soft signal is meant for this item and no other; NOT_RUNNING as the position: for none."""
    cdef psn_process *process = psn_process_at(&arena, psn_identity_slot(identity))
    store_relaxed64(&process.condemned_item, item)
    store_release64(&process.condemned, position)


def is_condemned() -> bool | None:
    """Whether the item that this worker runs is to be ended; None if the soft signal names no item.

    For the handler of that signal: one that came too late for its item is used up, and the next may be anybody's.
    """
    cdef psn_process *process = psn_process_at(&arena, arena.slot)
    cdef uint64_t position = load_acquire64(&process.condemned)
    if position == PSN_NOT_RUNNING:
        return None
    cdef uint64_t item = load_acquire64(&process.condemned_item)
    if (position == load_acquire64(&process.claim.running)
            and (item == PSN_ANY_ITEM or item == load_acquire64(&process.claim.item))):
        return True
    cas64_seq_cst(&process.condemned, &position, PSN_NOT_RUNNING)
    return False


def process_tells(uint64_t pause) -> bool:
    """Whether this process is to say what all children of its parent would: none has in the last `pause` nanoseconds."""
    cdef uint32_t parent = load_relaxed32(&psn_process_at(&arena, arena.slot).parent)
    cdef psn_process *process = psn_process_at(&arena, psn_identity_slot(parent))
    cdef uint64_t told = load_relaxed64(&process.told), now = psn_clock_ns()
    return (told == 0 or now - told >= pause) and cas64_seq_cst(&process.told, &told, now)


def process_dismiss(uint32_t identity) -> None:
    """A worker is to leave when it has done what it has taken."""
    store_relaxed32(&psn_process_at(&arena, psn_identity_slot(identity)).is_dismissed, 1)


def is_dismissed() -> bool:
    """Whether this worker is to leave."""
    return load_acquire32(&psn_process_at(&arena, arena.slot).is_dismissed) != 0


def die_with_parent(uint32_t parent) -> None:
    """From now on this process and its descendants are killed when process `parent` ends."""
    check(psn_die_with_parent(parent))


def end_by_signal(int number) -> None:
    """End this process at once, as the signal would that nobody handles; does not come back.

    Python says on stderr when a handler is taken back just as its signal comes.  This takes none back.
    """
    psn_end_by_signal(number)


def kill_descendants(uint32_t pid) -> None:
    with nogil:
        psn_kill_descendants(pid)


def fork_sibling() -> int:
    """os.fork(), but the child's parent is this process's parent.  Only for a single-threaded process."""
    cdef int pid = 0
    PyOS_BeforeFork()
    cdef psn_status status = psn_fork_sibling(&pid)
    cdef int number = errno
    if status == PSN_OK and pid == 0:
        PyOS_AfterFork_Child()
    else:
        PyOS_AfterFork_Parent()
    if status == PSN_OS_ERROR:
        raise OSError(number, strerror(number).decode(errors="replace"))
    check(status)
    return pid


# ---- blocks ----

# Payload offset -> address of the Block object of this process.  An object leaves in __dealloc__, before its memory goes;
# Blocks are not tracked by the garbage collector, so nothing can look one up in between.
cdef dict blocks = {}
# The same of those that were received as this process's own: large buffers of messages.
cdef dict own_blocks = {}


cdef int fill_from(uint64_t offset, data, uint64_t room) except -1:
    """Copy `data` into the arena, where there is that much room in a block of ours."""
    cdef Py_buffer source
    cdef psn_status status
    PyObject_GetBuffer(data, &source, PyBUF_CONTIG_RO)
    try:
        if <uint64_t>source.len > room:
            raise ValueError(f"{source.len} bytes do not fit where there is room for {room}")
        with nogil:
            status = psn_arena_fill(&arena, offset, source.buf, <uint64_t>source.len)
        check(status, <uint64_t>source.len)
    finally:
        PyBuffer_Release(&source)
    return 0


cdef class Block:
    """A block of the arena that this process holds; freed when no process holds it any more.

    One object per block and process.  Its buffer is the payload, writable and shared.
    """

    cdef psn_handle handle
    cdef uint64_t block_size
    cdef bint is_copy  # mapped as this process's own copy
    cdef public bint is_frozen  # nobody writes to it any more, so it can be sent on as it is
    cdef object __weakref__

    def __cinit__(self):
        self.handle.offset = 0
        self.is_copy = False
        self.is_frozen = False

    def __dealloc__(self):
        if self.handle.offset:
            blocks.pop(self.handle.offset, None)
            own_blocks.pop(self.handle.offset, None)
            if self.is_copy:
                self.remap(False)
            if is_entered():
                psn_block_drop(&arena, self.handle)

    cdef void remap(self, bint is_private):
        cdef uint64_t size = (self.block_size + PSN_PAGE - 1) // PSN_PAGE * PSN_PAGE
        cdef uint8_t *at = <uint8_t *>psn_at(&arena, self.handle.offset)
        if psn_memory_remap(psn_arena_fd(&arena), at, self.handle.offset, size, is_private) == PSN_OK:
            self.is_copy = is_private

    @property
    def offset(self) -> int:
        return self.handle.offset

    @property
    def generation(self) -> int:
        return self.handle.generation

    @property
    def size(self) -> int:
        return self.block_size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, psn_at(&arena, self.handle.offset), <Py_ssize_t>self.block_size, 0, flags)

    def __reduce__(self):
        return block_reduce(self)

    def fill(self, data) -> None:
        """Copy `data` to the beginning, by the way that is cheapest for these pages."""
        fill_from(self.handle.offset, data, self.block_size)


cdef Block block_object(psn_handle handle):
    """The Block for a handle whose bit is set already."""
    cdef Block block
    cdef object known = blocks.get(handle.offset)
    if known is not None:
        return <Block><PyObject *><uintptr_t>known
    block = Block.__new__(Block)
    block.handle = handle
    block.block_size = psn_block_of(&arena, handle.offset).size
    blocks[handle.offset] = <uintptr_t><PyObject *>block
    return block


def block_set_own(Block block) -> None:
    """`block`, a run of pages, came in a message and belongs to this process: a fork must not share what is written to it."""
    own_blocks[block.handle.offset] = <uintptr_t><PyObject *>block


def blocks_part_own() -> None:
    """Before a fork: from now on this process and the child each have their own copy of what both have received."""
    for address in own_blocks.values():
        block = <Block><PyObject *><uintptr_t>address
        if not block.is_copy:
            block.remap(True)


cdef Block block_allocate(psn_block_kind kind, uint64_t size):
    cdef psn_handle handle
    check(psn_block_allocate(&arena, kind, size, &handle), size)
    return block_object(handle)


def block_new(uint64_t size) -> Block:
    """A block of `size` bytes of any content, held by this process."""
    return block_allocate(PSN_DATA, size)


def block_open(uint64_t offset, uint64_t generation) -> Block:
    """The block that a handle names.

    Raises:
        SharedObjectGone: no process held it any more.
    """
    cdef psn_handle handle
    handle.offset = offset
    handle.generation = generation
    if arena.base == NULL:
        raise failure(PSN_GONE)
    check(psn_block_hold(&arena, handle))
    return block_object(handle)


# Blocks that were pickled since the last take_exported(), with the thread that did it: a message must keep them alive until
# its reader has opened them.
exported: list = []


def block_reduce(Block block):
    exported.append((psn_thread_id(), block))
    return block_open, (block.handle.offset, block.handle.generation)


def take_exported() -> list[Block]:
    """The blocks that this thread has pickled since it last asked."""
    cdef uint32_t me
    cdef list mine
    if not exported:
        return []
    me = psn_thread_id()
    mine = [block for thread, block in exported if thread == me]
    exported[:] = [entry for entry in exported if entry[0] != me]
    return mine
