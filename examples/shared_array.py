"""An array that several processes fill, each a part of it."""

from procession import Array, Process


def fill(squares, start, stop):
    for number in range(start, stop):
        squares[number] = number**2


if __name__ == "__main__":
    squares = Array("i", 12)
    processes = [Process(target=fill, args=(squares, start, start + 4)) for start in (0, 4, 8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(squares[:])

# [0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121]
