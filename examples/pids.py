"""Every process has a number, and knows that of the process that started it."""

import os

from procession import Process


def introduce():
    print(f"child {os.getpid()}, started by {os.getppid()}")


if __name__ == "__main__":
    print(f"program {os.getpid()}")
    process = Process(target=introduce)
    process.start()
    process.join()

# program 4242
# child 4243, started by 4242
