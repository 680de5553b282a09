# Channels of objects: what put() and get() do for every one of them, without a step of Python's.

cdef extern from "Python.h":
    void PyErr_SetInterrupt()
cdef extern from "stdint.h":
    uint64_t UINT64_MAX

cdef enum:
    # Tags: what an object looks like that no code of the user's is needed for, and any other.
    TAG_ANY = 0
    TAG_PLAIN = 1
    SPIN_US = 20
    MANY = 64  # that are put or taken at once


cdef class ObjectQueue:
    """Objects through a channel.  Values that are plain are packed or pickled here.

    A class that inherits from it turns the others into what a channel takes, and back: `_encode(obj)`, which gives None if
    there is nothing to put, and `_decode(payload)`.
    """

    cdef readonly Channel _channel
    cdef Ledger ledger  # by which one gets, or None
    cdef public bint _closed
    cdef object when_taken  # called after each look into the channel, or None
    cdef object failed      # of an object that get_many() could not decode and has not told of yet, or None

    def _open(self, Channel channel not None, Ledger ledger=None) -> None:
        self._channel = channel
        self.ledger = ledger

    def _call_when_taken(self, call) -> None:
        """Have `call` called whenever something was taken out, or looked for in vain."""
        self.when_taken = call

    cdef int expect_open(self) except -1:
        if self._channel is None:
            raise AssertionError(f"{type(self).__name__}.__init__() was not called")
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        return 0

    # ---- putting ----

    cdef inline bint pack_into(self, psn_slot *slot, obj) noexcept:
        cdef uint8_t *start = <uint8_t *>&slot.message
        cdef uint8_t *end = pack(start, start + PSN_INLINE, <PyObject *>obj, 0)
        if end == NULL:
            return False
        slot.size = <uint32_t>(end - start)
        slot.tag = TAG_PLAIN
        return True

    cdef bint put_other(self, obj, uint64_t deadline) except -1:
        """Put what cannot be packed."""
        payload = dump_plain(obj)
        if payload is not None:
            return self._channel.put(payload, deadline, TAG_PLAIN)
        payload = self._encode(obj)
        return payload is None or self._channel.put(payload, deadline, TAG_ANY)

    cdef bint put_object(self, obj, uint64_t deadline) except -1:
        cdef psn_slot slot
        cdef uint32_t done
        if self.pack_into(&slot, obj):
            return self._channel.deliver(&slot, 1, deadline, &done)
        return self.put_other(obj, deadline)

    def _put(self, obj, uint64_t deadline) -> None:
        if self._channel is None:
            self.expect_open()
        if not self.put_object(obj, deadline):
            raise errors.Full

    def put(self, obj, block=True, timeout=None):
        """Put `obj` in, waiting for room.

        Raises:
            Full: there was none within `timeout` seconds.
            CannotEncode: `obj` cannot be pickled.
            ValueError: the queue is closed.
        """
        if self._closed or self._channel is None:
            self.expect_open()
        if not self.put_object(obj, PSN_FOREVER if block is True and timeout is None else wait_until(block, timeout)):
            raise errors.Full

    cdef int put_packed(self, psn_slot *slots, uint32_t *count, uint64_t deadline, uint64_t *put) except -1:
        cdef uint32_t n = count[0], done = 0
        cdef bint has_room
        count[0] = 0
        if n:
            has_room = self._channel.deliver(slots, n, deadline, &done)
            put[0] += done
            if not has_room:
                raise not_all_put(put[0])
        return 0

    def put_many(self, items, block=True, timeout=None):
        """Put all of `items` in, in their order: as put() for each, but many at a time.

        What others put may come in between.  If `items` itself raises, or one of them cannot be pickled, those before are in.

        Raises:
            NotAllPut: there was no room for all within `timeout` seconds; its `items_put` says for how many.  It is a Full.
            CannotEncode: one of them cannot be pickled.
            ValueError: the queue is closed.
        """
        cdef psn_slot slots[MANY]
        cdef uint32_t n = 0
        cdef uint64_t put = 0, deadline
        if self._closed or self._channel is None:
            self.expect_open()
        deadline = wait_until(block, timeout)
        try:
            for obj in items:
                if n == MANY:
                    self.put_packed(slots, &n, deadline, &put)
                if self.pack_into(&slots[n], obj):
                    n += 1
                    continue
                self.put_packed(slots, &n, deadline, &put)
                if not self.put_other(obj, deadline):
                    raise not_all_put(put)
                put += 1
        finally:
            self.put_packed(slots, &n, deadline, &put)

    # ---- getting ----

    cdef object object_in(self, psn_slot *slot):
        cdef const uint8_t *at = <const uint8_t *>&slot.message
        if slot.size != PSN_SLOT_MESSAGE and slot.size and is_packed(at[0]):
            return unpack(&at)
        payload = received(slot)
        if type(payload) is bytes and PyBytes_GET_SIZE(payload) and PyBytes_AS_STRING(payload)[0] == <char>0x80:
            return pickle_loads(payload)
        return self._decode(payload)

    cdef inline uint32_t take(self, uint32_t wanted, uint64_t deadline, psn_slot *slots) except? 0:
        if self.ledger is not None:
            return self.ledger.carry_off(deadline, SPIN_US, slots)
        return self._channel.carry_off_alike(wanted, TAG_PLAIN, deadline, SPIN_US, slots)

    cdef object get_object(self, uint64_t deadline):
        cdef psn_slot slot
        if self.failed is not None:
            error, self.failed = self.failed, None
            raise error
        cdef uint32_t taken = self.take(1, deadline, &slot)
        if self.when_taken is None:
            if taken:
                return self.object_in(&slot)
            raise errors.Empty
        try:
            if taken:
                return self.object_in(&slot)
            raise errors.Empty
        finally:
            self.when_taken()

    def _get(self, uint64_t deadline):
        if self._channel is None:
            self.expect_open()
        return self.get_object(deadline)

    def get(self, block=True, timeout=None):
        """Take the oldest object out, waiting for one.

        Raises:
            Empty: there was none within `timeout` seconds.
            ValueError: the queue is closed.
        """
        if self._closed or self._channel is None:
            self.expect_open()
        return self.get_object(PSN_FOREVER if block is True and timeout is None else wait_until(block, timeout))

    def get_many(self, max_items=256, block=True, timeout=None):
        """Take a list of the oldest objects out: at least one, waiting for it, and what else is there, up to `max_items`.

        None for `max_items` is all that is there, however many.
        What cannot be unpickled raises as in get(): at once if it is the first, and else at the next call, so that those
        before it are not lost.

        Raises:
            Empty: there was none within `timeout` seconds.
            ValueError: the queue is closed.
        """
        cdef psn_slot slots[MANY]
        cdef uint32_t taken, i
        cdef uint64_t left = UINT64_MAX
        cdef list found = []
        if self._closed or self._channel is None:
            self.expect_open()
        if max_items is not None:
            if max_items < 1:
                raise ValueError(f"max_items must be at least 1, got {max_items}")
            left = min(max_items, 1 << 62)
        if self.failed is not None:
            error, self.failed = self.failed, None
            raise error
        taken = self.take(<uint32_t>min(left, <uint64_t>MANY), wait_until(block, timeout), slots)
        # What comes meanwhile is not waited for: a fast writer would never let this end.
        left = min(left - taken, psn_channel_count(self._channel.channel))
        try:
            while taken:
                for i in range(taken):
                    found.append(self.object_in(&slots[i]))
                taken = self.take(<uint32_t>min(left, <uint64_t>MANY), 0, slots) if left else 0
                left -= taken
        except BaseException as error:
            if not found:
                raise
            if isinstance(error, KeyboardInterrupt):
                PyErr_SetInterrupt()
            else:
                self.failed = error
        finally:
            if self.when_taken is not None:
                self.when_taken()
        if not found:
            raise errors.Empty
        return found


cdef object not_all_put(uint64_t put):
    return errors.NotAllPut(f"the queue is full; the first {put} items are in it", items_put=put)
