"""One process makes things, another takes them; the producer says when there is no more."""

from procession import Process, Queue


def produce(queue):
    for number in range(5):
        queue.put(f"item {number}")
    queue.put(None)  # no more will come


def consume(queue):
    while (item := queue.get()) is not None:
        print("consumed", item)
    print("that was all")


if __name__ == "__main__":
    queue = Queue()
    processes = [Process(target=produce, args=(queue,)), Process(target=consume, args=(queue,))]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

# consumed item 0
# consumed item 1
# consumed item 2
# consumed item 3
# consumed item 4
# that was all
