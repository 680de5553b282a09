"""What clients of managers do in tests."""

import pickle
import signal
import sys
import threading


def take_for_ever(inbox, arrived):
    arrived.set()
    while True:
        inbox.get()


def acquire_for_ever(lock, arrived):
    arrived.set()
    while True:
        lock.acquire()
        lock.release()


def wait_for_an_item(inbox, report):
    """Report what waiting for an item has ended in."""
    report.send("waiting")
    try:
        inbox.get()
        report.send("got one")
    except (EOFError, OSError) as error:
        report.send(str(error))


def mix(numbers, inbox, lock, table, arrived):
    """Calls of all kinds, until killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arrived.set()
    while True:
        with lock:
            table["count"] = table["count"] + 1
        numbers.append("x" * 300)
        numbers.pop()
        inbox.put(table["count"])
        inbox.get()
        table.get("long", list(range(500)))


def call_in_threads(table, count):
    """As many threads as that, one after the other, each with a call of both kinds."""
    for number in range(count):
        thread = threading.Thread(target=lambda number=number: (table.update(a=number), str(table)))
        thread.start()
        thread.join()


def use_from_outside():
    """In a program of its own: use a proxy that comes as a pickle, and say what it did."""
    import procession

    key, frozen = pickle.load(sys.stdin.buffer)
    procession.current_process().authkey = key
    table = pickle.loads(frozen)
    table["outside"] = [1, 2]
    print(table["inside"], table._link()._local.lane)
