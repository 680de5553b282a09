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


cdef bint stream_try(unsigned long *owner):
    """Whether nobody holds the lock; then this thread does.  It is known where it is, before the owner, on these Pythons."""
    return PyThread_acquire_lock((<PyThread_type_lock *>owner - 1)[0], NOWAIT_LOCK) != 0


def stream_holder(object stream) -> int:
    """The other thread that is within a stream, 1 for one that is about to be; 0 if none is, or if that cannot be known.

    A thread that had to wait for the lock has it before it has the interpreter, and so before it can say that it has.
    """
    cdef unsigned long *owner = stream_owner(stream)
    if owner == NULL or owner[0] == PyThread_get_thread_ident():
        return 0
    if owner[0] != 0 or PY_VERSION_HEX >= 0x030E0000:
        return owner[0]
    if not stream_try(owner):
        return 1
    PyThread_release_lock((<PyThread_type_lock *>owner - 1)[0])
    return 0


def stream_release(object stream) -> None:
    """In a forked child: let go of the lock of a stream, if a thread has it that is not here."""
    cdef unsigned long *owner = stream_owner(stream)
    if owner == NULL or owner[0] == PyThread_get_thread_ident() or PY_VERSION_HEX >= 0x030E0000:
        return
    stream_try(owner)  # either way it is held now
    owner[0] = 0
    PyThread_release_lock((<PyThread_type_lock *>owner - 1)[0])
