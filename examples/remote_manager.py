"""A manager that other programs reach over the network, and a client that knows nothing but its address and key."""

import subprocess
import sys

from procession.managers import BaseManager

CLIENT = """
import sys
from procession.managers import BaseManager

class Shop(BaseManager):
    pass

Shop.register("stock")
host, port = sys.argv[1:]
shop = Shop((host, int(port)), authkey=b"a secret")
shop.connect()
shop.stock().update(pears=3)
print("client sees", shop.stock())
"""

stock = {"apples": 2}


class Shop(BaseManager):
    pass


if __name__ == "__main__":
    Shop.register("stock", callable=lambda: stock)
    with Shop(("127.0.0.1", 0), authkey=b"a secret") as shop:
        host, port = shop.address
        subprocess.run([sys.executable, "-c", CLIENT, host, str(port)], check=True)
        print("we see", shop.stock())

# client sees {'apples': 2, 'pears': 3}
# we see {'apples': 2, 'pears': 3}
