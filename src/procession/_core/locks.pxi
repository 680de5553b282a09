# Lock, RLock and semaphores.

cdef uint64_t deadline_of(object timeout) except? 0:
    """Absolute nanoseconds for a timeout in seconds; None is for ever, 0 or less does not wait."""
    cdef double seconds
    if timeout is None:
        return PSN_FOREVER
    seconds = timeout
    if seconds <= 0:
        return 0
    if seconds > 1e9:
        return PSN_FOREVER
    return psn_clock_ns() + <uint64_t>(seconds * 1e9)


cdef inline uint64_t wait_until(block, timeout) except? 0:
    """The same, for a timeout that counts only with `block`."""
    return deadline_of(timeout) if block else 0


# A wait in C lasts at most so long: a signal that comes just before it sleeps does not interrupt it, and its handler runs
# when it comes back.
cdef uint64_t LONGEST_WAIT_NS = 500000000


cdef inline uint64_t slice_of(uint64_t deadline) noexcept nogil:
    """When to come back to Python at the latest."""
    cdef uint64_t back
    if deadline == 0:
        return 0
    back = psn_clock_ns() + LONGEST_WAIT_NS
    return back if back < deadline else deadline


cdef inline int resume(uint64_t deadline) except -1:
    """After a wait in C that has brought nothing: let signal handlers run; whether the deadline is still to come."""
    if deadline == 0:
        return False
    # Who waits has time to look after the program's idle memory.
    if arena.base != NULL and is_entered():
        with nogil:
            psn_arena_tend(&arena)
    if psn_clock_ns() >= deadline:
        return False
    PyErr_CheckSignals()
    return True


cdef class Guard:
    """What `with` enters and leaves."""

    cdef readonly Block block
    # Bound methods, which `with` would otherwise make anew each time: that costs more than the lock does.  They refer to the
    # block and not to this object, which so is in no cycle.
    cdef object enter
    cdef object leave

    cdef object passage(self):
        """What the bound methods belong to."""
        raise NotImplementedError

    cdef int prepare(self) except -1:
        passage = self.passage()
        self.enter = passage.__enter__
        self.leave = passage.__exit__
        return 0


@no_gc
cdef class Enter:
    """`__enter__` of all guards."""

    def __get__(self, guard, kind):
        if not isinstance(guard, Guard):
            return self
        if (<Guard>guard).enter is None:
            (<Guard>guard).prepare()
        return (<Guard>guard).enter

    def __call__(self, guard):
        return guard.__enter__()


@no_gc
cdef class Leave:
    """`__exit__` of all guards."""

    def __get__(self, guard, kind):
        if not isinstance(guard, Guard):
            return self
        if (<Guard>guard).leave is None:
            (<Guard>guard).prepare()
        return (<Guard>guard).leave

    def __call__(self, guard, kind, error, traceback):
        return guard.__exit__(kind, error, traceback)


cdef bint take_lock(psn_lock *lock, uint64_t deadline) except -1:
    """Whether it was taken."""
    cdef psn_death death
    cdef psn_status status
    # Without contention this is one atomic operation: not worth giving the interpreter lock up for.
    if deadline:
        status = psn_lock_acquire_soon(&arena, lock, &death)
    else:
        status = psn_lock_acquire(&arena, lock, 0, &death)
    while status != PSN_OK:
        if status == PSN_OWNER_DIED:
            raise owner_died(&death)
        if not resume(deadline):
            return False
        with nogil:
            status = psn_lock_acquire(&arena, lock, slice_of(deadline), &death)
    return True


cdef int give_lock(psn_lock *lock) except -1:
    cdef psn_status status = psn_lock_release(&arena, lock)
    if status == PSN_OK:
        return 0
    if status == PSN_NOT_HELD:
        raise ValueError("semaphore or lock released too many times")
    raise AssertionError("attempt to release recursive lock not owned by thread")


@no_gc
cdef class LockPassage:
    cdef Block block
    cdef psn_lock *lock

    @binding(False)
    def __enter__(self):
        take_lock(self.lock, PSN_FOREVER)
        return True

    @binding(False)
    def __exit__(self, kind, error, traceback):
        give_lock(self.lock)


cdef class Lock(Guard):
    """A lock in the arena that any process of the program can be given.

    Raises OwnerDied from acquire() if the process that held it was killed; the lock is then free.
    """

    cdef psn_lock *lock
    __enter__ = Enter()
    __exit__ = Leave()

    def __cinit__(self, *args, **kwargs):
        self.lock = NULL

    def _create(self, bint recursive) -> None:
        self.block = block_allocate(PSN_LOCK, 64)
        self.lock = <psn_lock *>psn_at(&arena, self.block.handle.offset)
        psn_lock_init(self.lock, recursive)

    def _open(self, Block block) -> None:
        self.block = block
        self.lock = <psn_lock *>psn_at(&arena, block.handle.offset)

    cdef object passage(self):
        cdef LockPassage passage = LockPassage.__new__(LockPassage)
        passage.block = self.block
        passage.lock = self.lock
        return passage

    def acquire(self, block=True, timeout=None) -> bool:
        """Take the lock; False if that was not possible within `timeout` seconds."""
        return take_lock(self.lock, wait_until(block, timeout))

    def release(self) -> None:
        give_lock(self.lock)

    def locked(self) -> bool:
        """Whether anybody holds it."""
        return load_acquire32(&self.lock.owner) != 0

    def _is_mine(self) -> bool:
        return psn_lock_is_mine(&arena, self.lock)

    def _is_this_process(self) -> bool:
        return load_acquire32(&self.lock.owner) == arena.identity

    def _depth(self) -> int:
        return self.lock.depth if load_acquire32(&self.lock.owner) else 0


cdef bint take_permit(psn_semaphore *semaphore, uint64_t deadline) except -1:
    """Whether one was taken."""
    cdef psn_death death
    cdef psn_status status
    # A permit that is there is taken without giving the interpreter lock up.
    status = psn_semaphore_acquire(&arena, semaphore, 0, &death)
    while status != PSN_OK:
        if status == PSN_OWNER_DIED:
            raise owner_died(&death)
        if not resume(deadline):
            return False
        with nogil:
            status = psn_semaphore_acquire(&arena, semaphore, slice_of(deadline), &death)
    return True


cdef int give_permit(psn_semaphore *semaphore) except -1:
    if psn_semaphore_release(&arena, semaphore) != PSN_OK:
        raise ValueError("semaphore or lock released too many times")
    return 0


@no_gc
cdef class SemaphorePassage:
    cdef Block block
    cdef psn_semaphore *semaphore

    @binding(False)
    def __enter__(self):
        take_permit(self.semaphore, PSN_FOREVER)
        return True

    @binding(False)
    def __exit__(self, kind, error, traceback):
        give_permit(self.semaphore)


cdef class Semaphore(Guard):
    """A counter of permits in the arena.

    If a process is killed while it holds permits, they come back and one waiter gets OwnerDied.
    """

    cdef psn_semaphore *semaphore
    __enter__ = Enter()
    __exit__ = Leave()

    def __cinit__(self, *args, **kwargs):
        self.semaphore = NULL

    def _create(self, uint32_t value, uint32_t limit) -> None:
        self.block = block_allocate(PSN_SEMAPHORE, sizeof(psn_semaphore))
        self.semaphore = <psn_semaphore *>psn_at(&arena, self.block.handle.offset)
        check(psn_semaphore_init(self.semaphore, value, limit))

    def _open(self, Block block) -> None:
        self.block = block
        self.semaphore = <psn_semaphore *>psn_at(&arena, block.handle.offset)

    cdef object passage(self):
        cdef SemaphorePassage passage = SemaphorePassage.__new__(SemaphorePassage)
        passage.block = self.block
        passage.semaphore = self.semaphore
        return passage

    def acquire(self, block=True, timeout=None) -> bool:
        """Take a permit; False if there was none within `timeout` seconds."""
        return take_permit(self.semaphore, wait_until(block, timeout))

    def release(self) -> None:
        give_permit(self.semaphore)

    def get_value(self) -> int:
        return load_acquire32(&self.semaphore.value)

    @property
    def limit(self) -> int:
        """Permits beyond which release() is refused."""
        return self.semaphore.limit
