"""An input without end: it is read only a little further than its results."""

from itertools import count, islice

from procession import Pool


def square(number):
    return number * number


if __name__ == "__main__":
    with Pool(2) as pool:
        squares = pool.imap(square, count())
        print(list(islice(squares, 5)))

# [0, 1, 4, 9, 16]
