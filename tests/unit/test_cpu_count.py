"""How many cores: what was asked for, else the least of affinity and the control groups' quotas."""

import os

import pytest

import procession
from procession._os import posix


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight cores, and a fake /proc and /sys that `write` fills."""
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    def fake_open(path, *arguments, **options):
        return open(tmp_path / str(path).lstrip("/"), *arguments, **options)

    monkeypatch.setattr(posix, "open", fake_open, raising=False)

    def write(where, text):
        path = tmp_path / where.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("/proc/self/cgroup", "0::/\n")
    return write


def test_without_a_quota_it_is_the_affinity(machine):
    assert procession.cpu_count() == 8


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("9900000 100000", 8)],
)
def test_a_quota_is_rounded_up_and_never_more_than_the_affinity(machine, quota, cores):
    machine("/proc/self/cgroup", "0::/job\n")
    machine("/sys/fs/cgroup/job/cpu.max", quota + "\n")
    assert procession.cpu_count() == cores


def test_a_group_above_counts_too(machine):
    machine("/proc/self/cgroup", "0::/a/b/c\n")
    machine("/sys/fs/cgroup/a/b/c/cpu.max", "600000 100000\n")
    machine("/sys/fs/cgroup/a/cpu.max", "300000 100000\n")
    assert procession.cpu_count() == 3


def test_inside_a_container_the_group_is_the_mount(machine):
    machine("/sys/fs/cgroup/cpu.max", "400000 100000\n")
    assert procession.cpu_count() == 4


@pytest.mark.parametrize(("quota", "cores"), [("250000", 3), ("-1", 8)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_the_first_version_of_control_groups_is_read(machine, mount, quota, cores):
    machine("/proc/self/cgroup", "4:cpu,cpuacct:/job\n0::/\n")
    machine(f"/sys/fs/cgroup/{mount}/job/cpu.cfs_quota_us", quota)
    machine(f"/sys/fs/cgroup/{mount}/job/cpu.cfs_period_us", "100000")
    assert procession.cpu_count() == cores


@pytest.mark.parametrize("text", ["", "nonsense", "1 0", "a b c"])
def test_nonsense_in_the_files_is_no_quota(machine, text):
    machine("/sys/fs/cgroup/cpu.max", text)
    assert procession.cpu_count() == 8


@pytest.mark.parametrize(("asked", "cores"), [("3", 3), ("100", 100), ("default", 8), ("0", 8), ("", 8)])
def test_the_user_may_ask_for_a_number(machine, monkeypatch, asked, cores):
    monkeypatch.setenv("PYTHON_CPU_COUNT", asked)
    assert procession.cpu_count() == cores


def test_without_proc_it_is_the_affinity(machine, monkeypatch, tmp_path):
    (tmp_path / "proc/self/cgroup").unlink()
    assert procession.cpu_count() == 8
