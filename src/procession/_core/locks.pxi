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


cdef class Lock:
    """A lock in the arena that any process of the program can be given.

    Raises OwnerDied from acquire() if the process that held it was killed; the lock is then free.
    """

    cdef readonly Block block
    cdef psn_lock *lock

    def __cinit__(self, *args, **kwargs):
        self.lock = NULL

    def _create(self, bint recursive) -> None:
        self.block = block_allocate(PSN_LOCK, 64)
        self.lock = <psn_lock *>psn_at(&arena, self.block.handle.offset)
        psn_lock_init(self.lock, recursive)

    def _open(self, Block block) -> None:
        self.block = block
        self.lock = <psn_lock *>psn_at(&arena, block.handle.offset)

    cdef bint take(self, uint64_t deadline) except -1:
        cdef psn_death death
        cdef psn_status status
        # Without contention this is one atomic operation: not worth giving the interpreter lock up for.
        status = psn_lock_acquire(&arena, self.lock, 0, &death)
        while status != PSN_OK:
            if status == PSN_OWNER_DIED:
                raise owner_died(&death)
            if not resume(deadline):
                return False
            with nogil:
                status = psn_lock_acquire(&arena, self.lock, slice_of(deadline), &death)
        return True

    def acquire(self, block=True, timeout=None) -> bool:
        """Take the lock; False if that was not possible within `timeout` seconds."""
        return self.take(deadline_of(timeout) if block else 0)

    def release(self) -> None:
        cdef psn_status status = psn_lock_release(&arena, self.lock)
        if status == PSN_NOT_HELD:
            raise ValueError("semaphore or lock released too many times")
        if status == PSN_NOT_OWNER:
            raise AssertionError("attempt to release recursive lock not owned by thread")

    def __enter__(self):
        return self.take(PSN_FOREVER)

    def __exit__(self, kind, error, traceback):
        self.release()

    def locked(self) -> bool:
        """Whether anybody holds it."""
        return load_acquire32(&self.lock.owner) != 0

    def _is_mine(self) -> bool:
        return psn_lock_is_mine(&arena, self.lock)

    def _is_this_process(self) -> bool:
        return load_acquire32(&self.lock.owner) == arena.identity

    def _depth(self) -> int:
        return self.lock.depth if load_acquire32(&self.lock.owner) else 0


cdef class Semaphore:
    """A counter of permits in the arena.

    If a process is killed while it holds permits, they come back and one waiter gets OwnerDied.
    """

    cdef readonly Block block
    cdef psn_semaphore *semaphore

    def __cinit__(self, *args, **kwargs):
        self.semaphore = NULL

    def _create(self, uint32_t value, uint32_t limit) -> None:
        self.block = block_allocate(PSN_SEMAPHORE, sizeof(psn_semaphore))
        self.semaphore = <psn_semaphore *>psn_at(&arena, self.block.handle.offset)
        check(psn_semaphore_init(self.semaphore, value, limit))

    def _open(self, Block block) -> None:
        self.block = block
        self.semaphore = <psn_semaphore *>psn_at(&arena, block.handle.offset)

    def acquire(self, block=True, timeout=None) -> bool:
        """Take a permit; False if there was none within `timeout` seconds."""
        cdef uint64_t deadline = deadline_of(timeout) if block else 0
        cdef psn_death death
        cdef psn_status status
        # A permit that is there is taken without giving the interpreter lock up.
        status = psn_semaphore_acquire(&arena, self.semaphore, 0, &death)
        while status != PSN_OK:
            if status == PSN_OWNER_DIED:
                raise owner_died(&death)
            if not resume(deadline):
                return False
            with nogil:
                status = psn_semaphore_acquire(&arena, self.semaphore, slice_of(deadline), &death)
        return True

    def release(self) -> None:
        if psn_semaphore_release(&arena, self.semaphore) != PSN_OK:
            raise ValueError("semaphore or lock released too many times")

    def get_value(self) -> int:
        return load_acquire32(&self.semaphore.value)

    @property
    def limit(self) -> int:
        """Permits beyond which release() is refused."""
        return self.semaphore.limit

    def __enter__(self):
        return self.acquire()

    def __exit__(self, kind, error, traceback):
        self.release()
