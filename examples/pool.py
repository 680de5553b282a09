"""A function on every item, in four processes; Pool() takes as many as there are cores."""

from procession import Pool


def square(number):
    return number * number


if __name__ == "__main__":
    with Pool(4) as pool:
        print(pool.map(square, range(10)))
        print(pool.map(lambda number: number + 0.5, range(3)))
        print(pool.apply(pow, (2, 10)))

# [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
# [0.5, 1.5, 2.5]
# 1024
