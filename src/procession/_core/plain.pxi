# Plain values as bytes that fit a slot: numbers, short strings and bytes, and small containers of these.
#
# Most of what queues carry is so.  To pickle an int costs twice what the queue itself does; this, a tenth of it.  A value is a
# kind and what follows it:
#
#     NONE | TRUE | FALSE | INT8 byte | INT32 4 bytes | INT64 8 bytes | FLOAT 8 bytes | BYTES length bytes
#     TEXT width length characters, each as wide as Python has it | TUPLE or LIST count items | DICT count keys and values
#
# No pickle begins with one of these kinds, nor does anything else that is sent.  A container that can be changed is packed
# only if nothing else refers to it but the one around it, nor to a tuple around that: what was one object must not come out as
# two.

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *value)
    PyTypeObject *type_of "Py_TYPE"(PyObject *value)
    PyObject *Py_None
    PyObject *Py_True
    PyObject *Py_False
    long long PyLong_AsLongLongAndOverflow(PyObject *value, int *overflow)
    double PyFloat_AS_DOUBLE(PyObject *value)
    char *bytes_data "PyBytes_AS_STRING"(PyObject *value)
    Py_ssize_t bytes_size "PyBytes_GET_SIZE"(PyObject *value)
    unsigned int PyUnicode_KIND(PyObject *value)
    void *PyUnicode_DATA(PyObject *value)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *value)
    object PyUnicode_FromKindAndData(int kind, const void *data, Py_ssize_t length)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *value)
    PyObject *PyTuple_GET_ITEM(PyObject *value, Py_ssize_t i)
    Py_ssize_t PyList_GET_SIZE(PyObject *value)
    PyObject *PyList_GET_ITEM(PyObject *value, Py_ssize_t i)
    Py_ssize_t PyDict_Size(PyObject *value)
    int next_of "PyDict_Next"(PyObject *value, Py_ssize_t *place, PyObject **name, PyObject **item)
    object PyTuple_New(Py_ssize_t count)
    void PyTuple_SET_ITEM(object to, Py_ssize_t i, object stolen)
    object PyList_New(Py_ssize_t count)
    void PyList_SET_ITEM(object to, Py_ssize_t i, object stolen)
    int PyDict_SetItem(object to, object name, object value) except -1
    void Py_INCREF(object value)
    void Py_XDECREF(PyObject *value)

cdef enum:
    KIND_NONE = 0x10
    KIND_TRUE = 0x11
    KIND_FALSE = 0x12
    KIND_INT8 = 0x13
    KIND_INT32 = 0x14
    KIND_INT64 = 0x15
    KIND_FLOAT = 0x16
    KIND_BYTES = 0x17
    KIND_TEXT = 0x18
    KIND_TUPLE = 0x19
    KIND_LIST = 0x1a
    KIND_DICT = 0x1b
    DEEPEST = 4
    SHARED = 0x100  # beside a depth: within a tuple that may be there twice


cdef inline bint is_packed(uint8_t kind) noexcept:
    return KIND_NONE <= kind <= KIND_DICT


cdef inline uint8_t *pack_int(uint8_t *at, uint8_t *end, PyObject *value) noexcept:
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    cdef int32_t half
    if overflow or end - at < 9:
        return NULL
    if -128 <= number < 128:
        at[0] = KIND_INT8
        at[1] = <uint8_t>number
        return at + 2
    half = <int32_t>number
    if half == number:
        at[0] = KIND_INT32
        memcpy(at + 1, &half, 4)
        return at + 5
    at[0] = KIND_INT64
    memcpy(at + 1, &number, 8)
    return at + 9


cdef inline uint8_t *pack_text(uint8_t *at, uint8_t *end, PyObject *value) noexcept:
    cdef unsigned int width = PyUnicode_KIND(value)
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(value)
    if length > PSN_INLINE or length * width + 3 > end - at:
        return NULL
    at[0] = KIND_TEXT
    at[1] = <uint8_t>width
    at[2] = <uint8_t>length
    memcpy(at + 3, PyUnicode_DATA(value), <size_t>(length * width))
    return at + 3 + length * width


cdef uint8_t *pack_container(uint8_t *at, uint8_t *end, PyObject *value, int depth) noexcept:
    cdef PyTypeObject *kind = type_of(value)
    cdef Py_ssize_t count, i, place = 0
    cdef PyObject *name
    cdef PyObject *item
    if depth & ~SHARED == DEEPEST:
        return NULL
    if kind == <PyTypeObject *>tuple:
        at[0] = KIND_TUPLE
        count = PyTuple_GET_SIZE(value)
        if depth and Py_REFCNT(value) != 1:
            depth |= SHARED
    elif depth and (depth & SHARED or Py_REFCNT(value) != 1):
        return NULL
    elif kind == <PyTypeObject *>dict:
        at[0] = KIND_DICT
        count = PyDict_Size(value)
    elif kind == <PyTypeObject *>list:
        at[0] = KIND_LIST
        count = PyList_GET_SIZE(value)
    else:
        return NULL
    if count > PSN_INLINE:
        return NULL
    at[1] = <uint8_t>count
    at += 2
    if kind == <PyTypeObject *>dict:
        while at != NULL and next_of(value, &place, &name, &item):
            at = pack(at, end, name, depth + 1)
            if at != NULL:
                at = pack(at, end, item, depth + 1)
        return at
    i = 0
    while at != NULL and i < count:
        item = PyTuple_GET_ITEM(value, i) if kind == <PyTypeObject *>tuple else PyList_GET_ITEM(value, i)
        at = pack(at, end, item, depth + 1)
        i += 1
    return at


cdef uint8_t *pack(uint8_t *at, uint8_t *end, PyObject *value, int depth) noexcept:
    """Write `value` at `at`: where it ends, or NULL if it is not plain or needs more room.  Runs no code of Python's."""
    cdef PyTypeObject *kind = type_of(value)
    cdef Py_ssize_t size
    cdef double number
    if end - at < 2:
        return NULL
    if kind == <PyTypeObject *>int:
        return pack_int(at, end, value)
    if kind == <PyTypeObject *>str:
        return pack_text(at, end, value)
    if kind == <PyTypeObject *>float:
        if end - at < 9:
            return NULL
        number = PyFloat_AS_DOUBLE(value)
        at[0] = KIND_FLOAT
        memcpy(at + 1, &number, 8)
        return at + 9
    if value == Py_None or value == Py_True or value == Py_False:
        at[0] = KIND_NONE if value == Py_None else KIND_TRUE if value == Py_True else KIND_FALSE
        return at + 1
    if kind == <PyTypeObject *>bytes:
        size = bytes_size(value)
        if size + 2 > end - at:
            return NULL
        at[0] = KIND_BYTES
        at[1] = <uint8_t>size
        memcpy(at + 2, bytes_data(value), <size_t>size)
        return at + 2 + size
    return pack_container(at, end, value, depth)


# The names in dicts that have come lately, by a few of their bytes: most come again and again.  One that is here already costs
# neither memory nor, in the dict, its hash.
cdef PyObject *names[256]


cdef object unpack_name(const uint8_t **position):
    """The key of a dict."""
    cdef const uint8_t *at = position[0]
    cdef Py_ssize_t length = at[2]
    cdef PyObject **known
    if at[0] != KIND_TEXT or at[1] != 1 or length == 0:
        return unpack(position)
    known = &names[<uint8_t>(at[3] * 31 + at[2 + length] * 7 + length)]
    if (known[0] == NULL or PyUnicode_GET_LENGTH(known[0]) != length or PyUnicode_KIND(known[0]) != 1
            or memcmp(PyUnicode_DATA(known[0]), at + 3, <size_t>length) != 0):
        name = unpack(position)
        Py_INCREF(name)
        Py_XDECREF(known[0])
        known[0] = <PyObject *>name
        return name
    position[0] = at + 3 + length
    return <object>known[0]


cdef object unpack(const uint8_t **position):
    """The value that was packed at `position`, which then is where it ends."""
    cdef const uint8_t *at = position[0]
    cdef uint8_t kind = at[0]
    cdef int32_t half
    cdef int64_t whole
    cdef double number
    cdef Py_ssize_t count, i
    if kind == KIND_INT8:
        position[0] = at + 2
        return <int8_t>at[1]
    if kind == KIND_INT32:
        memcpy(&half, at + 1, 4)
        position[0] = at + 5
        return half
    if kind == KIND_INT64:
        memcpy(&whole, at + 1, 8)
        position[0] = at + 9
        return whole
    if kind == KIND_FLOAT:
        memcpy(&number, at + 1, 8)
        position[0] = at + 9
        return number
    if kind == KIND_TEXT:
        count = at[2]
        position[0] = at + 3 + count * at[1]
        return PyUnicode_FromKindAndData(at[1], at + 3, count)
    if kind == KIND_BYTES:
        count = at[1]
        position[0] = at + 2 + count
        return PyBytes_FromStringAndSize(<char *>at + 2, count)
    if kind <= KIND_FALSE:
        position[0] = at + 1
        return None if kind == KIND_NONE else kind == KIND_TRUE
    count = at[1]
    position[0] = at + 2
    if kind == KIND_TUPLE:
        items = PyTuple_New(count)
        for i in range(count):
            item = unpack(position)
            Py_INCREF(item)
            PyTuple_SET_ITEM(items, i, item)
        return items
    if kind == KIND_LIST:
        items = PyList_New(count)
        for i in range(count):
            item = unpack(position)
            Py_INCREF(item)
            PyList_SET_ITEM(items, i, item)
        return items
    items = {}
    for i in range(count):
        name = unpack_name(position)
        item = unpack(position)
        PyDict_SetItem(items, name, item)
    return items
