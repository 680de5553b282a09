# cython: boundscheck=False, wraparound=False, cdivision=True, embedsignature=True
"""Binding of csrc/files.h, and the listing of a folder as entries that it takes.

No policy.  Names are as everywhere in Python: undecodable bytes are surrogates.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cython cimport auto_pickle
from libc cimport errno as c_errno
from libc.stdint cimport int64_t, uint16_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset, strcmp, strlen, strncmp


cdef extern from "Python.h":
    str PyUnicode_DecodeFSDefaultAndSize(const char *name, Py_ssize_t size)
    bytes PyUnicode_EncodeFSDefault(str name)

cdef extern from "<fcntl.h>" nogil:
    enum:
        AT_SYMLINK_NOFOLLOW
        F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, int argument)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<sys/stat.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    struct stat_t "stat":
        unsigned int st_mode
        uint64_t st_dev
        uint64_t st_ino
        uint64_t st_nlink
        int64_t st_size
        int64_t st_blocks
        timespec st_mtim
        timespec st_atim
    int fstatat(int folder, const char *name, stat_t *out, int flags)
    bint S_ISDIR(unsigned int mode)
    bint S_ISLNK(unsigned int mode)
    bint S_ISREG(unsigned int mode)

cdef extern from "<dirent.h>" nogil:
    enum:
        DT_DIR
    struct dirent:
        unsigned char d_type
        char *d_name
    ctypedef struct DIR:
        pass
    DIR *fdopendir(int fd)
    dirent *readdir(DIR *folder)
    int closedir(DIR *folder)

cdef extern from "files.h" nogil:
    ctypedef uint64_t psn_a64
    struct psn_entry:
        int64_t size
        int64_t mtime_ns
        int64_t atime_ns
        uint16_t name_size
        uint8_t kind
    struct psn_files_progress:
        psn_a64 *files
        psn_a64 *bytes
    struct psn_files_apart:
        uint64_t source
        uint64_t target
    enum:
        PSN_ENTRY_FILE
        PSN_ENTRY_SPARSE
        PSN_ENTRY_LINK
        PSN_FILE_DONE
        PSN_FILE_UNCHANGED
        PSN_FILE_LEFT
    size_t psn_entry_room(size_t name_size)
    size_t psn_files_copy(int source, int target, const void *entries, size_t size, void *room, size_t room_size,
                          psn_files_apart *apart, uint8_t *ends, psn_files_progress progress)
    size_t psn_files_compare(int source, int target, const void *entries, size_t size, uint8_t *ends,
                             psn_files_progress progress)

FILE = PSN_ENTRY_FILE
SPARSE = PSN_ENTRY_SPARSE
LINK = PSN_ENTRY_LINK
DONE = PSN_FILE_DONE
UNCHANGED = PSN_FILE_UNCHANGED
LEFT = PSN_FILE_LEFT

cdef enum:
    SMALLEST = 40  # bytes of an entry
    STEP = 65536  # bytes of entries in one answer, at most


def pack(str name, int64_t size, int64_t mtime_ns, int64_t atime_ns, uint8_t kind) -> bytes:
    """One entry."""
    cdef bytes encoded = PyUnicode_EncodeFSDefault(name)
    cdef size_t length = <size_t>PyBytes_GET_SIZE(encoded)
    if length > 65535:
        raise ValueError(f"a name has at most 65535 bytes, got {length}")
    cdef size_t room = psn_entry_room(length)
    cdef bytes packed = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>room)
    put(PyBytes_AS_STRING(packed), PyBytes_AS_STRING(encoded), length, size, mtime_ns, atime_ns, kind)
    return packed


cdef void put(char *place, const char *name, size_t length, int64_t size, int64_t mtime_ns, int64_t atime_ns,
              uint8_t kind) noexcept nogil:
    cdef psn_entry entry
    memset(place, 0, psn_entry_room(length))
    memset(&entry, 0, sizeof(entry))
    entry.size, entry.mtime_ns, entry.atime_ns = size, mtime_ns, atime_ns
    entry.name_size, entry.kind = <uint16_t>length, kind
    memcpy(place, &entry, sizeof(entry))
    memcpy(place + sizeof(entry), name, length)


def unpack(bytes entries) -> list:
    """(name, size, mtime_ns, atime_ns, kind) of each."""
    cdef const char *place = PyBytes_AS_STRING(entries)
    cdef const char *end = place + PyBytes_GET_SIZE(entries)
    cdef psn_entry entry
    cdef list found = []
    while place < end:
        memcpy(&entry, place, sizeof(entry))
        name = PyUnicode_DecodeFSDefaultAndSize(place + sizeof(entry), entry.name_size)
        found.append((name, entry.size, entry.mtime_ns, entry.atime_ns, entry.kind))
        place += psn_entry_room(entry.name_size)
    return found


@auto_pickle(False)
cdef class SmallFiles:
    """Copies and compares entries of one folder at a time.

    Args:
        most_bytes: the size from which files are left.
        progress: two numbers of 8 bytes that grow by the files and by the bytes that are done; written while others read.
    """

    cdef Py_buffer progress
    cdef void *room
    cdef size_t room_size
    cdef psn_files_apart apart
    cdef bint is_watched

    def __cinit__(self, size_t most_bytes, progress):
        self.room = PyMem_Malloc(most_bytes)
        self.room_size = most_bytes
        if self.room == NULL:
            raise MemoryError
        PyObject_GetBuffer(progress, &self.progress, PyBUF_WRITABLE)
        self.is_watched = True
        if self.progress.len != 16:
            raise ValueError(f"the progress must have 16 bytes, got {self.progress.len}")

    def __dealloc__(self):
        if self.is_watched:
            PyBuffer_Release(&self.progress)
        PyMem_Free(self.room)

    cdef bytes _run(self, int source, int target, bytes entries, bint is_copy):
        cdef size_t size = <size_t>PyBytes_GET_SIZE(entries), count
        cdef const char *place = PyBytes_AS_STRING(entries)
        cdef bytes ends = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(size // SMALLEST))
        cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(ends)
        cdef psn_files_progress progress
        progress.files = <psn_a64 *>self.progress.buf
        progress.bytes = progress.files + 1
        with nogil:
            if is_copy:
                count = psn_files_copy(source, target, place, size, self.room, self.room_size, &self.apart, out, progress)
            else:
                count = psn_files_compare(source, target, place, size, out, progress)
        return ends[:count]

    def copy(self, int source, int target, bytes entries) -> bytes:
        """What became of each entry: DONE or LEFT.  `source` and `target` are open folders."""
        return self._run(source, target, entries, True)

    def compare(self, int source, int target, bytes entries) -> bytes:
        """UNCHANGED or LEFT for each entry: whether the target has it."""
        return self._run(source, target, entries, False)


@auto_pickle(False)
cdef class Lister:
    """What lies in the open folder `fd`, some entries at a time.  Nobody else reads from that.

    Args:
        judge: called with a name, and with whether it is a folder's; whether it is to be listed.  Only with names that begin
            with `doubtful`.
        most_bytes: the size from which files are not packed.
    """

    cdef DIR *folder
    cdef int fd
    cdef object judge
    cdef bytes doubtful
    cdef int64_t most_bytes

    def __cinit__(self, int fd, judge, bytes doubtful, int64_t most_bytes):
        self.folder = NULL
        self.judge, self.doubtful, self.most_bytes = judge, doubtful, most_bytes
        # Not another opening of it, which takes longer: only one lister ever reads it.
        self.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)
        if self.fd < 0:
            PyErr_SetFromErrno(OSError)
        self.folder = fdopendir(self.fd)
        if self.folder == NULL:
            close(self.fd)
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        self.close()

    def close(self) -> None:
        if self.folder != NULL:
            closedir(self.folder)
            self.folder = NULL

    def read(self, Py_ssize_t most_files, int64_t most_size) -> tuple:
        """The next entries, until there are `most_files` packed, or `most_size` bytes in them.

        Returns:
            The packed entries (links, and files with one name), how many they are, the sum of their sizes, the others, and whether that
            was the end.  Of the others each is a tuple: (name, mode, size, mtime_ns, atime_ns, is_sparse, links, device,
            inode), of folders and of what cannot be looked at the name and the mode, or the error, alone.
        """
        cdef char packed[STEP]
        cdef size_t used = 0, length
        cdef Py_ssize_t count = 0, seen = 0
        cdef int64_t total = 0
        cdef list others = []
        cdef dirent *entry
        cdef stat_t found
        cdef bint is_folder, is_known, is_link, is_sparse
        cdef const char *doubtful = PyBytes_AS_STRING(self.doubtful)
        cdef size_t doubtful_length = <size_t>PyBytes_GET_SIZE(self.doubtful)
        if self.folder == NULL:
            raise ValueError("the lister is closed")
        while count < most_files and total < most_size and seen < 256 and used < STEP - 1024:
            c_errno.errno = 0
            entry = readdir(self.folder)
            if entry == NULL:
                if c_errno.errno != 0:
                    PyErr_SetFromErrno(OSError)
                return PyBytes_FromStringAndSize(packed, <Py_ssize_t>used), count, total, others, True
            if strcmp(entry.d_name, b".") == 0 or strcmp(entry.d_name, b"..") == 0:
                continue
            seen += 1
            length = strlen(entry.d_name)
            is_known = entry.d_type == DT_DIR
            if not is_known and fstatat(self.fd, entry.d_name, &found, AT_SYMLINK_NOFOLLOW) != 0:
                name = PyUnicode_DecodeFSDefaultAndSize(entry.d_name, <Py_ssize_t>length)
                try:
                    PyErr_SetFromErrno(OSError)
                except OSError as error:
                    if self.judge(name, False):
                        others.append((name, error))
                continue
            is_folder = is_known or S_ISDIR(found.st_mode)
            if strncmp(entry.d_name, doubtful, doubtful_length) == 0:
                name = PyUnicode_DecodeFSDefaultAndSize(entry.d_name, <Py_ssize_t>length)
                if not self.judge(name, is_folder):
                    continue
            if is_folder:
                others.append((PyUnicode_DecodeFSDefaultAndSize(entry.d_name, <Py_ssize_t>length), 0o40000))
                continue
            is_link = S_ISLNK(found.st_mode)
            is_sparse = found.st_blocks * 512 < found.st_size
            if is_link or (S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size < self.most_bytes):
                put(packed + used, entry.d_name, length, found.st_size, time_ns(&found.st_mtim), time_ns(&found.st_atim),
                    PSN_ENTRY_LINK if is_link else PSN_ENTRY_SPARSE if is_sparse else PSN_ENTRY_FILE)
                used += psn_entry_room(length)
                total += found.st_size
                count += 1
                continue
            name = PyUnicode_DecodeFSDefaultAndSize(entry.d_name, <Py_ssize_t>length)
            others.append((name, found.st_mode, found.st_size, time_ns(&found.st_mtim), time_ns(&found.st_atim), is_sparse,
                           found.st_nlink, found.st_dev, found.st_ino))
        return PyBytes_FromStringAndSize(packed, <Py_ssize_t>used), count, total, others, False


cdef inline int64_t time_ns(timespec *time) noexcept nogil:
    return time.tv_sec * 1000000000 + time.tv_nsec
