# Channels, messages and bells.

INLINE_LIMIT = PSN_INLINE
TAKE_LIMIT = PSN_TAKE_LIMIT
# A body up to this size is copied out, and its block is free again at once; a larger one is read where it lies.
cdef uint64_t COPY_LIMIT = 65536


@no_gc
cdef class Message:
    """A message block that this process alone owns: a body, and references to blocks that live as long as it does."""

    cdef psn_handle handle
    cdef Block held  # instead of owning it: it is nobody's message, see message_share()

    def __cinit__(self):
        self.handle.offset = 0

    def __dealloc__(self):
        if self.handle.offset and is_entered():
            psn_block_disown(&arena, self.handle)

    cdef inline psn_message *view(self):
        return <psn_message *>psn_at(&arena, self.handle.offset)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        cdef psn_message *message = self.view()
        PyBuffer_FillInfo(buffer, self, psn_message_body(message), <Py_ssize_t>message.body_size, 0, flags)

    def fill(self, uint64_t at, data) -> None:
        """Copy `data` into the body from `at` on, in the way that is cheapest for what is large."""
        fill_from(self.handle.offset + <uint64_t>(psn_message_body(self.view()) - <uint8_t *>self.view()) + at, data,
                  self.view().body_size - min(at, self.view().body_size))

    @property
    def refs(self) -> list[Block]:
        """The blocks that it refers to; this process holds them from now on."""
        cdef psn_message *message = self.view()
        cdef psn_handle handle
        cdef list found = []
        for i in range(message.ref_count):
            check(psn_block_hold_pinned(&arena, message.refs[i], &handle))
            found.append(block_object(handle))
        return found


def message_new(refs, uint64_t body_size) -> Message:
    """A message of `body_size` bytes of any content that refers to the blocks `refs`."""
    cdef Message message = Message.__new__(Message)
    cdef psn_handle handle
    # An even number of places for references: the body begins at a multiple of 16.
    check(psn_message_allocate(&arena, (<uint32_t>len(refs) + 1) & ~<uint32_t>1, body_size, &handle), body_size)
    message.handle = handle
    for block in refs:
        check(psn_message_refer(&arena, handle.offset, (<Block?>block).handle))
    return message


def message_give(Message message, uint32_t identity) -> None:
    """Hand a message to a child that is about to start, as what it must know to begin; it ends with the child."""
    cdef psn_process *process = psn_process_at(&arena, psn_identity_slot(identity))
    store_relaxed64(&process.boot, message.handle.offset)
    psn_message_give(&arena, message.handle, identity)
    message.handle.offset = 0


def message_of_boot() -> Message:
    """What this process's parent gave it with message_give()."""
    cdef psn_process *process = psn_process_at(&arena, arena.slot)
    cdef uint64_t offset = load_relaxed64(&process.boot)
    cdef psn_block *block = psn_block_of(&arena, offset)
    cdef Message message = Message.__new__(Message)
    if block == NULL:
        raise failure(PSN_GONE)
    message.handle.offset = offset
    message.handle.generation = load_relaxed64(&block.generation)
    return message


def message_entrust(Message message) -> tuple[int, int]:
    """Send a message by its handle, which message_adopt() takes: the program's first process keeps it on the way.

    If that has ended, it ends with this one.
    """
    cdef psn_handle handle = message.handle
    cdef uint32_t first = load_relaxed32(&psn_process_at(&arena, 0).identity)
    if psn_identity_is_alive(&arena, first):
        psn_message_give(&arena, handle, first)
    message.handle.offset = 0
    return handle.offset, handle.generation


def message_adopt(uint64_t offset, uint64_t generation) -> Message:
    """The message that another process has sent by its handle; this process's now.

    Raises:
        SharedObjectGone: whoever kept it has ended.
    """
    cdef Message message = Message.__new__(Message)
    cdef psn_handle handle
    handle.offset = offset
    handle.generation = generation
    if arena.base == NULL:
        raise failure(PSN_GONE)
    check(psn_message_adopt(&arena, handle))
    message.handle = handle
    return message


cdef class Bell:
    """A descriptor to wait for beside others, and a name under which any process can ring it."""

    cdef int descriptor
    cdef readonly uint64_t name

    def __cinit__(self):
        self.descriptor = -1
        check(psn_bell_create(&self.descriptor, &self.name))

    def fileno(self) -> int:
        return self.descriptor

    def ring(self) -> None:
        psn_bell_ring(self.name)

    def clear(self) -> None:
        psn_bell_clear(self.descriptor)

    def close(self) -> None:
        cdef int fd = self.descriptor
        self.descriptor = -1
        if fd >= 0:
            psn_bell_close(fd)

    def __dealloc__(self):
        if self.descriptor >= 0:
            self.close()


cdef object received(psn_slot *slot):
    """bytes, or a Message that is large or refers to blocks."""
    cdef Message message
    cdef psn_message *view
    cdef bytes body
    if slot.size != PSN_SLOT_MESSAGE:
        return PyBytes_FromStringAndSize(<char *>&slot.message, slot.size)
    view = <psn_message *>psn_at(&arena, slot.message.offset)
    if view.ref_count == 0 and view.body_size <= COPY_LIMIT:
        body = PyBytes_FromStringAndSize(<char *>psn_message_body(view), <Py_ssize_t>view.body_size)
        psn_block_disown(&arena, slot.message)
        return body
    message = Message.__new__(Message)
    message.handle = slot.message
    return message


cdef class Channel:
    """Messages from any process of the program to any other."""

    cdef readonly Block block
    cdef psn_channel *channel

    def __cinit__(self):
        self.channel = NULL

    @property
    def is_closed(self) -> bool:
        return load_acquire32(&self.channel.is_closed) != 0

    @property
    def limit(self) -> int:
        """Messages that it takes before a put waits; 0 is unbounded."""
        return self.channel.limit

    @property
    def head(self) -> int:
        """Position of the next message to be taken."""
        return load_acquire64(&self.channel.head)

    @property
    def tail(self) -> int:
        """Position that the next message will have."""
        return load_acquire64(&self.channel.tail)

    def __len__(self) -> int:
        return psn_channel_count(self.channel)

    def put(self, payload, uint64_t deadline=PSN_FOREVER, uint32_t tag=0) -> bool:
        """Deliver bytes or a Message; False if there was no room until the deadline.

        Raises:
            Closed: the channel is closed.
            OutOfMemory: the arena is full.
        """
        cdef psn_status status
        cdef uint64_t offset = self.block.handle.offset
        cdef const char *data = NULL
        cdef Py_ssize_t size = 0
        cdef Message message = None
        cdef psn_handle handle
        if type(payload) is bytes:
            data = PyBytes_AS_STRING(payload)
            size = PyBytes_GET_SIZE(payload)
            if <uint64_t>size > PSN_INLINE:
                check(psn_message_allocate(&arena, 0, <uint64_t>size, &handle), <uint64_t>size)
                message = Message.__new__(Message)
                message.handle = handle
                memcpy(psn_message_body(message.view()), data, <size_t>size)
        else:
            message = payload
        while True:
            if message is None and self.channel.limit == 0:
                # Nothing to wait for but the mutex: giving the interpreter lock up would cost more, and a thread that
                # waits for it would get it at every put.
                status = psn_channel_put(&arena, offset, tag, data, <uint32_t>size, 0)
            elif message is None:
                with nogil:
                    status = psn_channel_put(&arena, offset, tag, data, <uint32_t>size, slice_of(deadline))
            else:
                handle = message.handle
                with nogil:
                    status = psn_channel_put_message(&arena, offset, tag, handle, slice_of(deadline))
            if status == PSN_OK:
                if message is not None:
                    message.handle.offset = 0  # the reader's now
                return True
            if status != PSN_FULL and status != PSN_INTERRUPTED:
                raise failure(status)
            if not resume(deadline):
                return False

    cdef bint deliver(self, psn_slot *slots, uint32_t count, uint64_t deadline, uint32_t *done) except -1:
        """Put inline messages; False if there was no room for all until the deadline.  `done` says for how many."""
        cdef psn_status status
        cdef uint32_t more
        cdef uint64_t offset = self.block.handle.offset
        # Where there is room there is nothing to wait for but the mutex: see put().
        status = psn_channel_put_many(&arena, offset, slots, count, 0, done)
        while status != PSN_OK:
            if status != PSN_FULL and status != PSN_INTERRUPTED:
                raise failure(status)
            if not resume(deadline):
                return False
            with nogil:
                status = psn_channel_put_many(&arena, offset, slots + done[0], count - done[0], slice_of(deadline), &more)
            done[0] += more
        return True

    cdef uint32_t carry_off_alike(self, uint32_t wanted, uint32_t tag, uint64_t deadline, uint32_t spin_us,
                                  psn_slot *out) except? 0:
        """Take up to `wanted` messages; one whose tag is not `tag` comes alone.  0 if there was none until the deadline."""
        cdef psn_status status
        cdef uint32_t taken = 0
        cdef uint64_t offset = self.block.handle.offset
        status = psn_channel_take_alike(&arena, offset, wanted, tag, 0, 0, out, &taken)
        while status != PSN_OK:
            if status != PSN_EMPTY and status != PSN_INTERRUPTED:
                raise failure(status)
            if not resume(deadline):
                return 0
            with nogil:
                status = psn_channel_take_alike(&arena, offset, wanted, tag, slice_of(deadline), spin_us, out, &taken)
        return taken

    cdef uint32_t carry_off(self, uint32_t wanted, psn_claim *claim, uint64_t deadline, uint32_t spin_us, psn_slot *out,
                            uint64_t *first) except? 0:
        cdef psn_status status
        cdef uint32_t taken = 0
        cdef uint64_t offset = self.block.handle.offset
        # What is there already is taken without giving the interpreter lock up.
        status = psn_channel_take(&arena, offset, wanted, claim, 0, 0, out, &taken, first)
        if status == PSN_OK:
            return taken
        if deadline == 0 and status == PSN_EMPTY:
            return 0
        while True:
            with nogil:
                status = psn_channel_take(&arena, offset, wanted, claim, slice_of(deadline), spin_us, out, &taken, first)
            if status == PSN_OK:
                return taken
            if status != PSN_EMPTY and status != PSN_INTERRUPTED:
                raise failure(status)
            if not resume(deadline):
                return 0

    def get(self, uint64_t deadline=PSN_FOREVER, uint32_t spin_us=20):
        """The oldest message, bytes or a Message; None if there was none until the deadline.

        Raises:
            Closed: the channel is closed and nothing is left.
        """
        cdef psn_slot slot
        cdef uint64_t first
        if self.carry_off(1, NULL, deadline, spin_us, &slot, &first) == 0:
            return None
        return received(&slot)

    def take(self, uint32_t wanted, uint64_t deadline=PSN_FOREVER, uint32_t spin_us=20, bint claim=False):
        """Up to `wanted` messages: the position of the first, and a list of (tag, payload).

        With `claim` this process's slot names them before they are taken, so that its parent can tell what was lost with it.
        """
        cdef psn_slot slots[64]
        cdef uint64_t first = 0
        cdef uint32_t n, i
        cdef psn_claim *mine = &psn_process_at(&arena, arena.slot).claim if claim else NULL
        n = self.carry_off(wanted, mine, deadline, spin_us, slots, &first)
        cdef list taken = []
        for i in range(n):
            taken.append((slots[i].tag, received(&slots[i])))
        return first, taken

    def withdraw(self, uint64_t position, readers, uint32_t tag) -> bool:
        """Take the message at `position` back; False if it is begun, done, or was taken back before.

        Args:
            readers: identities of those that claim.
            tag: what a reader will find in its place, with nothing in it, if it was still queued.
        """
        cdef uint32_t names[1024]
        cdef uint32_t count = 0
        for reader in readers:
            names[count] = reader
            count += 1
            if count == 1024:
                break
        cdef psn_status status = psn_channel_withdraw(&arena, self.block.handle.offset, position, names, count, tag)
        if status == PSN_OK or status == PSN_GONE:
            return status == PSN_OK
        raise failure(status)

    def rouse(self) -> None:
        """Wake a reader if there are messages, where readers that claim said that they would be back soon."""
        psn_channel_rouse(&arena, self.block.handle.offset)

    def __reduce__(self):
        return channel_of, (self.block,)

    def close(self) -> None:
        """No more puts; takes go on until nothing is left.  Wakes everybody who waits."""
        psn_channel_close(&arena, self.block.handle.offset)

    def listen(self, Bell bell) -> bool:
        """Have `bell` rung at the next put or close; False if too many listen already."""
        return psn_channel_listen(&arena, self.block.handle.offset, bell.name) == PSN_OK

    def unlisten(self, Bell bell) -> None:
        psn_channel_unlisten(&arena, self.block.handle.offset, bell.name)

    def check(self) -> str | None:
        """The first broken invariant, or None."""
        cdef const char *broken = psn_channel_check(&arena, self.block.handle.offset)
        return None if broken == NULL else broken.decode()


def channel_new(uint64_t limit=0) -> Channel:
    cdef psn_handle handle
    check(psn_channel_create(&arena, limit, &handle))
    return channel_of(block_object(handle))


def channel_of(Block block) -> Channel:
    """The channel in a block that was made by channel_new()."""
    cdef Channel channel = Channel.__new__(Channel)
    channel.block = block
    channel.channel = <psn_channel *>psn_at(&arena, block.handle.offset)
    return channel
