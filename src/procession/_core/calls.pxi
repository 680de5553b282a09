# Single calls: what a program submits and gets back a hundred thousand times a second.

# In the place of a piece's first item: it is about `count` calls at as many positions.
RUN = 1 << 63
# How a function is called: f(*body).
cdef enum:
    CALL_MODE = 3
CALL = CALL_MODE
# Its message: 0x02, the length of its header, the header (how to call, the function), the arguments.
cdef Py_ssize_t CALL_HEAD = 19


cdef class Outcome:
    """One value or one exception that will be there, and who wants to be called back then."""

    cdef public bint done
    cdef public bint _success
    cdef public object _value
    cdef public object _callback
    cdef public object _error_callback
    cdef public object _workers
    cdef object __weakref__

    def __cinit__(self):
        self._success = True

    @property
    def is_over(self) -> bool:
        """Whether what has not come is not wanted any more."""
        return self.done

    @property
    def has_callback(self) -> bool:
        """Whether somebody wants to be called back."""
        return self._callback is not None or self._error_callback is not None

    def get(self, timeout=None):
        """The value at once if it is there; else as wait_for_value() of the subclass has it."""
        if self.done and self._success:
            return self._value
        return self.wait_for_value(timeout)

    def fail(self, error) -> None:
        """It is an exception, unless it is done."""
        if not self.done:
            self._success = False
            self._value = error
            self.done = True

    def finish(self) -> None:
        """Call back whoever asked for it; once, after `done`."""
        callback = self._callback if self._success else self._error_callback
        self._callback = self._error_callback = None
        if callback is not None:
            callback(self._value)


cdef class Call(Outcome):
    """One call: what is called on what, and what has come of it.  See tickets.CallTicket."""

    cdef public uint32_t mode
    cdef public uint32_t finished
    cdef public object position
    cdef public object function
    cdef public object arguments
    cdef public object terms

    def __cinit__(self, callback=None, error_callback=None, terms=None, workers=None):
        self._callback = callback
        self._error_callback = error_callback
        self.terms = terms
        self._workers = workers

    def fail(self, error) -> None:
        """It is an exception, unless it is done."""
        self.arguments = None
        Outcome.fail(self, error)

    cpdef bint succeed(self, value):
        """It has returned `value`, unless it is done; whether somebody wants to be called back."""
        if self.done:
            return False  # cancelled, while it ran
        self._value = value
        self.arguments = None  # they live no longer than they must
        self.done = True
        return self._callback is not None


def submit_call(Call call, tasks, dict in_flight, function, tuple arguments) -> bool:
    """Queue a call if its arguments are plain and small; False if it has to go another way.

    It is in `in_flight`, by its position, before anybody can take it.  Only one thread at a time may put into `tasks`.

    Args:
        tasks: the channel that it goes into; of another kind if the function has no `call_head`.
        function: what is called, a functions.LocalFunction.
    """
    cdef uint8_t message[128]  # more than PSN_INLINE
    cdef uint8_t *end
    cdef Py_ssize_t size
    cdef object position
    cdef bytes head
    cdef Channel channel
    call.function = function
    call.arguments = arguments
    call.mode = CALL_MODE
    if call.terms is not None or (head := function.call_head) is None:
        return False
    channel = <Channel?>tasks
    size = PyBytes_GET_SIZE(head)
    end = pack(message + size, message + PSN_INLINE, <PyObject *>arguments, 0)
    if end == NULL or channel.channel.limit != 0:
        return False
    memcpy(message, PyBytes_AS_STRING(head), size)
    position = load_acquire64(&channel.channel.tail)
    call.position = position
    in_flight[position] = call
    if psn_channel_put(&arena, channel.block.handle.offset, 0, message, <uint32_t>(end - message), 0) != PSN_OK:
        del in_flight[position]
        return False
    return True


def deliver_run(dict in_flight, uint64_t position, Py_ssize_t count, list values, Py_ssize_t at, list due) -> int:
    """Give values[at:] to the `count` calls at `position` and after it, which leave `in_flight`.

    Those of them that want to call somebody back are added to `due`.

    Returns:
        how many; fewer than `count` if the next is not as simple as that.
    """
    cdef Py_ssize_t i
    cdef object key, call
    for i in range(count):
        key = position + <uint64_t>i
        call = in_flight.get(key)
        if call is None:
            continue  # nobody waits for it any more
        if not isinstance(call, Call) or (<Call>call).terms is not None or (<Call>call).done:
            return i
        del in_flight[key]
        if (<Call>call).succeed(values[at + i]):
            due.append(call)
    return count


def call_arguments(bytes payload, Py_ssize_t start) -> tuple[Any, ...]:
    """The arguments of a call, from `start` on: packed, or pickled."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(payload) + start
    if is_packed(at[0]):
        return unpack(&at)
    return pickle_loads(PyMemoryView_FromMemory(<char *>at, PyBytes_GET_SIZE(payload) - start, PyBUF_READ))


def run_calls(list messages, Py_ssize_t at, uint64_t first, dict functions, list pieces, list values, list failures, list stop,
              uint64_t budget_ns, ends):
    """Run messages from number `at` on, as long as each is a single call of a function that is loaded.

    Args:
        messages: of (tag, payload), as Channel.take() gave them; the first has the position `first`.
        functions: by header, (how to call, the function).
        pieces, values, failures: what comes of it is added to them, as run_items() does it.
        stop: what is called may fill it; then it ends at once, and the value of that call does not count.
        budget_ns: it ends when this time has passed.
        ends: an exception of this type ends it.

    Returns:
        the number of the first message that was not run, nanoseconds that it took, and what unpickling its arguments has
        raised; then it has been begun.
    """
    cdef psn_claim *claim = &psn_process_at(&arena, arena.slot).claim
    cdef Py_ssize_t n = len(messages), start = at, look = at + 1, count = 0
    cdef uint64_t began = psn_clock_ns(), now = began, since = began
    cdef uint64_t run = 0
    cdef object function = None
    cdef bytes payload, header = None
    cdef tuple message
    cdef object complaint = None
    while at < n:
        message = <tuple>messages[at]
        if message[0] != 0 or type(message[1]) is not bytes:
            break
        payload = message[1]
        if PyBytes_GET_SIZE(payload) <= CALL_HEAD or PyBytes_AS_STRING(payload)[0] != 2 or PyBytes_AS_STRING(payload)[1] != CALL_HEAD - 2:
            break
        if header is None or memcmp(PyBytes_AS_STRING(header), PyBytes_AS_STRING(payload) + 2, CALL_HEAD - 2) != 0:
            header = PyBytes_FromStringAndSize(PyBytes_AS_STRING(payload) + 2, CALL_HEAD - 2)
            loaded = functions.get(header)
            if loaded is None or <int>loaded[0] != CALL_MODE:
                break
            function = loaded[1]
        if not psn_claim_begin(claim, first + <uint64_t>at):
            if count:
                now = psn_clock_ns()
                add_run(pieces, run, count, now - since)
                since = now
                count = 0
            at += 1
            continue
        try:
            arguments = call_arguments(payload, CALL_HEAD)
        except BaseException as error:
            if type(error) is ends:
                add_run(pieces, run, count, psn_clock_ns() - since)
                raise
            complaint = error
            break
        if PyList_GET_SIZE(<PyObject *>stop):
            break  # by code that unpickling runs
        try:
            value = function(*arguments)
        except BaseException as error:
            if type(error) is ends:
                add_run(pieces, run, count, psn_clock_ns() - since)
                raise
            if PyList_GET_SIZE(<PyObject *>stop):
                break
            value = None
            failures.append((len(values), error))
        if PyList_GET_SIZE(<PyObject *>stop):
            break
        values.append(value)
        if count == 0:
            run = first + <uint64_t>at
        count += 1
        at += 1
        # A look at the clock costs as much as an empty call: where calls are short, look at every sixteenth.
        if at >= look:
            now = psn_clock_ns()
            if now - began >= budget_ns:
                break
            look = at + (16 if now - began < <uint64_t>(at - start) * 1000 else 1)
    now = psn_clock_ns()
    add_run(pieces, run, count, now - since)
    return at, now - began, complaint


cdef int add_run(list pieces, uint64_t position, Py_ssize_t count, uint64_t elapsed_ns) except -1:
    if count:
        pieces.append(position)
        pieces.append(RUN)
        pieces.append(count)
        pieces.append(elapsed_ns)
    return 0
