"""Five processes at once: start them all, then wait for them all."""

from procession import Process


def greet(number):
    print(f"hello from process {number}")


if __name__ == "__main__":
    processes = [Process(target=greet, args=(number,)) for number in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

# hello from process 0
# hello from process 2
# hello from process 1
# hello from process 3
# hello from process 4
