"""A DataLoader of PyTorch with two workers under the start method that is named; tensors come through shared memory."""

import sys

import torch
from torch.utils.data import DataLoader, Dataset


class Numbers(Dataset):
    def __len__(self):
        return 512

    def __getitem__(self, index):
        return torch.full((3, 64, 64), float(index)), index


if __name__ == "__main__":
    torch.set_num_threads(1)
    loader = DataLoader(
        Numbers(), batch_size=16, num_workers=2, multiprocessing_context=sys.argv[1], persistent_workers=True
    )
    for _ in range(3):
        sums = [(float(batch.sum()), int(indices[0])) for batch, indices in loader]
        print(len(sums), sum(value for value, _ in sums), [first for _, first in sums][:3])
