"""A process as a class of its own: run() is what happens in the new process."""

from procession import Process, Queue


class Squarer(Process):
    def __init__(self, number, results):
        super().__init__()
        self.number = number
        self.results = results

    def run(self):
        self.results.put(self.number**2)


if __name__ == "__main__":
    results = Queue()
    squarers = [Squarer(number, results) for number in range(4)]
    for squarer in squarers:
        squarer.start()
    print(sorted(results.get() for _ in squarers))
    for squarer in squarers:
        squarer.join()

# [0, 1, 4, 9]
