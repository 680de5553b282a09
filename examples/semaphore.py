"""A semaphore: no more than so many at one time."""

import time

from procession import Process, Queue, Semaphore

PLACES = 2


def park(places, log):
    with places:
        log.put(+1)
        time.sleep(0.02)
        log.put(-1)


if __name__ == "__main__":
    places, log = Semaphore(PLACES), Queue()
    cars = [Process(target=park, args=(places, log)) for _ in range(5)]
    for car in cars:
        car.start()
    for car in cars:
        car.join()
    parked = most = 0
    while not log.empty():
        parked += log.get()
        most = max(most, parked)
    print(f"{len(cars)} cars, never more than {PLACES} at one time:", most <= PLACES)

# 5 cars, never more than 2 at one time: True
