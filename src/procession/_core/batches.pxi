# Many plain values in one piece of bytes, at what their bytes cost: the items of a batch, and its results.
#
#   0x21 | 3 unused | count | int64 of each            all of them int
#   0x22 | 3 unused | count | double of each           all of them float
#   0x23 | 3 unused | count | uint32 of each | bytes   all of them str, short ones; the length in bytes, with the top bit set
#                                                      if it is ASCII, else UTF-8
#   0x24 | 3 unused | count | uint32 of each | bytes   all of them bytes, short ones
#   0x80 ...                                           a pickle of a list, a tuple or a range
#
# Results have their pieces before that: 0x03 | unused | uint16 count of pieces | four int64 of each.

cdef enum:
    INTS = 0x21
    FLOATS = 0x22
    STRS = 0x23
    BYTESES = 0x24
    PIECES = 0x03
    BATCH_HEAD = 8
    # Longer ones are pickled, because a pickle has an object that is there many times only once.
    SHORT_MEAN = 64
    ASCII_BIT = 0x80000000


cdef bytes begin_batch(const char *prefix, Py_ssize_t prefix_size, uint8_t kind, Py_ssize_t count, Py_ssize_t size, char **body):
    """Bytes with room for `size` more at `body`."""
    cdef bytes data = PyBytes_FromStringAndSize(NULL, prefix_size + BATCH_HEAD + size)
    cdef char *at = PyBytes_AS_STRING(data)
    cdef uint32_t count32 = <uint32_t>count
    memcpy(at, prefix, prefix_size)
    at += prefix_size
    memset(at, 0, BATCH_HEAD)
    at[0] = kind
    memcpy(at + 4, &count32, 4)
    body[0] = at + BATCH_HEAD
    return data


cdef bytes pack_ints(const char *prefix, Py_ssize_t prefix_size, PyObject **items, Py_ssize_t n):
    """None if one of them is another type, or too large."""
    cdef char *body
    cdef int overflow = 0
    cdef int64_t number
    cdef Py_ssize_t i
    cdef bytes data = begin_batch(prefix, prefix_size, INTS, n, 8 * n, &body)
    for i in range(n):
        if type_of(items[i]) != <PyTypeObject *>int:
            return None
        number = PyLong_AsLongLongAndOverflow(items[i], &overflow)
        if overflow:
            return None
        memcpy(body + 8 * i, &number, 8)
    return data


cdef bytes pack_floats(const char *prefix, Py_ssize_t prefix_size, PyObject **items, Py_ssize_t n):
    """None if one of them is another type."""
    cdef char *body
    cdef double number
    cdef Py_ssize_t i
    cdef bytes data = begin_batch(prefix, prefix_size, FLOATS, n, 8 * n, &body)
    for i in range(n):
        if type_of(items[i]) != <PyTypeObject *>float:
            return None
        number = PyFloat_AS_DOUBLE(items[i])
        memcpy(body + 8 * i, &number, 8)
    return data


cdef bint text_of(PyObject *value, bint is_str, const char **text, Py_ssize_t *size, bint *is_ascii):
    """Where the bytes of a str or of bytes are; False if it has another type, or none that are UTF-8."""
    if is_str:
        if type_of(value) != <PyTypeObject *>str:
            return False
        if PyUnicode_IS_COMPACT_ASCII(value):
            text[0] = <const char *>PyUnicode_DATA(value)
            size[0] = PyUnicode_GET_LENGTH(value)
            is_ascii[0] = True
            return True
        is_ascii[0] = False
        if PyUnicode_GET_LENGTH(value) > SHORT_MEAN:
            return False  # it would keep its UTF-8 for good
        try:
            text[0] = PyUnicode_AsUTF8AndSize(<object>value, size)
        except UnicodeEncodeError:  # half of a pair
            return False
        return True
    if type_of(value) != <PyTypeObject *>bytes:
        return False
    text[0] = bytes_data(value)
    size[0] = bytes_size(value)
    is_ascii[0] = False
    return True


cdef bytes pack_texts(const char *prefix, Py_ssize_t prefix_size, PyObject **items, Py_ssize_t n, bint is_str):
    """None if one of them is another type, or if they are long."""
    cdef char *body
    cdef const char *text = NULL
    cdef Py_ssize_t i, size = 0, total = 0, limit = SHORT_MEAN * n
    cdef bint is_ascii = False
    cdef uint32_t length
    cdef bytes data
    for i in range(n):
        if not text_of(items[i], is_str, &text, &size, &is_ascii):
            return None
        total += size
        if total > limit:
            return None
    data = begin_batch(prefix, prefix_size, STRS if is_str else BYTESES, n, 4 * n + total, &body)
    cdef char *at = body + 4 * n
    for i in range(n):
        text_of(items[i], is_str, &text, &size, &is_ascii)
        length = <uint32_t>size | (ASCII_BIT if is_ascii else 0)
        memcpy(body + 4 * i, &length, 4)
        memcpy(at, text, size)
        at += size
    return data


cdef bytes pack_values(const char *prefix, Py_ssize_t prefix_size, values):
    """None if some are not plain."""
    cdef Py_ssize_t n
    cdef PyObject **items
    cdef PyTypeObject *kind
    cdef bytes data = None
    if type(values) is list or type(values) is tuple:
        n = PySequence_Fast_GET_SIZE(values)
        if n:
            items = PySequence_Fast_ITEMS(values)
            kind = type_of(items[0])
            if kind == <PyTypeObject *>int:
                data = pack_ints(prefix, prefix_size, items, n)
            elif kind == <PyTypeObject *>float:
                data = pack_floats(prefix, prefix_size, items, n)
            elif kind == <PyTypeObject *>str:
                data = pack_texts(prefix, prefix_size, items, n, True)
            elif kind == <PyTypeObject *>bytes:
                data = pack_texts(prefix, prefix_size, items, n, False)
            if data is not None:
                return data
        if not is_plain(values):
            return None
    elif type(values) is not range:
        return None
    return PyBytes_FromStringAndSize(prefix, prefix_size) + <bytes>pickle_dumps(values, 5)


def pack_batch(bytes prefix, values) -> bytes | None:
    """`prefix` and the values, a list, a tuple or a range; None if some need code of the user's to be unpickled."""
    return pack_values(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix), values)


def pack_results(list pieces, list values) -> bytes | None:
    """Pieces, and the values of all of them; None if some need code of the user's to be unpickled, or there are too many."""
    cdef char head[4 + 32 * 64]
    cdef Py_ssize_t i, n = len(pieces)
    cdef uint64_t number
    cdef uint16_t count = <uint16_t>(n // 4)
    if n > 4 * 64:
        return None
    head[0] = PIECES
    head[1] = 0
    memcpy(head + 2, &count, 2)
    for i in range(n):
        number = pieces[i]
        memcpy(head + 4 + 8 * i, &number, 8)
    return pack_values(head, 4 + 8 * n, values)


cdef list unpack_values(const char *data, Py_ssize_t size):
    """What pack_values() has packed."""
    cdef uint32_t count
    cdef Py_ssize_t i, length
    cdef int64_t number
    cdef double real
    cdef uint32_t word
    cdef const char *body
    cdef const char *at
    cdef object value
    cdef list values
    cdef uint8_t kind
    if size < 1:
        raise ValueError("nothing to unpack")
    kind = <uint8_t>data[0]
    if kind == 0x80:
        value = pickle_loads(PyMemoryView_FromMemory(<char *>data, size, PyBUF_READ))
        return value if type(value) is list else list(value)
    if size < BATCH_HEAD:
        raise ValueError("a batch that is cut off")
    memcpy(&count, data + 4, 4)
    body = data + BATCH_HEAD
    size -= BATCH_HEAD
    if kind < INTS or kind > BYTESES:
        raise ValueError(f"a batch of unknown kind {kind}")
    if size < (8 if kind <= FLOATS else 4) * <Py_ssize_t>count:
        raise ValueError("a batch that is cut off")
    values = PyList_New(count)
    if kind == INTS:
        for i in range(count):
            memcpy(&number, body + 8 * i, 8)
            value = PyLong_FromLongLong(number)
            Py_INCREF(value)
            PyList_SET_ITEM(values, i, value)
    elif kind == FLOATS:
        for i in range(count):
            memcpy(&real, body + 8 * i, 8)
            value = PyFloat_FromDouble(real)
            Py_INCREF(value)
            PyList_SET_ITEM(values, i, value)
    else:
        at = body + 4 * <Py_ssize_t>count
        size -= 4 * <Py_ssize_t>count
        for i in range(count):
            memcpy(&word, body + 4 * i, 4)
            length = word & <uint32_t>~ASCII_BIT
            if length > size:
                raise ValueError("a batch that is cut off")
            size -= length
            if kind == BYTESES:
                value = PyBytes_FromStringAndSize(at, length)
            elif word & ASCII_BIT:
                # One character or none: the interpreter has these ready.
                value = PyUnicode_FromKindAndData(1, at, length) if length < 2 else ascii_of(at, length)
            else:
                value = PyUnicode_DecodeUTF8(at, length, NULL)
            Py_INCREF(value)
            PyList_SET_ITEM(values, i, value)
            at += length
    return values


cdef inline object ascii_of(const char *text, Py_ssize_t length):
    cdef object value = PyUnicode_New(length, 127)
    memcpy(PyUnicode_DATA(<PyObject *>value), text, length)
    return value


def unpack_batch(payload, Py_ssize_t start) -> list:
    """The values in a payload, bytes or a Message, from `start` on, which pack_batch() has put there."""
    cdef Py_buffer view
    if type(payload) is bytes:
        return unpack_values(PyBytes_AS_STRING(payload) + start, PyBytes_GET_SIZE(payload) - start)
    PyObject_GetBuffer(payload, &view, PyBUF_CONTIG_RO)
    try:
        return unpack_values(<const char *>view.buf + start, view.len - start)
    finally:
        PyBuffer_Release(&view)


def unpack_results(payload) -> tuple[list[int], list[Any]] | None:
    """What pack_results() has packed into a payload, bytes or a Message; None if it is something else."""
    cdef Py_buffer view
    cdef const char *data
    cdef uint16_t count
    cdef uint64_t number
    cdef Py_ssize_t i
    cdef list pieces
    PyObject_GetBuffer(payload, &view, PyBUF_CONTIG_RO)
    try:
        data = <const char *>view.buf
        if view.len < 4 or data[0] != PIECES:
            return None
        memcpy(&count, data + 2, 2)
        if view.len < 4 + 32 * <Py_ssize_t>count:
            raise ValueError("results that are cut off")
        pieces = []
        for i in range(4 * <Py_ssize_t>count):
            memcpy(&number, data + 4 + 8 * i, 8)
            pieces.append(number)
        return pieces, unpack_values(data + 4 + 32 * <Py_ssize_t>count, view.len - 4 - 32 * <Py_ssize_t>count)
    finally:
        PyBuffer_Release(&view)
