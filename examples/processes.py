"""A function in a process of its own."""

import procession as multiprocessing


def greet(name):
    print(f"hello {name}, from {multiprocessing.current_process().name}")


if __name__ == "__main__":
    process = multiprocessing.Process(target=greet, args=("world",))
    process.start()
    process.join()
    print("exit code", process.exitcode)

# hello world, from Process-1
# exit code 0
