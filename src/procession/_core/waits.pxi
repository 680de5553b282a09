# Conditions and events.


cdef class Waiter:
    """One wait at a condition; it ends with wait() giving True, with leave(), or with the object."""

    cdef Condition condition
    cdef uint64_t ticket
    cdef bint is_over

    def __cinit__(self, Condition condition):
        self.condition = condition
        psn_condition_begin(&arena, condition.condition, &self.ticket)

    def __dealloc__(self):
        if self.condition is not None and not self.is_over and is_entered():
            psn_condition_leave(&arena, self.condition.condition, self.ticket, True)

    def wait(self, uint64_t deadline) -> bool:
        """Whether it was notified before the deadline; if not, the wait has not ended."""
        cdef psn_status status
        while not self.is_over:
            with nogil:
                status = psn_condition_wait(&arena, self.condition.condition, self.ticket, slice_of(deadline))
            if status == PSN_OK:
                self.is_over = True
            elif not resume(deadline):
                return False
        return True

    def leave(self, bint passes=False) -> bool:
        """Wait no more; whether it was notified, be it only now.  With `passes` that is left to another."""
        if not self.is_over:
            self.is_over = True
            return psn_condition_leave(&arena, self.condition.condition, self.ticket, passes)
        return True


cdef class Condition:
    """Where threads and processes wait to be notified.  The lock that goes with it is the caller's affair."""

    cdef readonly Block block
    cdef psn_condition *condition

    def __cinit__(self, *args, **kwargs):
        self.condition = NULL

    def _create(self) -> None:
        self.block = block_allocate(PSN_CONDITION, sizeof(psn_condition))
        self.condition = <psn_condition *>psn_at(&arena, self.block.handle.offset)
        check(psn_condition_init(self.condition))

    def _open(self, Block block) -> None:
        self.block = block
        self.condition = <psn_condition *>psn_at(&arena, block.handle.offset)

    def _notify(self, uint32_t count) -> None:
        psn_condition_notify(&arena, self.condition, count)

    def _waiting(self) -> int:
        """How many wait and are not notified yet."""
        return psn_condition_waiting(&arena, self.condition)


cdef class Event:
    """A flag that can be waited for."""

    cdef readonly Block block
    cdef psn_event *event

    def __cinit__(self, *args, **kwargs):
        self.event = NULL

    def _create(self) -> None:
        self.block = block_allocate(PSN_EVENT, 64)
        self.event = <psn_event *>psn_at(&arena, self.block.handle.offset)
        psn_event_init(self.event)

    def _open(self, Block block) -> None:
        self.block = block
        self.event = <psn_event *>psn_at(&arena, block.handle.offset)

    def set(self) -> None:
        """Set the flag; whoever waits goes on, also if it is cleared at once."""
        psn_event_set(self.event)

    def clear(self) -> None:
        """Clear the flag."""
        psn_event_clear(self.event)

    def is_set(self) -> bool:
        """Whether the flag is set."""
        return load_acquire32(&self.event.is_set) != 0

    def wait(self, timeout=None) -> bool:
        """Wait until the flag is set; whether it was within `timeout` seconds."""
        cdef uint32_t seen = load_acquire32(&self.event.sets)
        cdef uint64_t deadline
        cdef psn_status status
        if load_acquire32(&self.event.is_set):
            return True
        deadline = deadline_of(timeout)
        while True:
            with nogil:
                status = psn_event_wait(self.event, seen, slice_of(deadline))
            if status == PSN_OK:
                return True
            if not resume(deadline):
                return False
