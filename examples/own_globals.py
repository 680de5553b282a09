"""Every process has global variables of its own: what is to be shared goes through a Queue, a Value or an Array."""

from procession import Process, Queue

names = []


def add(name, shared):
    names.append(name)  # this process's own list
    shared.put(name)


if __name__ == "__main__":
    shared = Queue()
    processes = [Process(target=add, args=(name, shared)) for name in ("Ann", "Ben")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print("the global list:", names)
    print("what came through the queue:", sorted(shared.get() for _ in processes))

# the global list: []
# what came through the queue: ['Ann', 'Ben']
