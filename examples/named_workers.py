"""Processes with names, which tell them apart; join() waits for one of them."""

from procession import Process, current_process


def work():
    print(f"{current_process().name} is at work")


if __name__ == "__main__":
    workers = [Process(target=work, name=name) for name in ("Ann", "Ben", "Cleo")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        print(f"{worker.name} has ended with exit code {worker.exitcode}")

# Ann is at work
# Ben is at work
# Cleo is at work
# Ann has ended with exit code 0
# Ben has ended with exit code 0
# Cleo has ended with exit code 0
