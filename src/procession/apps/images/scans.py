"""A progressive JPEG without what does not count at an eighth of its size.

It tells its picture several times, finer each time.  A decoder that reduces by 8 takes the mean of each block of 8x8 pixels,
which the coarsest scans tell; the finer ones of a component in full resolution are most of the file, and change nothing.
What is left is decoded to the same pixels in a third of the time.
"""

import re

END, START_OF_SCAN, PROGRESSIVE_FRAME = 0xD9, 0xDA, 0xC2
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Between scans; within one, 0xff comes before 0 and restart markers only."""
SMOOTHED = 9
"""libjpeg smooths the means of a component of which it knows none of the first nine frequencies."""
LAST_FREQUENCY, MOST_SHIFT = 63, 13


def without_fine_scans(data: bytes) -> bytes | None:
    """The JPEG `data` for a decoder that reduces it by 8; None if there is anything unusual about it."""
    kept: list[bytes] = []
    kept_from = 0
    fullest: set[int] = set()
    is_known: set[int] = set()
    place = 2
    while marker := MARKER.match(data, place):
        kind = data[place + 1]
        if kind == END:
            kept.append(data[kept_from : marker.end()])
            return b"".join(kept)
        segment = data[place + 4 : place + 2 + int.from_bytes(data[place + 2 : place + 4])]
        after = place + 4 + len(segment)
        if kind == PROGRESSIVE_FRAME:
            fullest = in_full_resolution(segment)
        if kind == START_OF_SCAN:
            following = MARKER.search(data, after)
            if following is None or len(segment) < 6:
                return None
            after = following.start()
            component, first, last, shifts = segment[1], *segment[-3:]
            if first > 0:
                if len(segment) != 6 or segment[0] != 1 or not is_sane(first, last, shifts):
                    return None
                if component in is_known and component in fullest:
                    kept.append(data[kept_from:place])
                    kept_from = after
                elif first <= SMOOTHED:
                    is_known.add(component)
        place = after
    return None


def in_full_resolution(frame: bytes) -> set[int]:
    """The components with a value for each pixel: at an eighth of the size, others are needed finer."""
    components = [frame[place : place + 3] for place in range(6, len(frame) - 2, 3)]
    most = max((component[1] for component in components), default=0)
    return {component[0] for component in components if component[1] == most}


def is_sane(first: int, last: int, shifts: int) -> bool:
    """Whether libjpeg would read such a scan."""
    before, now = shifts >> 4, shifts & 15
    return first <= last <= LAST_FREQUENCY and now <= MOST_SHIFT and before in (0, now + 1)
