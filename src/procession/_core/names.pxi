# Named segments: the table of those that the program has to remove, memory mapped by descriptor, and a process that outlives
# the program.

NAME_LIMIT = PSN_NAME_LIMIT
ORPHAN_FD = PSN_ORPHAN_FD


cdef int fill_named(psn_named *named, bytes name, uint64_t device, uint64_t inode, uint32_t maker) except -1:
    if len(name) > <Py_ssize_t>PSN_NAME_LIMIT or b"\0" in name:
        raise ValueError(f"a name has at most {PSN_NAME_LIMIT} bytes, none of them zero, got {name!r}")
    memset(named, 0, sizeof(psn_named))
    named.device, named.inode, named.maker = device, inode, maker
    memcpy(named.name, PyBytes_AS_STRING(name), <size_t>len(name))
    return 0


def name_add(bytes name, uint64_t device, uint64_t inode) -> None:
    """Whoever outlives the program removes this name, if that file still has it; with inode 0 whatever has it."""
    cdef psn_named named
    fill_named(&named, name, device, inode, arena.identity)
    if psn_names_add(&arena, &named) != PSN_OK:
        raise errors.OutOfMemory(
            f"a program can have {arena.header.name_limit:,} named segments at one time, and has them: unlink some")


def name_remove(bytes name, uint64_t device=0, uint64_t inode=0, uint32_t maker=0) -> int:
    """Forget a name: of any file if the inode is 0, of any maker if that is 0; how many there were."""
    cdef psn_named named
    if arena.base == NULL:
        return 0
    fill_named(&named, name, device, inode, maker)
    return psn_names_remove(&arena, &named)


def name_list() -> list[tuple[bytes, int, int, int]]:
    """Those that there are: name, device, inode, and the identity of the process that has added it."""
    cdef psn_named named
    cdef uint64_t place = 0
    cdef list found = []
    if arena.base == NULL:
        return found
    while True:
        place = psn_names_next(&arena, place, &named)
        if place == 0:
            return found
        found.append((<bytes>named.name, named.device, named.inode, named.maker))


def names_place() -> tuple[int, int]:
    """Where in the arena's file the table of names is, and its size."""
    return arena.header.names_offset, sizeof(psn_names) + arena.header.name_limit * sizeof(psn_name)


def arena_reopen() -> int:
    """A descriptor of the arena's file that does not count among its users."""
    cdef int fd
    check(psn_memory_reopen(psn_arena_fd(&arena), &fd))
    return fd


def arena_watcher() -> int:
    """The pid of the process that waits for the end of the program; 0 if there is none."""
    return 0 if arena.base == NULL else psn_memory_watcher(psn_arena_fd(&arena))


def start_orphan(list command, list environment, int fd) -> None:
    """Start a program as nobody's child, in a session of its own; it inherits stderr, and `fd` as ORPHAN_FD.

    Raises:
        OSError: what the system says.
    """
    cdef char **words = <char **>malloc((<size_t>(len(command) + len(environment)) + 2) * sizeof(char *))
    cdef Py_ssize_t n = 0
    cdef psn_status status
    cdef int number
    if words == NULL:
        raise MemoryError
    for part in command:
        words[n] = PyBytes_AS_STRING(part)
        n += 1
    words[n] = NULL
    n += 1
    for part in environment:
        words[n] = PyBytes_AS_STRING(part)
        n += 1
    words[n] = NULL
    status = psn_start_orphan(words, words + len(command) + 1, fd)
    number = errno
    free(words)
    if status != PSN_OK:
        raise OSError(number, strerror(number).decode(errors="replace"), command[0])


cdef class Mapping:
    """A file's memory, shared and writable, for as long as this object or a view of it is there; needs no descriptor.

    Raises:
        OSError: it cannot be mapped.
    """

    cdef uint8_t *base
    cdef uint64_t mapped

    def __cinit__(self, int fd, uint64_t size):
        self.base = NULL
        self.mapped = size
        check(psn_memory_map(fd, size, &self.base))

    def __dealloc__(self):
        if self.base != NULL:
            psn_memory_unmap(self.base, self.mapped)

    def __len__(self) -> int:
        return self.mapped

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.base, <Py_ssize_t>self.mapped, 0, flags)

    def __reduce__(self):
        raise TypeError("memory that is mapped has no meaning in another process")
