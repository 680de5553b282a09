# The innermost loop of a worker.

NOT_RUNNING = PSN_NOT_RUNNING
INITIALIZING = PSN_INITIALIZING
ANY_ITEM = PSN_ANY_ITEM


def claim_begin(uint64_t position) -> bool:
    """This worker runs the message at `position` of its channel from now on; False if that was taken back."""
    return psn_claim_begin(&psn_process_at(&arena, arena.slot).claim, position)


def claim_running(uint64_t position) -> None:
    """This worker now deals with the message at `position`, which it has begun; or with what INITIALIZING names."""
    store_release64(&psn_process_at(&arena, arena.slot).claim.running, position)


def claim_item(uint64_t index) -> None:
    """This worker now deals with that item of the message that it runs."""
    cdef psn_claim *claim = &psn_process_at(&arena, arena.slot).claim
    store_relaxed64(&claim.began, psn_clock_ns())
    store_release64(&claim.item, index)


def claim_value(uint64_t position, uint64_t index) -> None:
    """This worker now deals with the value of that item of a message that it has run."""
    cdef psn_claim *claim = &psn_process_at(&arena, arena.slot).claim
    store_relaxed64(&claim.began, psn_clock_ns())
    store_relaxed64(&claim.item, index)
    store_release64(&claim.running, position)


def claim_nothing() -> None:
    """This worker has given the results of all that it had taken."""
    cdef psn_claim *claim = &psn_process_at(&arena, arena.slot).claim
    store_relaxed64(&claim.first, load_relaxed64(&claim.to))


# Bytes and strings of this length are copied straight into the arena, and not among others.
cdef Py_ssize_t LONG = 131072


cdef inline bint has_plain_type(value):
    """Whether nothing in `value` runs code of the user's, or can fail, when it is unpickled; and it is not long."""
    cdef PyTypeObject *kind = Py_TYPE(value)
    if kind == <PyTypeObject *>str:
        return len(<str>value) < LONG
    if kind == <PyTypeObject *>bytes:
        return len(<bytes>value) < LONG
    return (kind == <PyTypeObject *>int or kind == <PyTypeObject *>float or value is None
            or kind == <PyTypeObject *>bool or kind == <PyTypeObject *>complex)


cdef bint holds_long(value, int depth):
    cdef PyObject *name
    cdef PyObject *item
    cdef Py_ssize_t at = 0
    if type(value) is bytes:
        return len(<bytes>value) >= LONG
    if type(value) is str:
        return len(<str>value) >= LONG
    if type(value) is bytearray:
        return len(<bytearray>value) >= LONG
    if depth == 0:
        return False
    if type(value) is tuple:
        if len(<tuple>value) <= 64:
            for part in <tuple>value:
                if holds_long(part, depth - 1):
                    return True
    elif type(value) is list:
        if len(<list>value) <= 64:
            for part in <list>value:
                if holds_long(part, depth - 1):
                    return True
    elif type(value) is dict:
        if len(<dict>value) <= 64:
            while PyDict_Next(<dict>value, &at, &name, &item):
                if holds_long(<object>item, depth - 1):
                    return True
    return False


def has_long(value) -> bool:
    """Whether long bytes or a long string lie in `value`, as far as can be seen at a glance."""
    return holds_long(value, 3)


cdef bint plain_deep(value, int depth):
    cdef PyObject *name
    cdef PyObject *item
    cdef Py_ssize_t at = 0
    if has_plain_type(value):
        return True
    if depth == 0:
        return False
    if type(value) is dict:
        if len(<dict>value) > 64:
            return False
        while PyDict_Next(<dict>value, &at, &name, &item):
            if not has_plain_type(<object>name) or not plain_deep(<object>item, depth - 1):
                return False
        return True
    if type(value) is tuple:
        if len(<tuple>value) > 64:
            return False
        for part in <tuple>value:
            if not plain_deep(part, depth - 1):
                return False
        return True
    if type(value) is list:
        if len(<list>value) > 64:
            return False
        for part in <list>value:
            if not plain_deep(part, depth - 1):
                return False
        return True
    return False


def dump_plain(value) -> bytes | None:
    """The pickle of a value that is plain, or a small container of what is: nothing in it has buffers, handles or reducers.

    None for any other.
    """
    if plain_deep(value, 3):
        return pickle_dumps(value, 5)
    return None


def is_plain(values) -> bool:
    """Whether each of `values`, a list or a tuple, is of a type that needs no code of the user's to be unpickled."""
    if type(values) is tuple:
        for value in <tuple>values:
            if not has_plain_type(value):
                return False
        return True
    for value in <list?>values:
        if not has_plain_type(value):
            return False
    return True


def run_items(function, items, Py_ssize_t start, bint unpack, bint timed, uint64_t budget_ns, list values, list failures, list stop,
              ends):
    """Call `function` on items[start:] until the end, or until `budget_ns` has passed.

    Values are appended to `values`; a task that raised appends None there, and (index in `values`, exception) to `failures`.
    The index of the running item is in this process's slot, for the parent to read if the process dies; with `timed` also
    when it was begun.  An exception of the type `ends` ends the run, and so does an item that puts something into `stop`; neither has
    a value then.

    Returns:
        the index after the last item that was run, and the nanoseconds that it took.
    """
    cdef psn_claim *claim = &psn_process_at(&arena, arena.slot).claim
    if type(items) is not list and type(items) is not tuple:
        raise TypeError(f"items must be a list or a tuple, not {type(items).__name__}")
    cdef Py_ssize_t i = start, n = PySequence_Fast_GET_SIZE(items), look = start + 1
    cdef uint64_t began = psn_clock_ns(), now = began, end = began + budget_ns
    while i < n:
        if timed:
            store_relaxed64(&claim.began, psn_clock_ns())
        store_release64(&claim.item, <uint64_t>i)
        item = <object>PySequence_Fast_GET_ITEM(items, i)
        try:
            if unpack:
                value = function(*item)
            else:
                value = function(item)
        except BaseException as error:
            if type(error) is ends:
                raise
            if PyList_GET_SIZE(<PyObject *>stop):
                break
            value = None
            failures.append((len(values), error))
        if PyList_GET_SIZE(<PyObject *>stop):
            break
        values.append(value)
        i += 1
        # A look at the clock costs as much as an empty call: where items are small, look at every sixteenth.
        if i >= look:
            now = psn_clock_ns()
            if now >= end:
                break
            look = i + (16 if now - began < <uint64_t>(i - start) * 1000 else 1)
    return i, psn_clock_ns() - began
