# Packets: what goes through a pipe, one call of the system for each.


def packet_send(int fd, data) -> None:
    """Send bytes as a packet that begins with a zero byte, waiting for room.

    Raises:
        OSError: what the system says.
    """
    cdef Py_buffer view
    cdef psn_status status
    PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO)
    try:
        while True:
            with nogil:
                status = psn_packet_send(fd, 0, view.buf, <size_t>view.len)
            if status == PSN_OK:
                return
            if status != PSN_INTERRUPTED:
                raise failure(status)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&view)


def packet_receive(int fd):
    """The next packet, waiting for it: what follows the zero byte that it begins with, if that is all.

    Otherwise the whole packet, its descriptors, and whether they or bytes of it are lost.  Empty and without any: the other
    end is closed.

    Raises:
        OSError: what the system says.
    """
    cdef psn_packet packet
    cdef psn_status status
    cdef char *room = take_packet_room()
    try:
        while True:
            with nogil:
                status = psn_packet_receive(fd, room, &packet)
            if status == PSN_OK:
                break
            if status != PSN_INTERRUPTED:
                raise failure(status)
            PyErr_CheckSignals()
        if packet.size and room[0] == 0 and not packet.descriptor_count and not packet.is_cut and not packet.has_lost:
            return PyBytes_FromStringAndSize(room + 1, <Py_ssize_t>packet.size - 1)
        fds = [packet.descriptors[i] for i in range(packet.descriptor_count)]
        return PyBytes_FromStringAndSize(room, <Py_ssize_t>packet.size), fds, packet.is_cut, packet.has_lost
    finally:
        give_packet_room(room)


# Where a packet is received.  One room is kept for the next call; its pages that no packet was long enough for never exist.
cdef char *packet_room = NULL


cdef char *take_packet_room() except NULL:
    global packet_room
    cdef char *room = packet_room
    packet_room = NULL
    if room == NULL:
        room = <char *>malloc(PSN_PACKET_ROOM)
        if room == NULL:
            raise MemoryError
    return room


cdef void give_packet_room(char *room) noexcept:
    global packet_room
    if packet_room == NULL:
        packet_room = room
    else:
        free(room)  # another thread received, too
