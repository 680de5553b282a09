# What is shared for good: blocks with arrays in them, and messages that are sent to nobody.

def address_of(data) -> int:
    """Where a buffer lies in this process's memory."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(data, &buffer, PyBUF_CONTIG_RO)
    cdef uintptr_t address = <uintptr_t>buffer.buf
    PyBuffer_Release(&buffer)
    return address


def block_is_own(Block block) -> bool:
    """Whether it came in a message as this process's alone."""
    return block.handle.offset in own_blocks


def block_clear(Block block) -> None:
    """Make all of it zero; pages that do not exist yet are zero, and stay away until they are touched."""
    cdef int fd = psn_arena_fd(&arena)
    with nogil:
        if fd < 0 or psn_block_is_warm(&arena, block.handle.offset):
            memset(psn_at(&arena, block.handle.offset), 0, <size_t>block.block_size)
        else:
            # Some may exist all the same: of a run whose user was killed before it could say that it had touched them.
            psn_memory_discard(fd, block.handle.offset, (block.block_size + PSN_PAGE - 1) // PSN_PAGE * PSN_PAGE)


def message_share(Message message) -> Block:
    """A message that is sent to nobody, as a block: who holds it can read it with message_in()."""
    check(psn_block_hold(&arena, message.handle))
    psn_block_disown(&arena, message.handle)
    cdef Block block = block_object(message.handle)
    message.handle.offset = 0
    return block


def message_in(Block block) -> Message:
    """The message that message_share() has made a block of; any number may read it, and none may write to it."""
    cdef Message message = Message.__new__(Message)
    message.handle = block.handle
    message.held = block
    return message
