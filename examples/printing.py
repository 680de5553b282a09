"""A lock around printing: what is written under it stays together."""

from procession import Lock, Process


def count(name, lock):
    for number in range(3):
        with lock:
            print(name, "says", end=" ", flush=True)
            print(number, flush=True)


if __name__ == "__main__":
    lock = Lock()
    processes = [Process(target=count, args=(name, lock)) for name in ("Ann", "Ben")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

# Ann says 0
# Ann says 1
# Ben says 0
# Ann says 2
# Ben says 1
# Ben says 2
