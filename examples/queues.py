"""Objects from process to process; what was put is there when put() returns."""

from procession import Process, Queue


def answer(questions):
    while (question := questions.get()) is not None:
        number, replies = question
        replies.put(number * number)


if __name__ == "__main__":
    questions, replies = Queue(), Queue()
    for number in range(3):
        questions.put((number, replies))  # a queue can be sent through a queue
    questions.put(None)
    print(questions.qsize(), "in the queue")
    process = Process(target=answer, args=(questions,))
    process.start()
    print([replies.get() for _ in range(3)])
    process.join()

# 4 in the queue
# [0, 1, 4]
