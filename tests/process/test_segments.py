"""SharedMemory, ShareableList and SharedMemoryManager between processes, under every start method, and with other programs."""

import os
import signal

import pytest

import segment_tasks
from conftest import join_all, start
from procession import managers
from procession.shared_memory import ShareableList, SharedMemory


def segments():
    return set(os.listdir("/dev/shm"))


@pytest.fixture
def both():
    segment, listed = SharedMemory(create=True, size=100), ShareableList([1, "something", None])
    yield segment, listed
    for each in (segment, listed.shm):
        each.close()
        each.unlink()


def check_written(segment, listed):
    assert bytes(segment.buf[:5]) == b"howdy"
    assert list(listed) == [1, "changed", None]


# ---- they travel by any road ----


def test_both_arrive_as_the_same_memory_as_a_process_argument(ctx, both):
    join_all([start(ctx, segment_tasks.write, *both)])
    check_written(*both)


def test_both_arrive_as_the_same_memory_through_a_queue(ctx, both):
    queue = ctx.Queue()
    process = start(ctx, segment_tasks.write_from, queue)
    queue.put(both)
    join_all([process])
    check_written(*both)


def test_both_arrive_as_the_same_memory_as_a_tasks_argument(pool, both):
    pool.apply(segment_tasks.write, both)
    check_written(*both)


@pytest.mark.parametrize("kill", [False, True], ids=["ended", "killed"])
def test_what_a_process_has_made_outlives_it(ctx, kill):
    queue = ctx.Queue()
    maker = start(ctx, segment_tasks.make_and_send, queue, kill)
    maker.join(20)
    assert maker.exitcode == (-signal.SIGKILL if kill else 0)
    segment = queue.get(timeout=10)
    assert segment.buf[0] == 42
    segment.close()
    segment.unlink()


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_who_has_attached_and_is_ended_takes_nothing_away(ctx, both, how):
    attached = ctx.Event()
    user = start(ctx, segment_tasks.attach_and_say, both[0].name, attached)
    assert attached.wait(20)
    getattr(user, how)()
    user.join(20)
    assert both[0].name in segments()
    other = SharedMemory(both[0].name)
    other.close()


# ---- the manager ----


def test_a_manager_unlinks_what_it_has_made_and_leaves_users_their_memory(ctx):
    before = segments()
    with managers.SharedMemoryManager(ctx=ctx) as manager:
        segment, listed = manager.SharedMemory(100), manager.ShareableList([1, "something", None])
        assert segments() - before == {segment.name, listed.shm.name}
        join_all([start(ctx, segment_tasks.write, segment, listed)])
        check_written(segment, listed)
    assert segments() == before
    check_written(segment, listed)
    segment.close()
    listed.shm.close()


def test_a_manager_unlinks_also_after_its_server_was_killed(ctx):
    before = segments()
    with managers.SharedMemoryManager(ctx=ctx) as manager:
        made = [manager.SharedMemory(10), manager.ShareableList("abc").shm]
        manager._process.kill()
        manager._process.join()
        with pytest.raises((OSError, EOFError)):
            manager.SharedMemory(10)
        assert len(segments() - before) == 2
    assert segments() == before
    for each in made:
        each.close()


def test_a_manager_that_was_not_started_or_has_ended_makes_nothing():
    manager, before = managers.SharedMemoryManager(), segments()
    with pytest.raises(ValueError, match="no server yet"):
        manager.SharedMemory(10)
    manager.start()
    manager.shutdown()
    with pytest.raises(managers.ProcessError, match="has shut down"):
        manager.ShareableList("abc")
    assert segments() == before


def test_a_managers_server_lists_and_releases():
    with managers.SharedMemoryManager() as manager:
        names = [manager.SharedMemory(10).name for _ in range(2)]
        link = manager._link()
        assert sorted(link.ask("list_segments")) == sorted(names)
        link.ask("release_segment", (names[0],))
        assert link.ask("list_segments") == [names[1]]
        assert names[0] not in segments()


# ---- other programs ----

FROM_STOCK = """
import sys
from multiprocessing.shared_memory import ShareableList, SharedMemory
segment, listed = SharedMemory(create=True, size=1000), ShareableList([1, "größe", b"abc", None, True, 2.5, ""])
segment.buf[:3] = b"abc"
print(segment.name, listed.shm.name, flush=True)
sys.stdin.readline()
assert bytes(segment.buf[:3]) == b"xyz", bytes(segment.buf[:3])
assert list(listed) == [2, "Größe", b"ab", 5, None, False, "x"], listed
for each in (segment, listed.shm):
    each.close()
    each.unlink()
"""

TO_STOCK = """
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import ShareableList, SharedMemory
segment, listed = SharedMemory(sys.argv[1]), ShareableList(name=sys.argv[2])
assert segment.size == 1000 and bytes(segment.buf[:3]) == b"abc"
assert list(listed) == [1, "größe", b"abc", None, True, 2.5, "", b"a\\0", "日本語" * 3], list(listed)
segment.buf[:3] = b"xyz"
for place, value in enumerate([2, "Größe", b"ab", 5, None, False, "x", b"y", "z"]):
    listed[place] = value
for each in (segment, listed.shm):
    each.close()
    resource_tracker.unregister(each._name, "shared_memory")  # or its end would remove them
"""


def test_segments_and_lists_of_the_standard_library_are_ours(stock):
    process = stock.start_code(FROM_STOCK)
    names = process.stdout.readline().split()
    segment, listed = SharedMemory(names[0]), ShareableList(name=names[1])
    assert segment.size == 1000 and bytes(segment.buf[:3]) == b"abc"
    assert list(listed) == [1, "größe", b"abc", None, True, 2.5, ""]
    segment.buf[:3] = b"xyz"
    for place, value in enumerate([2, "Größe", b"ab", 5, None, False, "x"]):
        listed[place] = value
    segment.close()
    listed.shm.close()
    assert stock.end_of(process, "\n") == ""
    assert not segments() & set(names)


def test_ours_are_segments_and_lists_of_the_standard_library(stock):
    segment = SharedMemory(create=True, size=1000)
    segment.buf[:3] = b"abc"
    listed = ShareableList([1, "größe", b"abc", None, True, 2.5, "", b"a\0", "日本語" * 3])
    assert stock.end_of(stock.start_code(TO_STOCK, segment.name, listed.shm.name)) == ""
    assert bytes(segment.buf[:3]) == b"xyz"
    assert list(listed) == [2, "Größe", b"ab", 5, None, False, "x", b"y", "z"]
    for each in (segment, listed.shm):
        each.close()
        each.unlink()
