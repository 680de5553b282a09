"""Ten writers and ten readers share a queue of three places: who finds it full waits, and so does who finds it empty."""

from procession import Process, Queue

EACH = 5


def write(places, number):
    for step in range(EACH):
        places.put(number * EACH + step)


def read(places, seen):
    while (number := places.get()) is not None:
        seen.put(number)


if __name__ == "__main__":
    places, seen = Queue(maxsize=3), Queue()
    writers = [Process(target=write, args=(places, number)) for number in range(10)]
    readers = [Process(target=read, args=(places, seen)) for _ in range(10)]
    for process in writers + readers:
        process.start()
    for writer in writers:
        writer.join()
    for _ in readers:
        places.put(None)  # one for each reader: no more will come
    numbers = [seen.get() for _ in range(len(writers) * EACH)]
    for reader in readers:
        reader.join()
    print(len(numbers), "numbers read, each once:", sorted(numbers) == list(range(50)))

# 50 numbers read, each once: True
