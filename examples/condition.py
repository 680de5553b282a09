"""A condition: wait, without looking again and again, until what others change is as one needs it."""

from procession import Condition, Process, Value


def bake(loaves, changed):
    for _ in range(3):
        with changed:
            loaves.value += 1
            changed.notify()


if __name__ == "__main__":
    changed = Condition()
    loaves = Value("i", 0, lock=False)  # the condition's lock guards it
    bakers = [Process(target=bake, args=(loaves, changed)) for _ in range(2)]
    for baker in bakers:
        baker.start()
    with changed:
        changed.wait_for(lambda: loaves.value == 6)
        print("there are", loaves.value, "loaves")
    for baker in bakers:
        baker.join()

# there are 6 loaves
