# Numbers in the arena that are added to under their lock.

cdef union number:
    int8_t b
    uint8_t B
    short h
    unsigned short H
    int i
    unsigned int I
    long l
    unsigned long L
    long long q
    unsigned long long Q
    float f
    double d


@auto_pickle(False)
cdef class Number:
    """The base of a value with a lock: what adds to it, where it is a number of C and the lock one of ours."""

    cdef Block number_block
    cdef Lock number_lock
    cdef char number_code

    def _bind_number(self, Block block not None, Lock lock not None, str code) -> None:
        """The number is the first of the block, and of the type that `code` is struct's letter for."""
        if code not in "bBhHiIlLqQfd" or len(code) != 1 or block.block_size < struct_calcsize(code):
            raise ValueError(f"no number of type {code!r} lies in a block of {block.block_size} bytes")
        self.number_block = block
        self.number_lock = lock
        self.number_code = <char>ord(code)

    def add(self, amount):
        """Add `amount` under the lock, as one step to all that use it; the sum, which wraps around as in C.

        Raises:
            TypeError: the value is no number, or an integer and `amount` is none.
            OwnerDied: a process was killed while it held the lock; nothing was added.
        """
        cdef char code = self.number_code
        cdef number *at
        cdef unsigned long long step = 0
        cdef double real = 0
        cdef bint is_real = code == c"d" or code == c"f"
        if code == 0 or (is_real and type(amount) is not float and type(amount) is not int):
            return self._add_by_value(amount)
        if is_real:
            real = amount
        else:
            step = PyLong_AsUnsignedLongLongMask(amount if type(amount) is int else operator_index(amount))
        at = <number *>psn_at(&arena, self.number_block.handle.offset)
        take_lock(self.number_lock.lock, PSN_FOREVER)
        # The sum of unsigned numbers wraps around, and of a store of it the lower bytes are the same for signed ones.
        if code == c"d":
            at.d = real = at.d + real
        elif code == c"f":
            at.f = <float>(at.f + real)
            real = at.f
        elif code == c"b" or code == c"B":
            at.B = <uint8_t>(at.B + step)
            step = at.B
        elif code == c"h" or code == c"H":
            at.H = <unsigned short>(at.H + step)
            step = at.H
        elif code == c"i" or code == c"I":
            at.I = <unsigned int>(at.I + step)
            step = at.I
        elif code == c"l" or code == c"L":
            at.L = <unsigned long>(at.L + step)
            step = at.L
        else:
            at.Q = at.Q + step
            step = at.Q
        give_lock(self.number_lock.lock)
        if is_real:
            return real
        if code == c"b":
            return <int8_t>step
        if code == c"h":
            return <short>step
        if code == c"i":
            return <int>step
        if code == c"l":
            return <long>step
        if code == c"q":
            return <long long>step
        return step
