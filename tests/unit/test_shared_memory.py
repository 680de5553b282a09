"""SharedMemory and ShareableList within one process."""

import errno
import os
import pickle
import struct
import types

import numpy as np
import pytest

from procession import _core, resource_tracker
from procession.engine import names
from procession.shared_memory import ShareableList, SharedMemory

FOLDER = "/dev/shm"


@pytest.fixture
def segment():
    segment = SharedMemory(create=True, size=100)
    yield segment
    segment.close()
    try:
        segment.unlink()
    except FileNotFoundError:
        pass


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def is_mapped(name):
    with open("/proc/self/maps") as maps:
        # A file that was linked late keeps the name that it had before.
        inode = os.stat(f"{FOLDER}/{name}").st_ino if os.path.exists(f"{FOLDER}/{name}") else None
        return any(line.split()[4] == str(inode) and "/dev/shm" in line for line in maps) if inode else None


# ---- segments ----


def test_a_segment_is_a_file_of_exactly_its_size_full_of_zeros_for_its_user_alone(segment):
    status = os.stat(f"{FOLDER}/{segment.name}")
    assert (segment.size, len(segment.buf), status.st_size) == (100, 100, 100)
    assert status.st_mode & 0o777 == 0o600 and status.st_nlink == 1
    assert bytes(segment.buf) == bytes(100)
    assert segment.buf.readonly is False


def test_all_memory_of_a_new_segment_is_there():
    segment = SharedMemory(create=True, size=1 << 20)
    assert os.stat(f"{FOLDER}/{segment.name}").st_blocks * 512 >= 1 << 20
    segment.close()
    segment.unlink()


def test_who_attaches_sees_the_same_memory(segment):
    other = SharedMemory(segment.name)
    other.buf[3] = 7
    assert segment.buf[3] == 7
    assert other.size == 100 and repr(other) == f"SharedMemory({segment.name!r}, size=100)"
    other.close()


def test_a_segment_needs_no_descriptor():
    before = descriptors()
    segments = [SharedMemory(create=True, size=10) for _ in range(3)]
    assert descriptors() == before
    for segment in segments:
        segment.close()
        segment.unlink()
    assert descriptors() == before


def test_after_close_there_is_no_buffer_and_closing_again_does_nothing(segment):
    segment.close()
    segment.close()
    assert segment.buf is None
    assert segment.size == 100


def test_a_closed_view_that_nobody_built_upon_cannot_be_used(segment):
    view = segment.buf
    segment.close()
    with pytest.raises(ValueError, match="released"):
        view[0]


@pytest.mark.parametrize("view_of", [lambda buf: buf[2:], lambda buf: np.frombuffer(buf, np.uint8)[2:]])
def test_close_leaves_views_their_memory_until_the_last_is_gone(segment, view_of):
    view = view_of(segment.buf)
    segment.close()
    view[0] = 5
    assert is_mapped(segment.name)
    other = SharedMemory(segment.name)
    assert other.buf[2] == 5
    other.close()
    del other, view
    assert not is_mapped(segment.name)


def test_an_array_outlives_the_object_that_nobody_has_any_more():
    segment = SharedMemory(create=True, size=80)
    array = np.ndarray(10, np.int64, buffer=segment.buf)
    array[:] = range(10)
    segment.unlink()
    del segment
    assert array.sum() == 45


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(ValueError, match="'size' must be a positive"):
        SharedMemory(create=True, size=size)


def test_without_a_name_there_is_nothing_to_attach():
    with pytest.raises(ValueError, match="'name' can only be None"):
        SharedMemory()


def test_a_name_that_is_taken_is_refused_and_what_has_it_stays(segment):
    segment.buf[0] = 3
    before = set(os.listdir(FOLDER))
    with pytest.raises(FileExistsError) as caught:
        SharedMemory(segment.name, create=True, size=10)
    assert caught.value.filename == "/" + segment.name
    assert set(os.listdir(FOLDER)) == before and segment.buf[0] == 3


def test_a_name_that_nobody_has_is_file_not_found():
    with pytest.raises(FileNotFoundError) as caught:
        SharedMemory("psm_nobody")
    assert caught.value.filename == "/psm_nobody"


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("", errno.EINVAL),
        (".", errno.EINVAL),
        ("..", errno.EINVAL),
        ("a/b", errno.EINVAL),
        ("x" * 256, errno.ENAMETOOLONG),
    ],
)
def test_a_name_that_no_segment_can_have_is_an_error_of_the_system(name, number, create):
    with pytest.raises(OSError) as caught:
        SharedMemory(name, create=create, size=10)
    assert caught.value.errno == number


@pytest.mark.parametrize("create", [False, True])
def test_a_zero_in_a_name_is_a_value_error(create):
    with pytest.raises(ValueError, match="null"):
        SharedMemory("a\0b", create=create, size=10)


def test_names_may_have_any_letters_and_slashes_in_front():
    segment = SharedMemory("/größe " + "x" * 240, create=True, size=10)
    other = SharedMemory("größe " + "x" * 240)
    other.buf[0] = 1
    assert segment.buf[0] == 1
    segment.close()
    other.close()
    segment.unlink()


def test_unlinking_twice_is_file_not_found(segment):
    segment.unlink()
    with pytest.raises(FileNotFoundError):
        segment.unlink()


def test_an_empty_file_says_that_it_has_no_size_yet():
    with open(f"{FOLDER}/psm_empty", "w"):
        pass
    try:
        with pytest.raises(ValueError, match="no size yet"):
            SharedMemory("psm_empty")
    finally:
        os.unlink(f"{FOLDER}/psm_empty")


def test_too_little_memory_is_an_error_with_numbers_and_leaves_nothing():
    free = os.statvfs(FOLDER)
    before = set(os.listdir(FOLDER)), descriptors()
    wanted = free.f_blocks * free.f_frsize + (1 << 30)
    with pytest.raises(OSError, match=rf"{wanted:,} bytes was asked for; {FOLDER} has [\d,]+ bytes free") as caught:
        SharedMemory("psm_large", create=True, size=wanted)
    assert caught.value.errno == errno.ENOSPC
    assert (set(os.listdir(FOLDER)), descriptors()) == before
    assert _core.name_list() == []


def test_a_subclass_may_have_what_is_missing_made(segment):
    class Either(SharedMemory):
        _flags = os.O_CREAT | os.O_RDWR

    there, made = Either(segment.name), Either("psm_either", size=20)
    assert (there.size, made.size) == (100, 20)
    made.unlink()
    for each in (there, made):
        each.close()
    with pytest.raises(FileNotFoundError):
        Either("psm_either")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_attaches_by_name(segment, protocol):
    segment.buf[0] = 9
    again = pickle.loads(pickle.dumps(segment, protocol))
    assert again.buf[0] == 9 and again.name == segment.name
    again.close()


# ---- who removes them ----


def noted():
    return {os.fsdecode(name) for name, *_ in _core.name_list()}


def test_what_is_made_is_noted_until_it_is_unlinked_by_whom_ever(segment):
    assert noted() == {segment.name}
    other = SharedMemory(segment.name)
    other.close()
    assert noted() == {segment.name}
    other.unlink()
    assert noted() == set()


def test_what_is_not_tracked_is_not_noted():
    segment = SharedMemory(create=True, size=10, track=False)
    assert noted() == set()
    segment.close()
    segment.unlink()


def test_a_name_that_others_took_meanwhile_stays_noted_for_its_new_owner(segment):
    os.unlink(f"{FOLDER}/{segment.name}")
    other = SharedMemory(segment.name, create=True, size=10)
    assert len(_core.name_list()) == 2
    other.close()
    other.unlink()
    assert len(_core.name_list()) == 1
    _core.name_remove(segment.name.encode())


def test_the_tracker_can_be_told_to_forget_and_to_take_note(segment):
    resource_tracker.unregister(segment._name, "shared_memory")
    assert noted() == set()
    resource_tracker.register(segment._name, "shared_memory")
    resource_tracker.register(segment._name, "shared_memory")
    assert [(inode, maker) for _, _, inode, maker in _core.name_list()] == [
        (os.stat(f"{FOLDER}/{segment.name}").st_ino, _core.process_identity())
    ]
    resource_tracker.unregister("/psm_unknown", "shared_memory")


def test_the_tracker_is_one_process_and_no_child_of_ours(segment):
    names.ensure_tracker()
    pid = names.tracker_pid()
    if pid is None:  # it has just been started
        from conftest import wait_until

        pid = wait_until(names.tracker_pid)
    SharedMemory(segment.name).close()
    assert names.tracker_pid() == pid
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


# ---- lists ----


@pytest.fixture
def listed():
    made = []

    def make(*arguments, **options):
        made.append(ShareableList(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.shm.close()
        try:
            each.shm.unlink()
        except FileNotFoundError:
            pass


VALUES = [
    0,
    -(1 << 63),
    (1 << 63) - 1,
    1.5,
    -0.0,
    float("inf"),
    True,
    False,
    None,
    "",
    "abc",
    "größe",
    "日本語" * 7,
    "x" * 8,
]
VALUES += [
    b"",
    b"abc",
    b"12345678",
    "a\0b",
    "a\0",
    "\0",
    "\0" * 8,
    b"\0",
    b"1234567\0",
    bytes(50),
    b"\0a",
    "é" * 7 + "\0\0",
]


def test_values_come_back_as_they_were(listed):
    many = listed(VALUES)
    assert list(many) == VALUES
    assert [type(value) for value in many] == [type(value) for value in VALUES]
    again = listed(name=many.shm.name)
    assert list(again) == VALUES and len(again) == len(VALUES)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_any_value_can_take_the_place_of_a_long_one(listed, value):
    one = listed([1, "x" * 64, 2])
    one[1] = value
    assert list(one) == [1, value, 2]
    one[-2] = "y" * 64
    assert list(one) == [1, "y" * 64, 2]


def test_what_does_not_fit_is_refused_and_the_old_stays(listed):
    some = listed(["abc", 1, b"12345678"])
    for place, value in ((0, "too long for it"), (1, "123456789"), (2, b"x" * 17), (0, "日本語")):
        with pytest.raises(ValueError, match="exceeds available storage"):
            some[place] = value
    with pytest.raises(ValueError, match="64 bits"):
        some[1] = 1 << 63
    with pytest.raises(TypeError, match="not list"):
        some[1] = []
    assert list(some) == ["abc", 1, b"12345678"]


@pytest.mark.parametrize(("items", "error"), [([1, object()], TypeError), ([1 << 64], ValueError), ([[1]], TypeError)])
def test_a_list_with_what_cannot_be_in_it_is_not_made(items, error):
    before = set(os.listdir(FOLDER))
    with pytest.raises(error, match="ShareableList"):
        ShareableList(items)
    assert set(os.listdir(FOLDER)) == before


def test_places_are_those_of_a_list(listed):
    some = listed("abc")
    assert (some[-1], some[-3]) == ("c", "a")
    for place in (3, -4):
        with pytest.raises(IndexError, match=r"^index out of range"):
            some[place]
        with pytest.raises(IndexError, match="assignment index out of range"):
            some[place] = "x"
    assert "b" in some and "d" not in some
    assert list(reversed(some)) == ["c", "b", "a"]


def test_count_and_index(listed):
    some = listed([1, "a", 1.0, None, True])
    assert (some.count(1), some.count("b"), some.index("a"), some.index(None)) == (3, 0, 1, 3)
    with pytest.raises(ValueError, match="not in list"):
        some.index("b")


def test_the_format_is_the_standard_librarys(listed):
    assert listed(["howdy", b"HoWdY", -273.154, 100, None, True, 42]).format == "8s8sdqxxxxxx?xxxxxxxx?q"
    assert listed().format == "" and len(listed()) == 0


def test_the_layout_is_that_of_the_documentation(listed):
    some = listed([5, "ab"])
    expected = struct.pack(
        "6q8s8s8s2b", 2, 0, 8, 16, 5, struct.unpack("q", b"ab".ljust(8, b"\0"))[0], b"q", b"8s", b"", 0, 1
    )
    assert bytes(some.shm.buf)[: 8 * 6 + 16] == expected[: 8 * 6 + 16]
    assert some.shm.size == 8 * 6 + 16 + 2 and bytes(some.shm.buf[-2:]) == b"\0\1"


def test_what_is_no_list_is_not_taken_for_one(segment):
    segment.buf[:8] = struct.pack("q", 1 << 40)
    with pytest.raises(ValueError, match="is no ShareableList"):
        ShareableList(name=segment.name)


def test_a_closed_list_says_so(listed):
    some = listed([1])
    some.shm.close()
    with pytest.raises(ValueError, match="closed"):
        some[0]


def test_a_list_of_a_type_can_be_named():
    assert isinstance(ShareableList[int], types.GenericAlias)


def test_the_repr_shows_the_items(listed):
    some = listed([1, "a"])
    assert repr(some) == f"ShareableList([1, 'a'], name={some.shm.name!r})"
