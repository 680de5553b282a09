"""Every fault at every stage of a task, through every door: it costs that task, with an error that says why, and no other."""

import os
import signal
import threading
import traceback

import pytest

import death_tasks
import tasks
from conftest import METHODS, is_running, wait_until
from death_tasks import FAULTS, FunctionThatStrikes, Here, StrikesWhenUnpickled, Struck
from procession.errors import CannotDecode, InitializerFailed, OutOfMemory, WorkerDied
from procession.pool import MaybeEncodingError

EXITS = {
    "os._exit": 3,
    "segfault": -signal.SIGSEGV,
    "SIGKILL": -signal.SIGKILL,
    "SIGTERM": -signal.SIGTERM,
}
RAISED = {"raise": Struck, "sys.exit": SystemExit, "memory": MemoryError}
STAGES = ("unpickle the function", "unpickle the arguments", "run", "pickle the result", "unpickle the result")
IN_PARENT = ("raise", "sys.exit")  # others would be the test's own end
CELLS = [(stage, fault) for stage in STAGES for fault in FAULTS if stage != "unpickle the result" or fault in IN_PARENT]
FAULTS_BY_METHOD = [
    (method, fault)
    for method in METHODS
    for fault in FAULTS
    if method != "spawn"
    or fault in ("raise", "os._exit", "SIGKILL")  # a worker that is up is the same as with forkserver
]
GOOD = [0, 2, 4, 8, 10, 12]  # of the neighbours; the fault is in the place of number 3


def at_stage(stage, fault, once=None):
    """A function and an item whose call meets the fault there."""
    if stage == "unpickle the function":
        return FunctionThatStrikes(fault, once), 3
    if stage == "unpickle the arguments":
        return death_tasks.double_or_meet, StrikesWhenUnpickled(fault, once)
    return death_tasks.double_or_meet, Here(stage, fault, once)


def judge(outcome, stage, fault):
    """The outcome names the fault."""
    if fault in EXITS:
        assert type(outcome) is WorkerDied
        assert outcome.exitcode == EXITS[fault]
        assert outcome.signal == (None if fault == "os._exit" else signal.Signals(-EXITS[fault]).name)
        assert outcome.pid not in (0, os.getpid()) and not is_running(outcome.pid)
        assert str(outcome.pid) in str(outcome) and outcome.task in str(outcome)
        assert outcome.arguments
        assert ("FunctionThatStrikes" if stage == STAGES[0] else "double_or_meet") in outcome.function
    elif fault == "SIGSTOP":
        assert not isinstance(outcome, BaseException)
    elif stage == "run":
        assert type(outcome) is RAISED[fault]
        assert str(outcome.args[0] if outcome.args else "") == {"raise": "struck", "sys.exit": "3"}.get(fault, "")
        assert "strike" in str(outcome.__cause__)  # the worker's traceback
    elif stage == "pickle the result" and fault == "memory":
        assert type(outcome) is OutOfMemory
        assert "StrikesWhenPickled" in str(outcome)
    elif stage == "pickle the result":
        assert type(outcome) is MaybeEncodingError
        assert RAISED[fault].__name__ in outcome.exc and "StrikesWhenPickled" in outcome.value
    else:
        assert type(outcome) is CannotDecode
        assert RAISED[fault].__name__ in str(outcome)
        assert {STAGES[0]: "function", STAGES[1]: "arguments"}.get(stage, "result") in str(outcome)
        assert "in strike" in "".join(traceback.format_exception(outcome))


def outcome_of(result):
    try:
        return result.get(10)
    except BaseException as error:
        if type(error) not in (
            Struck,
            SystemExit,
            MemoryError,
            CannotDecode,
            MaybeEncodingError,
            OutOfMemory,
            WorkerDied,
        ):
            raise
        return error


def goes_on(pool):
    """Two workers that live, and right values."""

    def works():
        assert pool.map_async(tasks.double, range(20), 1).get(10) == [2 * i for i in range(20)]
        return sum(is_running(process.pid) for process in pool._pool) == 2

    wait_until(works, "the replacement", 5)


@pytest.mark.parametrize(
    ("method", "stage", "fault"),
    [(method, *cell) for method in METHODS for cell in CELLS if (method, cell[1]) in FAULTS_BY_METHOD],
)
def test_a_fault_costs_one_task_and_says_why(pool, stage, fault):
    function, item = at_stage(stage, fault)
    others = [pool.apply_async(tasks.double, (i,)) for i in range(10)]
    struck = pool.apply_async(function, (item,))
    others += [pool.apply_async(tasks.double, (i,)) for i in range(10, 20)]
    judge(outcome_of(struck), stage, fault)
    assert [result.get(10) for result in others] == [2 * i for i in range(20)]

    if stage == "unpickle the function":  # the others in the map have the same
        for outcomes in (
            pool.map_async(function, [0, item], 2, on_error="return").get(10),
            list(pool.imap(function, [0, item], on_error="return")),
        ):
            for outcome in outcomes:
                judge(outcome, stage, fault)
        goes_on(pool)
        return
    items = [0, 1, 2, item, 4, 5, 6]
    for outcomes in (
        pool.map_async(function, items, 7, on_error="return").get(10),
        pool.map_async(function, items, 2, on_error="return").get(10),
        list(pool.imap(function, items, on_error="return")),
        list(pool.imap(function, items, 4, on_error="return")),
    ):
        judge(outcomes[3], stage, fault)
        assert outcomes[:3] + outcomes[4:] == GOOD
    goes_on(pool)


@pytest.mark.parametrize(
    ("method", "stage", "fault"),
    [(method, *cell) for method in METHODS[::2] for cell in CELLS if cell[1] in ("os._exit", "SIGKILL")]
    + [("spawn", "run", "SIGKILL")],
)
def test_a_task_whose_worker_died_is_run_again_if_asked(pool, tmp_path, stage, fault):
    for chunksize in (1, 7):
        function, item = at_stage(stage, fault, str(tmp_path / f"once{chunksize}"))
        outcomes = pool.map_async(function, [0, 1, 2, item, 4, 5, 6], chunksize, retries=1).get(10)
        assert outcomes[:3] + outcomes[4:] == GOOD
        assert type(outcomes[3]) is int
    function, item = at_stage(stage, fault, str(tmp_path / "once"))
    assert type(pool.apply_async(function, (item,), retries=1).get(10)) is int
    # And no more often than that.
    function, item = at_stage(stage, fault)
    judge(outcome_of(pool.apply_async(function, (item,), retries=2)), stage, fault)
    goes_on(pool)


@pytest.mark.parametrize("fault", RAISED)
def test_a_task_that_raised_is_run_again_if_asked(pool, tmp_path, fault):
    function, item = at_stage("run", fault, str(tmp_path / "once"))
    assert pool.apply_async(function, (item,), retries=1, retry_on=RAISED[fault]).get(10) == -2
    function, item = at_stage("run", fault, str(tmp_path / "twice"))
    terms = {"retries": 1, "retry_on": RAISED[fault], "on_error": "return"}
    assert list(pool.imap(function, [0, 1, 2, item, 4, 5, 6], 3, **terms)) == [0, 2, 4, -2, 8, 10, 12]
    # And not for another reason.
    function, item = at_stage("run", fault, str(tmp_path / "never"))
    judge(outcome_of(pool.apply_async(function, (item,), retries=1, retry_on=KeyError)), "run", fault)
    goes_on(pool)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_initializer_ends_the_pool_and_says_why(ctx, fault):
    with ctx.Pool(2, death_tasks.strike, (fault,)) as pool:
        waiting = [pool.apply_async(tasks.double, (1,)), pool.map_async(tasks.double, range(5), 2)]
        if fault == "SIGSTOP":
            assert [result.get(10) for result in waiting] == [2, [0, 2, 4, 6, 8]]
        else:
            for result in waiting:
                with pytest.raises(InitializerFailed) as caught:
                    result.get(10)
                if fault in RAISED:
                    assert type(caught.value.__cause__) is RAISED[fault]
                    assert RAISED[fault].__name__ in str(caught.value)
                else:
                    assert ("code 3" if fault == "os._exit" else fault.replace("segfault", "SIGSEGV")) in str(
                        caught.value
                    )
            with pytest.raises(InitializerFailed):
                list(pool.imap(tasks.double, [1]))
    pool.join()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in RAISED])
def test_a_replacement_that_dies_in_the_initializer_is_replaced_as_well(ctx, tmp_path, fault):
    there = tmp_path / "there"
    with ctx.Pool(2, death_tasks.strike_if_there, (fault, str(there))) as pool:
        assert pool.map_async(tasks.double, [1, 2]).get(10) == [2, 4]
        tasks.arrive(there)
        with pytest.raises(WorkerDied):
            pool.apply_async(tasks.die, ("kill -9",)).get(10)
        assert pool.map_async(tasks.double, range(20), 1).get(10) == [2 * i for i in range(20)]
        wait_until(lambda: os.path.exists(f"{there}.once"))
        goes_on(pool)
    pool.join()


@pytest.mark.parametrize(("method", "fault"), FAULTS_BY_METHOD)
def test_a_fault_in_an_idle_worker_costs_nothing(pool, tmp_path, fault):
    pid = pool.apply_async(death_tasks.strike_by_thread, (fault, str(tmp_path / "now"))).get(10)
    tasks.arrive(tmp_path / "now")
    wait_until((lambda: not is_running(pid)) if fault in EXITS else (tmp_path / "now.over").exists)
    assert pool.map_async(tasks.double, range(50)).get(10) == [2 * i for i in range(50)]
    goes_on(pool)


@pytest.mark.parametrize(("method", "fault"), FAULTS_BY_METHOD)
def test_a_fault_between_tasks_costs_one_of_them_at_most(pool, tmp_path, fault):
    pid = pool.apply_async(death_tasks.strike_by_thread, (fault, str(tmp_path / "now"))).get(10)
    outcomes = []
    for number, outcome in enumerate(pool.imap(tasks.double, range(3000), on_error="return")):
        outcomes.append(outcome)
        if number == 100:
            tasks.arrive(tmp_path / "now")
    wait_until((lambda: not is_running(pid)) if fault in EXITS else (tmp_path / "now.over").exists)
    lost = [number for number, outcome in enumerate(outcomes) if outcome != 2 * number]
    assert len(outcomes) == 3000 and len(lost) <= (fault in EXITS)
    for number in lost:
        assert type(outcomes[number]) is WorkerDied and outcomes[number].exitcode == EXITS[fault]
        assert outcomes[number].arguments == str(number)
    goes_on(pool)


# ---- in the parent ----


@pytest.mark.parametrize("kind", [Struck, SystemExit])
def test_an_item_that_cannot_be_pickled_fails_alone(pool, kind):
    bad = death_tasks.RaisesWhenPickled(kind)
    pool.map(tasks.double, range(1000))  # batches are large from now on
    with pytest.raises(kind, match="in the parent"):
        pool.apply_async(tasks.double, (bad,)).get(10)
    items = [*range(50), bad, *range(51, 100)]
    for outcomes in (
        pool.map_async(tasks.double, items, on_error="return").get(10),
        list(pool.imap(tasks.double, items, on_error="return")),
        list(pool.imap(tasks.double, iter(items), on_error="return")),
    ):
        assert type(outcomes.pop(50)) is kind
        assert outcomes == [2 * i for i in range(100) if i != 50]


@pytest.mark.parametrize("kind", [Struck, SystemExit, KeyboardInterrupt])
def test_an_item_that_cannot_be_pickled_does_not_end_who_feeds_it(pool, tmp_path, kind):
    """Nobody waits for a result, so it is a thread of the pool's own."""
    result = pool.map_async(tasks.nap_and_double, [*range(60), death_tasks.RaisesWhenPickled(kind)], on_error="return")
    wait_until(lambda: result.done)
    assert type(result.get(0)[60]) is kind
    told = []
    pool.apply_async(tasks.double, (1,), callback=told.append)
    wait_until(lambda: told == [2])


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_raises_anything_ends_nobody(pool, monkeypatch, kind):
    heard, told = [], []
    monkeypatch.setattr(threading, "excepthook", heard.append)

    def fail(_):
        raise kind("from a callback")

    assert pool.apply_async(tasks.double, (1,), callback=fail).get(10) == 2
    pool.apply_async(tasks.double, (1,), callback=fail)
    pool.apply_async(tasks.double, (2,), callback=told.append)
    wait_until(lambda: told == [4] and len(heard) == 2)
    assert {hook.exc_type for hook in heard} == {kind}
