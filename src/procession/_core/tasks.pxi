# The innermost loop of a worker.

def claim_running(uint64_t position) -> None:
    """This worker now runs the message at `position` of its channel."""
    cdef psn_claim *claim = &psn_process_at(&arena, arena.slot).claim
    store_relaxed64(&claim.item, 0)
    store_relaxed64(&claim.running, position)


def claim_nothing() -> None:
    """This worker has given the results of all that it had taken."""
    cdef psn_claim *claim = &psn_process_at(&arena, arena.slot).claim
    store_relaxed64(&claim.first, load_relaxed64(&claim.to))


def run_items(function, list items, Py_ssize_t start, bint unpack, uint64_t budget_ns, list values, list failures) -> int:
    """Call `function` on items[start:] until the end, or until `budget_ns` has passed; the index after the last one run.

    Values are appended to `values`; a task that raised appends None, and (index, exception) to `failures`.  The index of
    the running item is in this process's slot, for the parent to read if the process dies.
    """
    cdef psn_claim *claim = &psn_process_at(&arena, arena.slot).claim
    cdef Py_ssize_t i, n = PyList_GET_SIZE(items)
    cdef uint64_t end = psn_clock_ns() + budget_ns
    i = start
    while i < n:
        store_relaxed64(&claim.item, <uint64_t>i)
        item = <object>PyList_GET_ITEM(items, i)
        try:
            if unpack:
                values.append(function(*item))
            else:
                values.append(function(item))
        except BaseException as error:
            values.append(None)
            failures.append((i, error))
        i += 1
        if psn_clock_ns() >= end:
            break
    return i
