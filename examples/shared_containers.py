"""A manager's dict and list, which all workers change; what is put into them stays alive, too."""

from procession import Manager, Process


def note(name, ages, names, family):
    ages[name] = len(name)
    names.append(name)
    family["children"].append(name)  # a list in a dict: all see the change


if __name__ == "__main__":
    with Manager() as manager:
        ages, names = manager.dict(), manager.list()
        family = manager.dict(children=manager.list())
        processes = [Process(target=note, args=(name, ages, names, family)) for name in ("Ann", "Bernard", "Cleo")]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        print(dict(sorted(ages.items())))
        print(sorted(names), len(family["children"]))

# {'Ann': 3, 'Bernard': 7, 'Cleo': 4}
# ['Ann', 'Bernard', 'Cleo'] 3
