"""Workers as good citizens: random numbers of their own, a fair share of the cores, and children that end with them."""

import os
import random
import signal

import numpy as np
import pytest

import citizen_tasks
import procession
from conftest import METHODS, is_running, wait_until
from procession.engine import launch
from procession.worker import streams

WORKERS = 4


@pytest.fixture(autouse=True)
def nobody_has_asked(monkeypatch):
    """The machine's own cores, and no number of threads from outside."""
    for name in ("PYTHON_CPU_COUNT", *citizen_tasks.VARIABLES):
        monkeypatch.delenv(name, raising=False)


# ---- random numbers ----


def draws_of_all(pool, barrier):
    """What each of the workers draws first; each does one task."""
    return pool.map(citizen_tasks.draw_together, [barrier] * WORKERS, 1)


def test_each_worker_has_streams_of_its_own(ctx):
    before = citizen_tasks.draw()
    barrier = procession.Barrier(WORKERS)
    with ctx.Pool(WORKERS) as pool:
        seen = draws_of_all(pool, barrier)
    pool.join()
    drawn = [number for pair in [before, citizen_tasks.draw(), *seen] for number in pair]
    assert len(set(drawn)) == len(drawn)


def test_each_replaced_worker_has_streams_of_its_own(ctx):
    with ctx.Pool(2, maxtasksperchild=1) as pool:
        seen = pool.map(citizen_tasks.draw, range(8), 1)
    pool.join()
    assert len({number for pair in seen for number in pair}) == 16


def test_what_seeds_them_in_the_main_module_does_not_make_them_alike(script, method):
    path = script.write(
        "import random, sys, numpy.random, procession, citizen_tasks\n"
        "random.seed(1), numpy.random.seed(1)\n"
        "if __name__ == '__main__':\n"
        f"    barrier = procession.Barrier({WORKERS})\n"
        f"    with procession.get_context({method!r}).Pool({WORKERS}) as pool:\n"
        f"        print(pool.map(citizen_tasks.draw_together, [barrier] * {WORKERS}, 1))\n"
    )
    done = script.run(path)
    assert done.stderr == ""
    assert len({number for pair in eval(done.stdout) for number in pair}) == 2 * WORKERS


def test_an_initializer_may_seed_them(ctx):
    with ctx.Pool(1, citizen_tasks.seed, (5,)) as pool:
        seen = pool.apply(citizen_tasks.draw)
    pool.join()
    assert seen == (random.Random(5).random(), np.random.RandomState(5).random())


def test_a_place_gives_the_same_draws_in_every_worker(ctx):
    before = random.getstate(), np.random.get_state()
    try:
        streams.seed_task("seed", 0, 7)
        expected = citizen_tasks.draw()
    finally:
        random.setstate(before[0]), np.random.set_state(before[1])
    with ctx.Pool(2) as pool:
        assert pool.map(citizen_tasks.draw_seeded, [("seed", 0, 7)] * 4, 1) == [expected] * 4
    pool.join()


def seeded_draws(ctx, workers, seed):
    """What each kind of call draws in a pool with that seed."""
    with ctx.Pool(workers, seed=seed) as pool:
        drawn = [
            pool.map(citizen_tasks.draw_for, range(20)),
            pool.map(citizen_tasks.draw_for, range(20), 3),
            pool.starmap(citizen_tasks.draw_for, [(1, 2), (3, 4)]),
            list(pool.imap(citizen_tasks.draw_for, iter(range(10)))),
            sorted(pool.imap_unordered(citizen_tasks.draw_for, range(10))),
            pool.apply(citizen_tasks.draw_for, (7,), {"other": 8}),
        ]
    pool.join()
    return drawn


def test_a_seed_makes_every_task_draw_the_same_with_any_number_of_workers(ctx):
    first = seeded_draws(ctx, 1, "seed")
    assert seeded_draws(ctx, 3, "seed") == first
    assert seeded_draws(ctx, 2, "another") != first
    numbers = [number for call in first[:5] for _, *pair in call for number in pair]
    assert len(set(numbers)) == len(numbers)


def test_a_pool_with_a_seed_names_the_call_that_was_made(ctx):
    with ctx.Pool(1, seed=1) as pool, pytest.raises(procession.errors.WorkerDied) as caught:
        pool.apply(os._exit, (3,))
    pool.join()
    assert caught.value.task == "posix._exit(3)"


@pytest.mark.parametrize("seed", [1.5, [1], object()])
def test_a_seed_that_is_none_is_refused(ctx, seed):
    with pytest.raises(TypeError, match="seed must be"):
        ctx.Pool(1, seed=seed)


# ---- cores ----


def test_blas_has_the_workers_share_of_the_cores(ctx):
    most = citizen_tasks.blas_threads()
    for workers in (1, 2):
        with ctx.Pool(workers) as pool:
            share = max(1, procession.cpu_count() // workers)
            assert pool.apply(citizen_tasks.blas_threads) == min(share, most)
        pool.join()


PROGRAM = """\
import os, sys, procession, citizen_tasks
if {early}: import numpy
if __name__ == "__main__":
    with procession.get_context({method!r}).Pool({workers}) as pool:
        print("numpy" in sys.modules)
        print(pool.apply(citizen_tasks.blas_threads), pool.apply(citizen_tasks.settings))
    print(citizen_tasks.blas_threads(), citizen_tasks.settings())
"""


@pytest.mark.parametrize("early", [True, False], ids=["numpy before the start", "numpy in a task"])
def test_blas_has_its_share_whenever_it_is_loaded(script, method, early):
    path = script.write(PROGRAM.format(early=early, method=method, workers=procession.cpu_count()))
    was_loaded, worker, parent = script.run(path).stdout.splitlines()
    assert was_loaded == str(early)
    assert worker == f"1 {dict.fromkeys(citizen_tasks.VARIABLES, '1')}"
    assert parent == f"{procession.cpu_count()} {{}}"


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
@pytest.mark.parametrize("early", [True, False], ids=["numpy before the start", "numpy in a task"])
def test_what_the_user_has_set_stays(script, method, early, variable, monkeypatch):
    path = script.write(PROGRAM.format(early=early, method=method, workers=4))
    monkeypatch.setenv(variable, "2")
    _, worker, parent = script.run(path).stdout.splitlines()
    assert worker.split()[0] == parent.split()[0]
    assert f"'{variable}': '2'" in worker
    # Those that would follow it are not set, and so do.
    assert ("'MKL_NUM_THREADS': '1'" in worker) == (variable != "OMP_NUM_THREADS")


def test_blas_with_several_threads_works_where_the_parent_or_the_fork_server_has_loaded_it(script, method):
    path = script.write(
        "import sys, numpy, procession, citizen_tasks\n"
        "if __name__ == '__main__':\n"
        f"    with procession.get_context({method!r}).Pool(1) as pool: print(pool.apply(citizen_tasks.threads_after_blas))\n"
    )
    assert 1 <= int(script.run(path).stdout) <= procession.cpu_count()


def test_nothing_changes_in_the_parent(ctx):
    before = dict(os.environ), citizen_tasks.blas_threads()
    with ctx.Pool(2) as pool:
        pool.map(abs, range(4))
    pool.join()
    assert (dict(os.environ), citizen_tasks.blas_threads()) == before


def test_a_bare_worker_imports_nothing_for_it(script):
    program = (
        "import sys, procession\n"
        "def look(): return [name for name in ('threadpoolctl', 'numpy', 'random') if name in sys.modules]\n"
        "with procession.get_context('fork').Pool(2) as pool: print(pool.apply(look), look())\n"
    )
    assert script.run("-c", program).stdout == "[] []\n"


# ---- pools in workers ----


@pytest.fixture
def eight_cores(monkeypatch):
    """The number of cores; the fork server's environment is that of its start."""
    launch.stop_fork_server()
    monkeypatch.setenv("PYTHON_CPU_COUNT", "8")
    yield
    launch.stop_fork_server()


@pytest.mark.parametrize("inner", METHODS)
def test_a_pool_in_a_worker_shares_what_the_worker_has(eight_cores, ctx, inner):
    with ctx.Pool(2) as pool:
        cores, size, settings = pool.apply(citizen_tasks.pool_within, (inner, 2))
    pool.join()
    assert (cores, size) == (4, 4)
    assert settings == dict.fromkeys(citizen_tasks.VARIABLES, "2")


def test_what_a_worker_has_started_ends_with_it(ctx, method):
    pids = procession.Queue()
    with ctx.Pool(1) as pool:
        pool.apply_async(citizen_tasks.hold_pool, (method, pids))
        worker, *within = pids.get(timeout=20)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, within)), "the end of the worker's workers")
    pool.join()
