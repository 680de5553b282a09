"""util: finalizers, hooks of forks, the logger, names of sockets, the temporary folder."""

import gc
import logging
import os
import sys

import pytest

import procession
from procession import util

# Some of them fork by themselves, and another test's thread may not have ended yet.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Thing:
    pass


@pytest.fixture(autouse=True)
def no_finalizers_of_others():
    kept = dict(util._finalizer_registry)
    util._finalizer_registry.clear()
    yield
    gc.collect()
    assert not util._finalizer_registry
    util._finalizer_registry.update(kept)


@pytest.fixture
def logger():
    logger = procession.get_logger()
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers
    util._logs_to_stderr = False


# ---- finalizers ----


def test_a_finalizer_runs_when_its_object_is_collected():
    calls = []
    thing = Thing()
    finalizer = util.Finalize(thing, calls.append, args=("gone",))
    assert finalizer.still_active() and calls == []
    del thing
    gc.collect()
    assert calls == ["gone"] and not finalizer.still_active()
    assert "dead" in repr(finalizer)


def test_a_finalizer_runs_once_and_gives_what_its_callback_gives():
    thing = Thing()
    finalizer = util.Finalize(thing, dict, kwargs={"a": 1})
    assert finalizer() == {"a": 1}
    assert finalizer() is None


def test_a_cancelled_finalizer_never_runs():
    calls = []
    finalizer = util.Finalize(None, calls.append, args=(1,), exitpriority=0)
    finalizer.cancel()
    finalizer.cancel()
    util._run_finalizers()
    assert calls == []


def test_finalizers_run_by_priority_and_the_youngest_first():
    calls = []
    things = [Thing() for _ in range(5)]
    for number, (thing, priority) in enumerate(zip(things, [0, 1, 0, None, -5], strict=True)):
        util.Finalize(thing, calls.append, args=(number,), exitpriority=priority)
    util._run_finalizers(0)
    assert calls == [1, 2, 0]
    util._run_finalizers()
    assert calls == [1, 2, 0, 4]


def test_a_finalizer_that_raises_does_not_keep_the_others_from_running(capfd):
    calls = []
    util.Finalize(None, lambda: 1 / 0, exitpriority=2)
    util.Finalize(None, calls.append, args=("next",), exitpriority=1)
    util._run_finalizers()
    assert calls == ["next"]
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_finalizer_needs_an_object_or_a_whole_priority():
    with pytest.raises(ValueError, match="exitpriority"):
        util.Finalize(None, print)
    with pytest.raises(TypeError, match="exitpriority"):
        util.Finalize(Thing(), print, exitpriority=1.5)


# ---- the logger ----


def test_the_logger_is_the_one_that_programs_expect(logger):
    assert logger is logging.getLogger("multiprocessing")
    assert util.get_logger() is logger and not logger.propagate


def test_log_to_stderr_prints_level_and_process_name(logger, capsys):
    assert procession.log_to_stderr(logging.INFO) is logger
    util.info("hello %s", "there")
    util.debug("not this")
    assert capsys.readouterr().err == "[INFO/MainProcess] hello there\n"


def test_levels_of_the_package_lie_between_those_of_logging(logger):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    logger.setLevel(1)
    for log in (util.sub_debug, util.debug, util.info, util.sub_warning, util.warn):
        log("it is %d", 5)
    assert [record.levelno for record in records] == [5, 10, 20, 25, 30]
    assert {record.getMessage() for record in records} == {"it is 5"}
    assert {record.filename for record in records} == {"test_util.py"}


def test_a_log_record_has_the_name_of_the_process(logger):
    me = procession.current_process()
    me.name = "somebody"
    try:
        assert logging.LogRecord("x", 1, "", 1, "", (), None).processName == "somebody"
    finally:
        me.name = "MainProcess"


# ---- forks ----


def run_in_fork(function):
    """What it returns in a bare fork of this process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, str(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


def test_what_is_registered_for_forks_is_called_in_the_child_only():
    thing = Thing()
    thing.calls = 0

    def count(thing):
        thing.calls += 1

    util.register_after_fork(thing, count)
    assert run_in_fork(lambda: thing.calls) == "1"
    assert thing.calls == 0


def test_a_hook_that_raises_keeps_no_other_from_being_called():
    first, second = Thing(), Thing()
    util.register_after_fork(first, lambda _: 1 / 0)
    util.register_after_fork(second, lambda thing: setattr(thing, "called", True))
    assert run_in_fork(lambda: second.called) == "True"


def test_a_fork_aware_lock_is_free_in_a_child_and_a_local_is_empty():
    lock, local = util.ForkAwareThreadLock(), util.ForkAwareLocal()
    local.x = 1
    with lock:
        assert run_in_fork(lambda: (lock.acquire(False), hasattr(local, "x"))) == "(True, False)"
    assert lock.acquire(False) and local.x == 1


def test_a_child_has_no_part_in_its_parents_finalizers():
    calls = []
    finalizer = util.Finalize(None, calls.append, args=(1,), exitpriority=0)
    assert run_in_fork(lambda: (util._run_finalizers(), finalizer(), calls)) == "(None, None, [])"
    finalizer.cancel()


# ---- the rest ----


@pytest.mark.parametrize(
    ("address", "answer"),
    [(None, False), ("", False), ("/tmp/x", False), ("\0x", True), (b"\0x", True), (b"x", False)],
)
def test_abstract_names_of_sockets_are_known(address, answer):
    assert util.is_abstract_socket_namespace(address) is answer


def test_a_name_of_a_socket_is_text():
    with pytest.raises(TypeError, match="int"):
        util.is_abstract_socket_namespace(5)


def test_the_temporary_folder_is_one_and_is_short_even_if_tmpdir_is_long(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = util.get_temp_dir()
    assert util.get_temp_dir() == folder and os.path.isdir(folder)
    assert len(folder) < 70
    util._remove_temp_dir()
    assert not os.path.exists(folder)


def test_close_fds_closes_them():
    fds = os.pipe()
    util.close_fds(*fds)
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_a_program_inherits_the_descriptors_that_it_is_given_and_no_other(tmp_path):
    reader, writer = os.pipe()
    other = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(other, True)
    code = f"import os; os.write({writer}, b'here'); os.fstat({other})"
    pid = util.spawnv_passfds(os.fsencode(sys.executable), ["python", "-S", "-E", "-c", code], (writer,))
    os.close(writer)
    os.close(other)
    with open(reader) as file:
        assert file.read() == "here"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0


def test_it_is_not_exiting():
    assert not util.is_exiting()
