"""Plain multiprocessing under the start method that is named: one of each."""

import multiprocessing as mp
import sys
from multiprocessing import connection, pool, sharedctypes, synchronize


def add(total, lock, queue, end):
    for _ in range(100):
        with lock:
            total.value += 1
    queue.put(mp.current_process().name.partition("-")[0])
    end.send(total.value > 0)


def triple(number):
    return 3 * number


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    total, lock, queue, (ours, theirs) = mp.Value("i", lock=False), mp.Lock(), mp.Queue(), mp.Pipe()
    children = [mp.Process(target=add, args=(total, lock, queue, theirs)) for _ in range(2)]
    for child in children:
        child.start()
    print([queue.get() for _ in children], [ours.recv() for _ in children])
    for child in children:
        child.join()
    print(total.value, [child.exitcode for child in children])
    with mp.Pool(2) as workers:
        print(workers.map(triple, range(5)), sum(workers.imap_unordered(triple, range(1000), chunksize=10)))
    with mp.Manager() as manager:
        shared = manager.dict(a=1)
        shared["b"] = 2
        print(sorted(shared.items()))
    print(
        isinstance(lock, synchronize.Lock),
        isinstance(ours, connection.Connection),
        issubclass(pool.ThreadPool, pool.Pool),
    )
    print(sharedctypes.copy(total).value)
