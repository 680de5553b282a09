"""A number that several processes count up."""

from procession import Process, Value


def count(total):
    for _ in range(1000):
        with total.get_lock():
            total.value += 1


if __name__ == "__main__":
    total = Value("i", 0)
    processes = [Process(target=count, args=(total,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(total.value)

# 2000
