"""torch.multiprocessing under the start method that is named: a tensor that two processes write to."""

import sys

import torch
import torch.multiprocessing as mp


def fill(rank, tensor, queue):
    tensor[rank] = rank + 1
    queue.put((rank, tensor.sum(dim=1)[rank].item()))


if __name__ == "__main__":
    tensor = torch.zeros(2, 1000).share_memory_()
    context = mp.get_context(sys.argv[1])
    queue = context.Queue()
    mp.start_processes(fill, args=(tensor, queue), nprocs=2, start_method=sys.argv[1])
    print(sorted(queue.get() for _ in range(2)), tensor.sum().item())
