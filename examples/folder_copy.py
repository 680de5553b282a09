"""A folder is copied by a pool: workers tell of each file through a manager's queue, and the program shows how far it is."""

import tempfile
from pathlib import Path

from procession import Manager, Pool


def copy_file(original, target, queue):
    """Copy one file and say so."""
    (target / original.name).write_bytes(original.read_bytes())
    queue.put(original.name)


def copy_folder(source, target):
    files = list(source.iterdir())
    target.mkdir()
    with Pool(5) as pool, Manager() as manager:
        queue = manager.Queue()
        results = [pool.apply_async(copy_file, (file, target, queue)) for file in files]
        for done in range(1, len(files) + 1):
            queue.get()
            print(f"copied {100 * done // len(files)} %")
        for result in results:
            result.get()  # raises what a worker raised


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        photos, backup = Path(folder, "photos"), Path(folder, "backup")
        photos.mkdir()
        for number in range(5):
            (photos / f"{number}.txt").write_text("a file\n" * number)
        copy_folder(photos, backup)
        print(*sorted(file.name for file in backup.iterdir()))

# copied 20 %
# copied 40 %
# copied 60 %
# copied 80 %
# copied 100 %
# 0.txt 1.txt 2.txt 3.txt 4.txt
