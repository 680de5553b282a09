# Lanes: calls of a manager's objects through channels, with no step of Python's for what is quick and plain.
#
#     client thread ── requests, one channel for all lanes; tag: the lane's number, and whether it is plain ──> the desk
#     client thread <────────────── answers, a channel of the lane's own; tag: what is in it ────────────────── the desk
#
# A request is (ident, method, arguments), packed or pickled, or anything that the two sides encode and decode themselves.  One
# with nothing in it is the end of the lane, and `plain` then says that the last answer was taken, but nobody has
# it.  A lane has one request under way at most.

cdef enum:
    ANSWER_OTHER = 0  # encoded: what kind, and with what
    ANSWER_VALUE = 1  # a value, packed or pickled, that was returned

# What can be decoded without code of the user's.
cdef uint32_t PLAIN_REQUEST = 0x80000000
# No lane's number: the server is to stop.
STOP_TAG = 0
cdef uint32_t STOP = STOP_TAG
# Between two looks whether the server lives, at first and at last.
cdef uint64_t FIRST_LOOK_NS = 5000000
cdef uint64_t LAST_LOOK_NS = 250000000
# What a call gives that would have to wait.
NOT_NOW = object()


cdef class Lane:
    """The client's end.  A class that inherits from it has `_encode(request)` and `_decode(payload)`."""

    cdef Channel requests
    cdef readonly Channel answers
    cdef readonly uint32_t number
    cdef uint32_t server
    # With a call of this thread's, until its caller has the answer and says so.  Meanwhile a signal's handler may run, or the
    # collector.
    cdef public bint is_busy
    cdef bint is_taken  # the answer to that call
    cdef readonly bint is_over
    cdef object __weakref__

    def __cinit__(self, Channel requests not None, Channel answers not None, uint32_t number, uint32_t server):
        self.requests = requests
        self.answers = answers
        self.number = number
        self.server = server

    def call(self, ident, method, args, kwds):
        """Send a request and wait for its answer: ("#RETURN", value), or what the server has encoded.

        Its caller sets `is_busy` to False when it has the answer, and calls lose() when an exception comes instead.

        Raises:
            EOFError: the server has ended.
        """
        cdef psn_slot slot
        cdef uint8_t *start = <uint8_t *>&slot.message
        cdef uint8_t *end = NULL
        cdef uint32_t done
        cdef object payload = None
        cdef uint32_t tag = self.number
        if not kwds:
            request = (ident, method, args if type(args) is tuple else tuple(args))
            end = pack(start, start + PSN_INLINE, <PyObject *>request, 0)
            if end == NULL:
                payload = dump_plain(request)
                tag |= PLAIN_REQUEST if payload is not None else 0
        if end == NULL and payload is None:
            payload = self._encode((ident, method, args, kwds))
        self.is_taken = False
        self.is_busy = True
        try:
            if end != NULL:
                slot.size = <uint32_t>(end - start)
                slot.tag = tag
                self.requests.deliver(&slot, 1, PSN_FOREVER, &done)
            else:
                self.requests.put(payload, PSN_FOREVER, tag)
            self.await_answer(&slot)
        except errors.Closed as error:
            raise EOFError("the server has ended") from error
        self.is_taken = True
        if slot.tag == ANSWER_VALUE:
            return "#RETURN", value_in(&slot)
        payload = received(&slot)
        try:
            return self._decode(payload)
        except Exception:
            # What cannot be unpickled is not there any more, as with any queue; but it may have been a signal's handler.
            try:
                self._decode(payload)
            except Exception:
                self.is_busy = False
            raise

    cdef int await_answer(self, psn_slot *slot) except -1:
        cdef uint64_t pause = FIRST_LOOK_NS, first
        cdef bint is_alive = True
        while self.answers.carry_off(1, NULL, psn_clock_ns() + pause if is_alive else 0, SPIN_US, slot, &first) == 0:
            PyErr_CheckSignals()
            if not is_alive:
                raise EOFError("the server has ended")
            is_alive = psn_identity_is_alive(&arena, self.server)
            pause = min(2 * pause, LAST_LOOK_NS)
        return 0

    def lose(self) -> None:
        """Nobody will have the answer to the call that is under way: it is the last one, and what it has taken is taken back."""
        if self.is_busy:
            self.is_busy = False
            self.finish(self.is_taken)

    def end(self) -> None:
        """No more calls: whoever works for one stops waiting."""
        self.finish(False)

    def finish(self, bint is_lost) -> None:
        """The same; `is_lost` says that the last answer was taken, and nobody has it."""
        if self.is_over:
            return
        self.is_over = True
        self.answers.close()
        try:
            self.requests.put(b"", PSN_FOREVER, self.number | PLAIN_REQUEST if is_lost else self.number)
        except errors.Closed:
            pass


cdef object value_in(psn_slot *slot):
    cdef const uint8_t *at = <const uint8_t *>&slot.message
    if slot.size != PSN_SLOT_MESSAGE and is_packed(at[0]):
        return unpack(&at)
    return pickle_loads(received(slot))


cdef class LaneEnd:
    """The server's end.

    Attributes:
        caller: for whom its calls are made.
        last: (entry, method, result) of the last call, if the result must not get lost.
        lent: what the last answer mentioned.
    """

    cdef readonly Channel answers
    cdef readonly uint32_t number
    cdef public object caller
    cdef public object last
    cdef public list lent

    def __cinit__(self, Channel answers not None, uint32_t number, *args, **kwargs):
        self.answers = answers
        self.number = number


cdef class Desk:
    """Where a server takes the requests of all lanes, and answers those that can be answered at once.

    Args:
        lanes: LaneEnds by number; may change at any time.
        entries: objects by ident.  Their `quick` gives a function for the name of a method, which may raise or give NOT_NOW to have
            it done otherwise, or None; it runs no code of the user's.  `takes` is whether a result that does not arrive is lost.
        serve_as: is told for whom the next calls are.
    """

    cdef readonly Channel requests
    cdef dict lanes
    cdef dict entries
    cdef object serve_as
    cdef object current
    cdef psn_slot slots[64]  # requests that were taken
    cdef uint32_t at, count  # the next of them, and how many there are

    def __cinit__(self, Channel requests not None, dict lanes not None, dict entries not None, serve_as):
        self.requests = requests
        self.lanes = lanes
        self.entries = entries
        self.serve_as = serve_as

    def serve(self, uint64_t deadline=PSN_FOREVER) -> list[tuple[LaneEnd, Any, Any]]:
        """Wait for requests, and answer them.  What others have to do:

            (lane, request, None), (lane, (entry, method), answer), or (lane, b"", whether its last answer is lost) for its end;
            None in the place of a lane is a request to stop.

        Raises:
            Closed: there will be no more requests.
        """
        cdef psn_slot *slot
        cdef uint64_t first
        cdef list others = []
        self.current = None
        if self.at == self.count:
            self.at = self.count = 0
            self.count = self.requests.carry_off(64, NULL, deadline, SPIN_US, self.slots, &first)
        while self.at < self.count:
            slot = &self.slots[self.at]
            self.at += 1
            lane = self.lanes.get(slot.tag & ~PLAIN_REQUEST)
            try:
                self.answer(lane, slot, others)
            except Exception as error:
                if lane is not None:
                    others.append((lane, None, ("#ERROR", error)))
            if slot.size == 0:
                break  # what this lane has lost must be back before those behind it are answered
        return others

    cdef int answer(self, LaneEnd lane, psn_slot *slot, list others) except -1:
        cdef const uint8_t *at = <const uint8_t *>&slot.message
        cdef object ident, method, entry, quick, result
        cdef tuple args, request
        if lane is None:
            payload = received(slot)
            if slot.tag == STOP:
                others.append((None, payload, None))
            return 0
        if slot.size == 0:
            others.append((lane, b"", bool(slot.tag & PLAIN_REQUEST)))  # `last` is still wanted
            return 0
        lane.last = None
        if lane.lent:
            lane.lent.clear()
        if slot.size != PSN_SLOT_MESSAGE and at[0] == KIND_TUPLE:
            at += 2
            ident = unpack_name(&at)
            method = unpack_name(&at)
            args = unpack(&at)
        else:
            payload = received(slot)
            if not slot.tag & PLAIN_REQUEST:
                others.append((lane, payload, None))
                return 0
            ident, method, args = pickle_loads(payload)
        entry = self.entries.get(ident)
        quick = None if entry is None else entry.quick[method]
        if quick is not None:
            if lane.caller is not self.current:
                self.current = lane.caller
                self.serve_as(self.current)
            try:
                result = quick(*args)
            except Exception:
                result = NOT_NOW  # others do it again, and have the time to tell the whole story
            if result is not NOT_NOW:
                if entry.takes:
                    lane.last = (entry, method, result)
                if not self.give(lane, result):
                    others.append((lane, (entry, method), ("#RETURN", result)))
                return 0
        others.append((lane, (ident, method, args), None))
        return 0

    cdef bint give(self, LaneEnd lane, result) except -1:
        """Answer with a value; False if that is not as simple as that, or nobody waits for it any more."""
        cdef uint8_t value[128]  # more than PSN_INLINE
        cdef uint8_t *end = pack(value, value + PSN_INLINE, <PyObject *>result, 0)
        if end != NULL:
            return psn_channel_put(&arena, lane.answers.block.handle.offset, ANSWER_VALUE, value, <uint32_t>(end - value),
                                   0) == PSN_OK
        payload = dump_plain(result)
        if payload is None:
            return False
        try:
            return lane.answers.put(payload, PSN_FOREVER, ANSWER_VALUE)
        except errors.Closed:
            return False
