"""Deadlines."""

import time

import pytest

from procession.engine.clock import FOREVER, clock_ns, deadline_after, seconds_until


def test_the_clock_is_the_machines_monotonic_one():
    before = time.monotonic_ns()
    assert before <= clock_ns() <= time.monotonic_ns()


@pytest.mark.parametrize("timeout", [None, 1e10, float("inf")])
def test_a_deadline_may_never_come(timeout):
    assert deadline_after(timeout) == FOREVER
    assert seconds_until(FOREVER) is None


@pytest.mark.parametrize("timeout", [0, -1, -1e12])
def test_a_timeout_of_nothing_has_passed(timeout):
    assert deadline_after(timeout) <= clock_ns()


def test_a_deadline_is_as_far_as_its_timeout():
    assert 0.9 < seconds_until(deadline_after(1.0)) <= 1.0
    assert seconds_until(clock_ns() - 5) == 0.0
