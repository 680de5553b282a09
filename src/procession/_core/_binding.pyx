# cython: boundscheck=False, wraparound=False, cdivision=True, embedsignature=True
"""Binding of csrc/: converts, releases the interpreter lock, retries after signals, turns a status into an exception.

No policy.  One arena per process; its handle is the module's.  Times are absolute nanoseconds of `clock_ns()`.
"""

from cpython.buffer cimport PyBUF_CONTIG_RO, PyBUF_READ, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cython cimport auto_pickle, binding, no_gc
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_FromDouble
from cpython.long cimport PyLong_AsUnsignedLongLongMask, PyLong_FromLongLong
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject, PyTypeObject, Py_TYPE
from cpython.pythread cimport (
    NOWAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_get_thread_ident,
    PyThread_release_lock,
    PyThread_type_lock,
)
from cpython.sequence cimport PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE, PySequence_Fast_ITEMS
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8, PyUnicode_New
from cpython.version cimport PY_VERSION_HEX
from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, int8_t, uint16_t, uint32_t, uint64_t, uint8_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset, strerror
from operator import index as operator_index
from pickle import dumps as pickle_dumps, loads as pickle_loads
from struct import calcsize as struct_calcsize

from procession import errors

include "declarations.pxi"
include "arena.pxi"
include "locks.pxi"
include "numbers.pxi"
include "waits.pxi"
include "channels.pxi"
include "ledgers.pxi"
include "shared.pxi"
include "plain.pxi"
include "tasks.pxi"
include "batches.pxi"
include "calls.pxi"
include "queues.pxi"
include "lanes.pxi"
include "packets.pxi"
include "streams.pxi"
include "names.pxi"
