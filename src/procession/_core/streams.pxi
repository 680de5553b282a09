# What Python does not show of its threads, and of its buffered streams: a lock, and after it the thread that holds it.

from io import BufferedRandom, BufferedReader, BufferedWriter, TextIOWrapper


def is_only_thread() -> bool:
    """Whether this interpreter knows of no other thread."""
    return PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL


cdef bint had_others = False


def note_others() -> None:
    """Before a fork: what `had_other_threads()` says in the child."""
    global had_others
    had_others = not is_only_thread()


def had_other_threads() -> bool:
    """In a forked child: whether its parent had threads that are not here."""
    return had_others


def object_memory(object thing) -> bytes:
    """A copy of the object's own memory, of the length that its type says."""
    return PyBytes_FromStringAndSize(<char *><PyObject *>thing, Py_TYPE(thing).tp_basicsize)


cdef Py_ssize_t stream_owner_offset = 0


def stream_set_owner_offset(Py_ssize_t offset) -> None:
    """Where in a buffered stream's memory the thread is that holds its lock; without this streams count as free."""
    global stream_owner_offset
    stream_owner_offset = offset


cdef unsigned long *stream_owner(object stream):
    """NULL if it is neither a buffered stream nor a text stream on top of one."""
    if not stream_owner_offset:
        return NULL
    try:
        if isinstance(stream, TextIOWrapper):
            stream = stream.buffer
        if not isinstance(stream, (BufferedWriter, BufferedReader, BufferedRandom)):
            return NULL
    except Exception:  # detached, or a class of the program's own
        return NULL
    return <unsigned long *>(<char *><PyObject *>stream + stream_owner_offset)  # the one that was given keeps it


def stream_holder(object stream) -> int:
    """The other thread that is within a stream; 0 if none is, or if that cannot be known."""
    cdef unsigned long *owner = stream_owner(stream)
    return 0 if owner == NULL or owner[0] == PyThread_get_thread_ident() else owner[0]


def stream_release(object stream) -> None:
    """Let go of the lock of a stream that a thread was within which a fork has left behind."""
    cdef unsigned long *owner = stream_owner(stream)
    # Known for these versions only: the word before the owner is the lock.
    if owner != NULL and owner[0] != 0 and owner[0] != PyThread_get_thread_ident() and PY_VERSION_HEX < 0x030E0000:
        owner[0] = 0
        PyThread_release_lock((<PyThread_type_lock *>owner - 1)[0])
