"""Tasks of a pool say how far they are, through a manager's queue."""

from procession import Manager, Pool


def work(number, done):
    total = 0
    for step in range(5):
        total += sum(range(number * step * 1000))
        done.put(number)
    return total


if __name__ == "__main__":
    with Manager() as manager, Pool(2) as pool:
        done = manager.Queue()
        results = pool.starmap_async(work, [(number, done) for number in range(4)])
        for step in range(1, 21):
            done.get()
            if step % 5 == 0:
                print(f"{100 * step // 20} %")
        print(len(results.get()), "results")

# 25 %
# 50 %
# 75 %
# 100 %
# 4 results
