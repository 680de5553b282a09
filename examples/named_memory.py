"""An array with a name: another program, which needs to know no more than that, works on the same memory."""

import subprocess
import sys

import numpy as np

from procession.shared_memory import SharedMemory


def squares_in(name):
    memory = SharedMemory(name)  # the standard library's SharedMemory attaches to it as well
    numbers = np.ndarray(10, np.int64, buffer=memory.buf)
    numbers[:] = np.arange(10) ** 2
    memory.close()  # numbers stays what it is


if __name__ == "__main__":
    if len(sys.argv) == 2:
        squares_in(sys.argv[1])
    else:
        memory = SharedMemory(create=True, size=80)
        numbers = np.ndarray(10, np.int64, buffer=memory.buf)
        subprocess.run([sys.executable, __file__, memory.name], check=True)
        print(numbers)
        memory.close()
        memory.unlink()

# [ 0  1  4  9 16 25 36 49 64 81]
