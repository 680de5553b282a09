"""Every parameter of the standard library's callables is there: its name, place, kind and default."""

import inspect
import sys
from inspect import Parameter
from itertools import zip_longest

import pytest
from surface import OUR_PLACES, PROTOCOLS, STANDARD, full_name, is_missing, reason_for

# May only shrink: an entry for a signature that agrees fails.
DIFFERENT = {
    "context.DefaultContext": "private: the package makes the only one",
    "pool.AsyncResult": "private: a pool makes them",
}
if sys.version_info < (3, 12):
    DIFFERENT["connection.deliver_challenge"] = "private: its digest_name is new in Python 3.12"
BY_KEYWORD = (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD)
OF_ANY_NUMBER = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def signature_of(thing):
    """None for what is not called, and for what does not say how."""
    if not callable(thing):
        return None
    try:
        return inspect.signature(thing)
    except ValueError:
        return None


def in_words(parameter):
    if parameter is None:
        return "nothing"
    kind = parameter.kind.description
    if parameter.kind in OF_ANY_NUMBER:
        return kind
    default = "" if parameter.default is Parameter.empty else f" = {parameter.default!r}"
    return f"{kind} {parameter.name}{default}"


def serves_for(ours, theirs):
    """Whether a call that fills their parameter, or leaves it out, means the same with ours."""
    if ours is None or ours.kind is not theirs.kind:
        return False
    if ours.kind in OF_ANY_NUMBER:
        return True
    # Python 3.14 itself has None where an empty dictionary was the default before.
    same_default = ours.default == theirs.default or (theirs.default == {} and ours.default is None)
    return ours.name == theirs.name and (theirs.default is Parameter.empty or same_default)


def differences(theirs, ours):
    """What a call that the standard library understands would stumble over, in words.

    Parameters with an underscore are the standard library's own; ours may have more, if they go by keyword.
    """
    expected = [parameter for parameter in theirs.parameters.values() if not parameter.name.startswith("_")]
    positional = [parameter for parameter in expected if parameter.kind not in BY_KEYWORD]
    got = [parameter for parameter in ours.parameters.values() if parameter.kind not in BY_KEYWORD]
    pairs = list(zip_longest(got, positional))
    for parameter in expected:
        if parameter.kind is Parameter.KEYWORD_ONLY:
            pairs.append((ours.parameters.get(parameter.name), parameter))
        if parameter.kind is Parameter.VAR_KEYWORD:
            pairs.append((next((p for p in ours.parameters.values() if p.kind is parameter.kind), None), parameter))
    return [
        f"{in_words(mine)} in place of {in_words(their)}"
        for mine, their in pairs
        if their is None or not serves_for(mine, their)
    ]


def differences_of(place, member):
    if is_missing(place, member) or member in PROTOCOLS:
        return []  # test_names deals with the first; nobody calls the second by hand
    theirs = STANDARD[place][member]
    if not callable(theirs):
        return []
    thing = getattr(OUR_PLACES[place], member)
    if not callable(thing):
        return ["cannot be called"]
    expected, got = signature_of(theirs), signature_of(thing)
    return [] if expected is None or got is None else differences(expected, got)


@pytest.mark.parametrize("place", STANDARD, ids=lambda place: place or "multiprocessing")
def test_every_parameter_is_there(place):
    found = {member: differences_of(place, member) for member in STANDARD[place]}
    unexpected = {
        member: what
        for member, what in found.items()
        if what and reason_for(full_name(place, member), DIFFERENT) is None
    }
    assert unexpected == {}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_is_said_to_differ_does(name):
    place, _, member = name.rpartition(".")
    if member not in STANDARD.get(place, ()):
        pytest.skip(f"this Python has no {name}")
    assert differences_of(place, member)


def test_a_parameter_that_is_left_out_or_renamed_or_moved_is_seen():
    def theirs(self, block=True, timeout=None, *, ctx):
        pass

    def renamed(self, blocking=True, timeout=None, *, ctx):
        pass

    def moved(self, timeout=None, block=True, *, ctx):
        pass

    def other_default(self, block=True, timeout=0, *, ctx):
        pass

    def without_keyword(self, block=True, timeout=None):
        pass

    def required(self, block, timeout=None, *, ctx):
        pass

    def one_more(self, block=True, timeout=None, spin=1, *, ctx):
        pass

    def one_more_by_keyword(self, block=True, timeout=None, *, ctx, spin=1):
        pass

    def optional(self, block=True, timeout=None, *, ctx=None):
        pass

    def seen(ours):
        return bool(differences(inspect.signature(theirs), inspect.signature(ours)))

    assert all(map(seen, (renamed, moved, other_default, without_keyword, required, one_more)))
    assert not any(map(seen, (theirs, one_more_by_keyword, optional)))
