"""One at a time; and what happens when the one that has the lock is killed."""

import os
import signal

from procession import Lock, Process
from procession.errors import OwnerDied


def take_and_die(lock):
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    lock = Lock()
    process = Process(target=take_and_die, args=(lock,))
    process.start()
    process.join()
    try:
        lock.acquire()
    except OwnerDied as error:
        print("killed while it held the lock:", error.pid == process.pid)
    with lock:
        print("the lock is free again")

# killed while it held the lock: True
# the lock is free again
