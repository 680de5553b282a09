"""A pipe in one direction: one end only sends, the other only receives."""

from procession import Pipe, Process


def send(connection):
    connection.send([42, None, "hello"])
    connection.close()


if __name__ == "__main__":
    receiver, sender = Pipe(duplex=False)
    process = Process(target=send, args=(sender,))
    process.start()
    print(receiver.recv())
    process.join()

# [42, None, 'hello']
