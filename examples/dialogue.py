"""Two processes talk: a pipe goes both ways unless told otherwise."""

from procession import Pipe, Process


def answer(connection):
    while (question := connection.recv()) != "bye":
        connection.send(f"{question} has {len(question)} letters")
    connection.send("bye")


if __name__ == "__main__":
    ours, theirs = Pipe()
    process = Process(target=answer, args=(theirs,))
    process.start()
    for text in ("process", "pipe", "bye"):
        ours.send(text)
        print(ours.recv())
    process.join()

# process has 7 letters
# pipe has 4 letters
# bye
