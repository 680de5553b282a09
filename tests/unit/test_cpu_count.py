"""How many cores: what was asked for or the affinity, and no more than the control groups' quotas."""

import os
import sys

import pytest

import procession
from procession import _os
from procession._os import posix, posix_cores

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime shared:5 - tmpfs tmpfs rw,mode=755
"""
SECOND = "32 31 0:29 {root} {point} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST = "33 31 0:30 {root} {point} rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight cores, and a fake /proc and /sys that `write` fills."""
    for variable in ("PYTHON_CPU_COUNT", _os.SHARE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(posix_cores, "_quota_read", (0.0, None))

    def fake_open(path, *arguments, **options):
        return open(tmp_path / os.fsdecode(path).lstrip("/"), *arguments, **options)

    monkeypatch.setattr(posix_cores, "open", fake_open, raising=False)

    def write(where, text):
        path = tmp_path / where.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("/proc/self/cgroup", "0::/\n")
    write("/proc/self/mountinfo", MOUNTS + SECOND.format(root="/", point="/sys/fs/cgroup"))
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
@pytest.mark.parametrize("point", ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu", "/elsewhere"])
def test_the_first_version_of_control_groups_is_read_wherever_it_is_mounted(machine, point, quota, cores):
    machine("/proc/self/cgroup", "4:cpu,cpuacct:/job\n3:cpuset:/other\n0::/\n")
    machine("/proc/self/mountinfo", MOUNTS + FIRST.format(root="/", point=point))
    machine(f"{point}/job/cpu.cfs_quota_us", quota + "\n")
    machine(f"{point}/job/cpu.cfs_period_us", "100000\n")
    assert procession.cpu_count() == cores


def test_where_both_versions_are_mounted_the_controller_decides(machine):
    machine("/proc/self/cgroup", "1:cpu,cpuacct:/job\n0::/service\n")
    machine(
        "/proc/self/mountinfo",
        MOUNTS
        + FIRST.format(root="/", point="/sys/fs/cgroup/cpu")
        + SECOND.format(root="/", point="/sys/fs/cgroup/unified"),
    )
    machine("/sys/fs/cgroup/unified/service/cgroup.procs", "")  # no cpu.max: the first version has the controller
    machine("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000")
    machine("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    machine("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1")
    machine("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000")
    assert procession.cpu_count() == 3


@pytest.mark.parametrize(
    ("root", "path", "shown"),
    [
        ("/docker/abc", "/docker/abc", "/"),  # a container without a namespace of its own
        ("/docker/abc", "/docker/abc/task", "/task"),
        ("/..", "/", "/"),  # mounted from outside of the namespace: the group above it is seen
        ("/..", "/../other", "/other"),
        ("/", "/../other", "/"),  # a process that was moved out of its container
        ("/docker/abc", "/user.slice", "/"),
    ],
)
def test_a_group_is_looked_for_in_what_the_mount_shows(machine, root, path, shown):
    machine("/proc/self/cgroup", f"0::{path}\n")
    machine("/proc/self/mountinfo", MOUNTS + SECOND.format(root=root, point="/sys/fs/cgroup"))
    machine(f"/sys/fs/cgroup{shown}/cpu.max", "200000 100000\n")
    assert procession.cpu_count() == 2


def test_another_containers_mount_is_not_ours(machine):
    machine("/proc/self/cgroup", "0::/user.slice\n")
    mounts = [("/", "/sys/fs/cgroup"), ("/lxc/guest", "/var/lib/lxc/guest/cgroup")]
    machine("/proc/self/mountinfo", MOUNTS + "".join(SECOND.format(root=root, point=point) for root, point in mounts))
    machine("/var/lib/lxc/guest/cgroup/cpu.max", "100000 100000\n")
    assert procession.cpu_count() == 8


def test_a_mount_may_have_a_space_in_its_name(machine):
    machine("/proc/self/mountinfo", MOUNTS + SECOND.format(root="/", point="/my\\040groups"))
    machine("/my groups/cpu.max", "200000 100000\n")
    assert procession.cpu_count() == 2


@pytest.mark.parametrize("text", ["", "nonsense", "1 0", "a b c"])
def test_nonsense_in_the_files_is_no_quota(machine, text):
    machine("/sys/fs/cgroup/cpu.max", text)
    assert procession.cpu_count() == 8


@pytest.mark.parametrize("name", ["cgroup", "mountinfo"])
@pytest.mark.parametrize("text", ["nonsense\n", "a - b\n", ""])
def test_nonsense_in_proc_is_no_quota(machine, name, text):
    machine(f"/proc/self/{name}", text)
    assert procession.cpu_count() == 8


@pytest.mark.parametrize("name", ["cgroup", "mountinfo"])
def test_without_proc_it_is_the_affinity(machine, tmp_path, name):
    (tmp_path / "proc/self" / name).unlink()
    assert procession.cpu_count() == 8


# ---- what was asked for ----

NUMBERS = [("3", 3), ("100", 100), ("default", 8), ("0", 8), ("", 8)]


@pytest.mark.parametrize(("asked", "cores"), NUMBERS)
def test_the_user_may_ask_for_a_number(machine, monkeypatch, asked, cores):
    monkeypatch.setenv("PYTHON_CPU_COUNT", asked)
    assert procession.cpu_count() == cores


@pytest.mark.parametrize(("asked", "cores"), NUMBERS)
def test_the_interpreters_option_comes_before_the_environment(machine, monkeypatch, asked, cores):
    monkeypatch.setenv("PYTHON_CPU_COUNT", "5")
    monkeypatch.setitem(sys._xoptions, "cpu_count", asked)
    assert procession.cpu_count() == cores


def test_an_interpreter_that_is_started_has_the_option_too(monkeypatch):
    monkeypatch.setitem(sys._xoptions, "cpu_count", "3")
    command = posix.interpreter_command("python", "pass", [])
    assert command[command.index("cpu_count=3") - 1] == "-X"


def test_an_interpreter_that_ignores_the_environment_ignores_the_number_in_it(script):
    program = "import procession, os; print(procession.cpu_count() == 77)"
    environment = {**os.environ, "PYTHON_CPU_COUNT": "77"}
    assert script.run("-c", program, env=environment).stdout == "True\n"
    assert script.run("-E", "-c", program, env=environment).stdout == "False\n"


# ---- shares ----


@pytest.mark.parametrize(("workers", "share"), [(1, 8), (2, 4), (3, 2), (8, 1), (100, 1)])
def test_a_share_is_rounded_down_and_one_core_at_least(machine, workers, share):
    assert _os.cpu_share(workers) == share


def test_a_share_is_of_what_the_quota_allows(machine):
    machine("/sys/fs/cgroup/cpu.max", "600000 100000\n")
    assert [_os.cpu_share(workers) for workers in (1, 2, 6)] == [6, 3, 1]


def test_a_worker_and_what_it_starts_have_its_share(machine, monkeypatch):
    monkeypatch.setenv(_os.SHARE, "4")
    assert procession.cpu_count() == 4
    assert _os.cpu_share(2) == 2
