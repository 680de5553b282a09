"""Counting together: without the lock some counts can be lost, with it or with add() none is."""

from procession import Process, Value


def count_without(counter):
    for _ in range(10_000):
        counter.value += 1  # reads, then writes: another may write in between


def count_with_lock(counter):
    for _ in range(10_000):
        with counter.get_lock():
            counter.value += 1


def count_with_add(counter):
    for _ in range(10_000):
        counter.add(1)


def counted(way):
    counter = Value("i", 0)
    processes = [Process(target=way, args=(counter,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return counter.value


if __name__ == "__main__":
    print("without the lock at most 40000:", counted(count_without) <= 40_000)
    print("with the lock:", counted(count_with_lock))
    print("with add:", counted(count_with_add))

# without the lock at most 40000: True
# with the lock: 40000
# with add: 40000
