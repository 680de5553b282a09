"""Every public name of the running Python's multiprocessing is there, but for the table of those that are not."""

import multiprocessing
import types

import pytest
from surface import STANDARD, every_name, full_name, is_missing, reason_for

import procession

# May only shrink: an entry that speaks of a name that is there fails.
ABSENT = {
    "popen_*.Popen.DupFd": "private: how CPython sends descriptors to a child",
    "forkserver.connect_to_new_process": "private: how CPython talks to its fork server",
    "forkserver.get_inherited_fds": "private: how CPython talks to its fork server",
    "spawn._main": "private: where CPython's spawned children begin",
}


@pytest.mark.parametrize("place", STANDARD, ids=lambda place: place or "multiprocessing")
def test_every_public_name_is_there(place):
    missing = [member for member in STANDARD[place] if is_missing(place, member)]
    assert [member for member in missing if reason_for(full_name(place, member), ABSENT) is None] == []


def test_no_other_public_name_is_there_by_chance():
    own = {
        name
        for name, value in vars(procession).items()
        if not isinstance(value, types.ModuleType) and getattr(value, "__module__", "procession") == "procession"
    }
    assert {name for name in own if not name.startswith("_")} <= {*dir(multiprocessing), *procession._OURS}


@pytest.mark.parametrize("pattern", ABSENT)
def test_what_is_said_to_be_absent_is(pattern):
    there = [
        full_name(place, member)
        for place, member in every_name()
        if reason_for(full_name(place, member), {pattern: "asked for"}) and not is_missing(place, member)
    ]
    assert there == []
