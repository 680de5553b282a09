# Channels whose messages are to be said to be done: who has taken what.


cdef class Ledger:
    """Takes from a channel, and remembers for each process what it has taken and not said to be done."""

    cdef readonly Block block
    cdef readonly Channel channel
    cdef psn_ledger *ledger

    def __cinit__(self):
        self.ledger = NULL

    cdef uint32_t carry_off(self, uint64_t deadline, uint32_t spin_us, psn_slot *out) except? 0:
        cdef psn_status status
        # What is there already is taken without giving the interpreter lock up.
        status = psn_ledger_take(&arena, self.ledger, 0, 0, out)
        while status != PSN_OK:
            if status != PSN_EMPTY and status != PSN_INTERRUPTED:
                raise failure(status)
            if not resume(deadline):
                return 0
            with nogil:
                status = psn_ledger_take(&arena, self.ledger, slice_of(deadline), spin_us, out)
        return 1

    def get(self, uint64_t deadline=PSN_FOREVER, uint32_t spin_us=20):
        """The channel's oldest message, as Channel.get(); this process has it until it says that it is done.

        Raises:
            Closed: the channel is closed and nothing is left.
        """
        cdef psn_slot slot
        return received(&slot) if self.carry_off(deadline, spin_us, &slot) else None

    def done(self) -> bool:
        """One message is done; False if all are."""
        return psn_ledger_done(&arena, self.ledger) == PSN_OK

    def join(self, uint64_t deadline=PSN_FOREVER) -> bool:
        """Wait until all that was put is done; whether it was before the deadline.

        Raises:
            ConsumerDied: a process was killed, or failed, before it said that what it had taken is done.
        """
        cdef psn_death death
        cdef uint32_t lost = 0
        cdef psn_status status
        status = psn_ledger_join(&arena, self.ledger, 0, &death, &lost)
        while status != PSN_OK:
            if status == PSN_OWNER_DIED:
                raise consumer_died(&death, lost)
            if not resume(deadline):
                return False
            with nogil:
                status = psn_ledger_join(&arena, self.ledger, slice_of(deadline), &death, &lost)
        return True

    def __len__(self) -> int:
        """Messages that are not done: those that are queued, and those that somebody has taken."""
        return psn_ledger_unfinished(&arena, self.ledger)

    def __reduce__(self):
        return ledger_of, (self.block, self.channel)


def ledger_new(Channel channel) -> Ledger:
    """A ledger for a channel; from now on all who take from that do so through it."""
    cdef psn_handle handle
    check(psn_ledger_create(&arena, channel.block.handle, &handle))
    return ledger_of(block_object(handle), channel)


def ledger_of(Block block, Channel channel) -> Ledger:
    """The ledger in a block that was made by ledger_new()."""
    cdef Ledger ledger = Ledger.__new__(Ledger)
    ledger.block = block
    ledger.channel = channel
    ledger.ledger = <psn_ledger *>psn_at(&arena, block.handle.offset)
    return ledger
