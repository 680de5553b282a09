"""A message from one process to another: what can be pickled can be sent."""

from procession import Process, Queue


def send(queue):
    queue.put({"text": "hello", "numbers": [1, 2, 3]})


if __name__ == "__main__":
    queue = Queue()
    process = Process(target=send, args=(queue,))
    process.start()
    print(queue.get())
    process.join()

# {'text': 'hello', 'numbers': [1, 2, 3]}
