"""A barrier: nobody goes on until all are there."""

from procession import Barrier, Process


def climb(name, summit):
    print(f"{name} is at the summit", flush=True)
    summit.wait()
    print(f"{name} goes down, for all are there", flush=True)


if __name__ == "__main__":
    names = ("Ann", "Ben", "Cleo")
    summit = Barrier(len(names))
    climbers = [Process(target=climb, args=(name, summit)) for name in names]
    for climber in climbers:
        climber.start()
    for climber in climbers:
        climber.join()

# Ann is at the summit
# Ben is at the summit
# Cleo is at the summit
# Cleo goes down, for all are there
# Ann goes down, for all are there
# Ben goes down, for all are there
