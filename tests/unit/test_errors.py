"""Exceptions travel whole, and handlers written for the standard library catch them."""

import multiprocessing
import pickle
import queue

import pytest

from procession import errors
from procession.engine.exceptions import MaybeEncodingError

SECOND_BASES = {
    errors.WorkerDied: RuntimeError,
    errors.InitializerFailed: RuntimeError,
    errors.OwnerDied: RuntimeError,
    errors.ConsumerDied: RuntimeError,
    errors.ClientRefused: EOFError,
    errors.SharedObjectGone: ReferenceError,
    errors.CannotEncode: TypeError,
    errors.CannotDecode: pickle.UnpicklingError,
    errors.NotAllPut: queue.Full,
    errors.Closed: ValueError,
    errors.StartFailed: RuntimeError,
    errors.OutOfMemory: MemoryError,
}


@pytest.mark.parametrize(("kind", "base"), SECOND_BASES.items())
def test_an_error_is_caught_as_what_the_standard_library_raises(kind, base):
    assert isinstance(kind("what happened"), base)  # some have that base only once there is one of them
    assert issubclass(kind, errors.ProcessionError)
    assert issubclass(kind, multiprocessing.ProcessError)


@pytest.mark.parametrize("name", ["TimeoutError", "BufferTooShort", "AuthenticationError", "ProcessError"])
def test_the_standard_librarys_own_are_the_same_classes(name):
    assert getattr(errors, name) is getattr(multiprocessing, name)


def test_empty_and_full_are_those_of_queue():
    assert errors.Empty is queue.Empty and errors.Full is queue.Full


@pytest.mark.parametrize("kind", SECOND_BASES)
def test_an_error_survives_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(error) is kind and str(error) == "what happened"


def test_evidence_survives_pickling():
    died = pickle.loads(pickle.dumps(errors.WorkerDied("m", pid=5, exitcode=-9, function="f", arguments="1")))
    assert (died.pid, died.exitcode, died.task, died.signal) == (5, -9, "f(1)", "SIGKILL")
    owner = pickle.loads(pickle.dumps(errors.OwnerDied("m", pid=5, exitcode=-9)))
    assert (owner.pid, owner.exitcode) == (5, -9)
    consumer = pickle.loads(pickle.dumps(errors.ConsumerDied("m", pid=5, exitcode=-9, lost=2)))
    assert (consumer.pid, consumer.exitcode, consumer.lost) == (5, -9, 2)
    assert pickle.loads(pickle.dumps(errors.NotAllPut("m", items_put=3))).items_put == 3


def test_an_encoding_error_survives_pickling():
    error = pickle.loads(pickle.dumps(MaybeEncodingError(TypeError("no"), [1])))
    assert "Error sending result: '[1]'" in str(error)
    assert error.value == "[1]"


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [(None, "unknown"), (0, "code 0"), (3, "code 3"), (-9, "SIGKILL"), (-11, "SIGSEGV"), (-63, "signal 63")],
)
def test_an_exit_is_described_in_words(exitcode, words):
    assert words in errors.describe_exit(exitcode)
