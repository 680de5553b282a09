"""A program listens and another connects to it; both prove that they know the key.  Either may use multiprocessing instead."""

import subprocess
import sys

from procession.connection import Listener

CLIENT = """
import sys
from procession.connection import Client

with Client(sys.argv[1], authkey=b"a secret") as connection:
    connection.send({"numbers": [1, 2, 3]})
    print("client hears", connection.recv())
"""

if __name__ == "__main__":
    with Listener(authkey=b"a secret") as listener:
        client = subprocess.Popen([sys.executable, "-c", CLIENT, listener.address])
        with listener.accept() as connection:
            question = connection.recv()
            print("server gets", question, flush=True)
            connection.send(sum(question["numbers"]))
        client.wait()

# server gets {'numbers': [1, 2, 3]}
# client hears 6
