"""Streams of random numbers: those that a seed determines, and those that nobody does."""

import random
import sys
import threading

import numpy as np
import pytest

from procession.worker import streams


@pytest.fixture(autouse=True)
def former_streams():
    """The test run's own go on as if nothing had been."""
    ours, theirs, bits = random.getstate(), np.random.get_state(), np.random.get_bit_generator()
    yield
    np.random.set_bit_generator(bits)
    np.random.set_state(theirs)
    random.setstate(ours)


def draws():
    return [random.random() for _ in range(3)], np.random.random(3).tolist(), random.gauss(0, 1), np.random.normal()


def draws_after(*place):
    streams.seed_task(*place)
    return draws()


@pytest.mark.parametrize("seed", [0, 42, -42, 1 << 2000, "", "seed", "\ud800", b"", b"seed" * 100, np.int64(5), True])
def test_the_same_place_gives_the_same_draws(seed):
    first = draws_after(seed, 1, 2)
    random.gauss(0, 1), np.random.normal()  # each keeps a second number for the next call
    assert draws_after(seed, 1, 2) == first


def test_each_part_of_the_place_counts():
    seeds = [0, 1, -1, 256, "", "1", b"1", "256", b""]
    places = [(seed, call, index) for seed in seeds for call in range(3) for index in range(3)]
    assert len({repr(draws_after(*place)) for place in places}) == len(places)


@pytest.mark.parametrize(("one", "other"), [(5, np.int64(5)), (1, True)])
def test_equal_integers_are_equal_seeds(one, other):
    assert draws_after(one, 0, 0) == draws_after(other, 0, 0)


def test_the_draws_are_those_of_other_versions_and_machines():
    streams.seed_task("a seed", 3, 7)
    assert (random.getrandbits(32), int(np.random.randint(1 << 31))) == (2114678890, 1550638758)


def test_the_two_streams_of_a_task_differ():
    ours, theirs, *_ = draws_after("seed", 0, 0)
    assert not set(ours) & set(theirs)


@pytest.mark.parametrize("seed", [1.5, None, [1]])
def test_other_seeds_are_refused(seed):
    with pytest.raises(TypeError):
        streams.seed_task(seed, 0, 0)


def test_a_task_that_imports_numpy_first_draws_the_same(script):
    program = (
        "import sys; from procession.worker import streams; before = len(sys.meta_path)\n"
        "if len(sys.argv) > 1: import numpy.random\n"
        "for index in 1, 2: streams.seed_task('seed', 0, index)\n"
        "print('numpy' in sys.modules, file=sys.stderr)\n"
        "import numpy.random\n"
        "print(numpy.random.random(), type(numpy.random.__loader__), numpy.random.__spec__.loader == numpy.random.__loader__)\n"
        "assert len(sys.meta_path) == before\n"
    )
    late, early = script.run("-c", program), script.run("-c", program, "early")
    assert (late.stderr, early.stderr) == ("False\n", "True\n")
    assert late.stdout == early.stdout


def test_a_process_that_a_task_forks_is_no_part_of_the_task(script):
    program = (
        "import os; from procession.worker import streams; streams.seed_task('seed', 0, 0)\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0: import numpy.random; print(numpy.random.random(), flush=True); os._exit(0)\n"
        "    os.wait()\n"
    )
    assert len(set(script.run("-c", program).stdout.split())) == 2


@pytest.mark.parametrize("kind", ["MT19937", "PCG64"])
def test_a_program_may_have_another_generator(kind):
    np.random.set_bit_generator(getattr(np.random, kind)(1))
    first = draws_after("seed", 0, 0)
    assert draws_after("seed", 0, 0) == first != draws_after("seed", 0, 1)
    before = draws()
    streams.scatter()
    assert draws() != before
    assert type(np.random.get_bit_generator()).__name__ == kind


def test_scattered_streams_begin_somewhere_else_each_time():
    seen = []
    for _ in range(10):
        random.seed(1), np.random.seed(1)
        streams.scatter()
        seen.append(draws())
    assert len({number for one, other, *_ in seen for number in one + other}) == 60


def test_scattering_does_not_wait_for_who_was_drawing():
    lock = np.random.get_bit_generator().lock
    holds, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            holds.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(10)
    streams.scatter()
    np.random.random()
    done.set()
    thread.join()


def test_nothing_is_imported_for_scattering(script):
    program = (
        "import sys; from procession.worker import streams; before = set(sys.modules)\n"
        "streams.scatter(); print(set(sys.modules) - before)\n"
    )
    assert script.run("-c", program).stdout == "set()\n"


def test_a_module_of_the_programs_may_have_the_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "random", type(sys)("random"))
    streams.scatter()
