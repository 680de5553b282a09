"""Managers: what their objects do for processes and threads, and how long they live."""

import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback

import pytest

from conftest import is_running, start, wait_until
from manager_tasks import call_in_threads
from procession import managers
from procession.errors import SharedObjectGone


def run(ctx, function, *args):
    process = ctx.Process(target=function, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0


def fill(shared, nested, inbox):
    shared["child"] = 1
    shared["nested"].append("from the child")
    nested.append("also")
    inbox.put(nested)


def test_containers_are_one_in_all_processes_and_stay_live_when_nested(ctx, manager):
    shared, nested, inbox = manager.dict(), manager.list(), manager.Queue()
    shared["nested"] = nested
    run(ctx, fill, shared, nested, inbox)
    assert shared["child"] == 1
    assert inbox.get()[:] == shared["nested"][:] == nested[:] == ["from the child", "also"]


def drop(shared):
    assert shared["inner"][:] == [1]


def test_a_dict_can_be_read_backwards(manager):
    assert list(reversed(manager.dict(a=1, b=2, c=3))) == ["c", "b", "a"]


def test_what_nobody_refers_to_is_gone(ctx, manager):
    shared = manager.dict(inner=manager.list([1]))
    assert manager._number_of_objects() == 1  # the list is the dict's own
    run(ctx, drop, shared)
    wait_until(lambda: manager._number_of_objects() == 1)
    del shared
    assert manager._number_of_objects() == 0


def test_an_object_lives_in_the_containers_that_mention_it(forked_manager):
    outer = forked_manager.list([forked_manager.list([1])])
    inner = outer[0]
    outer.pop()
    inner.append(2)
    assert inner[:] == [1, 2]


def test_a_circle_is_no_leak(forked_manager):
    ring = forked_manager.list()
    ring.append(ring)
    assert ring[0][0][0:0] == []
    del ring
    assert forked_manager._number_of_objects() == 0


def test_an_argument_that_only_the_child_keeps_arrives(ctx, manager):
    inbox = manager.Queue()
    process = ctx.Process(target=fill, args=(manager.dict(nested=manager.list()), manager.list(), inbox))
    process.start()
    gc.collect()
    process.join()
    assert process.exitcode == 0
    assert inbox.get()[:] == ["also"]


def boom():
    raise LookupError("no such luck")


class Thing:
    def fail(self):
        boom()

    def odd(self):
        return threading.Lock()

    def _hidden(self):
        return "hidden"


class ThingManager(managers.BaseManager):
    pass


ThingManager.register("Thing", Thing)
ThingManager.register("Shy", Thing, exposed=("_hidden",))


def test_an_error_brings_the_servers_traceback():
    with ThingManager() as manager:
        thing = manager.Thing()
        with pytest.raises(LookupError, match="no such luck") as caught:
            thing.fail()
        text = "".join(traceback.format_exception(caught.value))
        assert "in boom" in text and "in fail" in text
        with pytest.raises(managers.RemoteError, match="Unserializable"):
            thing.odd()
        with pytest.raises(managers.RemoteError, match="not in exposed"):
            thing._callmethod("_hidden")
        assert manager.Shy()._hidden() == "hidden"


def test_what_cannot_be_pickled_changes_nothing(forked_manager):
    shared = forked_manager.list()
    with pytest.raises((TypeError, pickle.PicklingError)):
        shared.append(threading.Lock())
    shared.append(1)
    assert shared[:] == [1]


def test_each_thread_has_its_own_calls(forked_manager):
    gate, shared = forked_manager.Event(), forked_manager.list()
    threads = [threading.Thread(target=lambda: (gate.wait(), shared.append(1))) for _ in range(10)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(shared) == 10


def test_a_set_is_like_a_set(forked_manager):
    shared = forked_manager.set({1, 2})
    shared |= {3}
    shared -= {1}
    assert shared & {2, 3, 4} == {2, 3}
    assert sorted(shared) == [2, 3] and 2 in shared and len(shared) == 2


def test_the_types_of_newer_pythons_are_there(forked_manager):
    shared = forked_manager.dict(a=1)
    shared |= {"b": 2}
    assert shared | {"c": 3} == {"a": 1, "b": 2, "c": 3}
    numbers = forked_manager.list([1, 2])
    assert numbers.copy() == [1, 2]
    numbers.clear()
    assert len(numbers) == 0
    lock = forked_manager.Lock()
    with lock:
        assert lock.locked()
    assert not lock.locked()


def test_locks_keep_to_their_rules(forked_manager):
    lock, again, permits = forked_manager.Lock(), forked_manager.RLock(), forked_manager.BoundedSemaphore(1)
    assert lock.acquire() and not lock.acquire(False) and not lock.acquire(True, 0.01)
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()
    assert again.acquire() and again.acquire()
    again.release()
    again.release()
    with pytest.raises(RuntimeError):
        again.release()
    with pytest.raises(ValueError, match="too many times"):
        permits.release()
    condition = forked_manager.Condition(lock)
    with condition:
        assert not lock.acquire(False)
        assert not condition.wait(0.01)
    with pytest.raises(RuntimeError):
        condition.notify()


def double(x):
    return 2 * x


def test_a_pool_of_the_manager_works_for_all(forked_manager):
    with forked_manager.Pool(2) as pool:
        assert pool.map(double, range(5)) == [0, 2, 4, 6, 8]
        assert pool.apply_async(double, (4,)).get(10) == 8
        assert list(pool.imap(double, [1, 2])) == [2, 4]


def test_queues_raise_what_queues_raise(forked_manager):
    inbox = forked_manager.Queue(1)
    inbox.put(1)
    with pytest.raises(queue.Full):
        inbox.put_nowait(2)
    assert inbox.get() == 1
    with pytest.raises(queue.Empty):
        inbox.get(timeout=0.01)


def test_a_proxy_of_what_is_gone_says_so(forked_manager):
    numbers = forked_manager.list()
    frozen = pickle.dumps(numbers)
    link = numbers._link()
    link._has_travelled.clear()  # as if nobody was to get it
    link.travels = lambda ident: None
    del numbers, link
    assert forked_manager._number_of_objects() == 0
    with pytest.raises(SharedObjectGone, match="nobody has referred"):
        pickle.loads(frozen)


def raise_value_error():
    raise ValueError("from the initializer")


def test_an_initializer_that_fails_fails_start(ctx):
    manager = managers.SyncManager(ctx=ctx)
    with pytest.raises(ValueError, match="from the initializer"):
        manager.start(raise_value_error)


def test_an_address_in_use_fails_start():
    with managers.SyncManager(("127.0.0.1", 0)) as manager, pytest.raises(OSError, match="in use"):
        managers.SyncManager(manager.address).start()


@pytest.mark.parametrize("serializer", ["pickle", "xmlrpclib"])
def test_a_remote_manager_is_used_by_its_address_and_key(serializer):
    class Remote(managers.BaseManager):
        pass

    shared = queue.Queue()
    Remote.register("inbox", lambda: shared)
    with Remote(("127.0.0.1", 0), b"key", serializer) as server:
        client = Remote(server.address, b"key", serializer)
        client.connect()
        client.inbox().put(["hello", 1, None])
        assert server.inbox().get() == ["hello", 1, None]
        with pytest.raises(Exception, match=r"digest|rejected"):
            Remote(server.address, b"wrong", serializer).connect()


def test_a_program_that_forgets_its_manager_ends_in_silence_and_takes_it_along(ctx, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, procession.managers, procession.util\n"
        "def begin():\n"
        "    procession.util.Finalize(None, print, args=('in order',), kwargs={'flush': True}, exitpriority=1)\n"
        "if __name__ == '__main__':\n"
        "    procession.set_start_method(sys.argv[1])\n"
        "    manager = procession.managers.SyncManager()\n"
        "    manager.start(begin)\n"
        "    print(manager.list([1, 2]), manager._process.pid, flush=True)\n"
    )
    command = [sys.executable, str(program), ctx.get_start_method()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stderr) == (0, "")
    shown, pid, way = done.stdout.replace("] ", "]|").replace("\n", "|", 1).split("|")
    assert (shown, way) == ("[1, 2]", "in order\n")
    wait_until(lambda: not is_running(int(pid)))


@pytest.mark.parametrize(
    ("typeid", "args"),
    [("dict", ({1: 2},)), ("list", ([1, 2],)), ("Array", ("i", [1, 2])), ("Value", ("i", 3)), ("Namespace", ())],
)
def test_plain_pickle_takes_every_kind_of_proxy(forked_manager, typeid, args):
    shared = getattr(forked_manager, typeid)(*args)
    arrived = pickle.loads(pickle.dumps(shared))
    assert type(arrived) is type(shared) and str(arrived) == str(shared)


def has_lane(proxy):
    return proxy._link()._local.lane is not None


def call_with_lane(shared, own):
    assert shared["a"] == 1 and own[0] == 2
    assert has_lane(shared)


def test_calls_of_all_processes_and_threads_of_a_program_go_through_the_arena(ctx, manager):
    shared, own = manager.dict(a=1), manager.list([2])
    run(ctx, call_with_lane, shared, own)
    with ctx.Pool(1) as pool:
        pool.apply(call_with_lane, (shared, own))
    thread = threading.Thread(target=call_with_lane, args=(shared, own))
    thread.start()
    thread.join()
    call_with_lane(shared, own)


def test_a_proxy_goes_to_another_program_and_is_used_there_over_a_socket(forked_manager):
    shared = forked_manager.dict(inside=["here"])
    there = subprocess.run(
        [sys.executable, "-c", "from manager_tasks import use_from_outside as use; use()"],
        input=pickle.dumps((bytes(forked_manager._authkey), pickle.dumps(shared))),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    assert there.stdout == b"['here'] None\n"
    assert shared["outside"] == [1, 2] and has_lane(shared)


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def test_the_lanes_of_threads_that_have_ended_are_gone(forked_manager):
    shared = forked_manager.dict()
    before = threads_of(forked_manager._process.pid)
    process = start(forked_manager._ctx, call_in_threads, shared, 10)
    process.join()
    call_in_threads(shared, 10)
    assert shared["a"] == 9
    wait_until(lambda: threads_of(forked_manager._process.pid) <= before)


def test_a_call_within_a_call_of_the_same_thread_has_its_own_answer(forked_manager):
    shared, inbox = forked_manager.dict(a=1), forked_manager.Queue()

    def handle(*_):
        shared["b"] = shared["a"] + 1
        inbox.put("from the handler")

    former = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        assert inbox.get() == "from the handler"
    finally:
        signal.signal(signal.SIGALRM, former)
    assert shared["b"] == 2


@pytest.mark.parametrize(
    "value", [None, -5, 1 << 80, 1.5, "text", "x" * 5000, b"y" * 300_000, (1, [2, {"a": "b"}]), {1, 2}, 1j, range(3)]
)
def test_values_of_all_sizes_come_as_they_went(forked_manager, value):
    shared = forked_manager.dict()
    shared["key"] = value
    assert shared["key"] == value and type(shared["key"]) is type(value)
    shared["twice"] = [shared, value]
    assert shared["twice"][1] == value


def test_an_array_goes_through_a_manager_and_stays_writable(forked_manager):
    numpy = pytest.importorskip("numpy")
    shared = forked_manager.list()
    shared.append(numpy.arange(100_000))
    there = shared[0]
    there[0] = 5
    assert there[0] == 5 and shared[0][0] == 0 and shared[0][-1] == 99_999
