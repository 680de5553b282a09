"""An event: many wait until one says go."""

from procession import Event, Process, Queue


def run(name, start, finished):
    start.wait()
    finished.put(name)


if __name__ == "__main__":
    start, finished = Event(), Queue()
    runners = [Process(target=run, args=(name, start, finished)) for name in ("Ann", "Ben", "Cleo")]
    for runner in runners:
        runner.start()
    print("before the start:", finished.qsize(), "have finished")
    start.set()
    for runner in runners:
        runner.join()
    print("after it:", finished.qsize())

# before the start: 0 have finished
# after it: 3
