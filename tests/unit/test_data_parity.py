"""Loaders beside PyTorch's: the same batches in the same order for the same seeds, epoch by epoch,
with and without workers; the same types; the same errors.
"""

import collections

import numpy
import pytest

import flambeau


def plain(value):
    """A batch as plain Python."""
    if hasattr(value, "tolist"):
        return [type(value).__name__, str(value.dtype), value.tolist()]
    if isinstance(value, collections.abc.Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(plain, value)]
    return value


Pair = collections.namedtuple("Pair", "first second")


def datasets(torch):
    data = torch.utils.data

    class Squares(data.Dataset):
        def __init__(self, length=23):
            self.length = length

        def __len__(self):
            return self.length

        def __getitem__(self, index):
            drawn = int(torch.randint(1000, ()))
            kinds = (numpy.float32(index), {"a": numpy.arange(2) + index, "b": str(index)})
            return index, float(index) ** 2, torch.tensor([index, drawn]), kinds, Pair(index, True)

    class Count(data.IterableDataset):
        def __iter__(self):
            info = data.get_worker_info()
            step, start = (1, 0) if info is None else (info.num_workers, info.id)
            return iter(range(start, 17, step))

    rows = data.TensorDataset(torch.arange(20.0), torch.arange(40).view(20, 2))
    return {
        "map": Squares(),
        "stream": Count(),
        "chain": Count() + Count(),
        "rows": rows,
        "joined": Squares(5) + Squares(4) + Squares(3),
        "stacked": data.StackDataset(a=Squares(6), b=Squares(6)),
        "part": data.random_split(Squares(), [0.5, 0.25, 0.25])[0],
        "subset": data.Subset(rows, [3, 1, 19, 7]),
    }


OPTIONS = [
    ("map", {"batch_size": 4, "shuffle": True}),
    ("map", {"batch_size": 5, "shuffle": True, "drop_last": True, "num_workers": 2}),
    ("map", {"batch_size": None, "num_workers": 2, "persistent_workers": True}),
    ("map", {"batch_size": 3, "num_workers": 2, "shuffle": True, "prefetch_factor": 1}),
    ("stream", {"batch_size": 4}),
    ("stream", {"batch_size": 4, "num_workers": 2, "drop_last": True}),
    ("stream", {"batch_size": None, "num_workers": 2}),
    ("chain", {"batch_size": 5}),
    ("rows", {"batch_size": 6, "shuffle": True, "num_workers": 1}),
    ("joined", {"batch_size": 4, "shuffle": True}),
    ("stacked", {"batch_size": 4, "shuffle": True}),
    ("part", {"batch_size": 4, "shuffle": True}),
    ("subset", {"batch_size": 3, "shuffle": True}),
]


def epochs(torch, which, options):
    """Two epochs of batches, and what is drawn after them."""
    torch.manual_seed(7)
    loader = torch.utils.data.DataLoader(datasets(torch)[which], **options)
    found = [[plain(batch) for batch in loader] for _ in range(2)]
    return found, torch.rand(2).tolist()


@pytest.mark.parity
@pytest.mark.parametrize("which, options", OPTIONS)
def test_the_same_batches_for_the_same_seeds(which, options):
    import torch

    assert epochs(flambeau, which, options) == epochs(torch, which, options)


def drawn(torch):
    """Orders of samplers, with a generator and without."""
    data, torch_generator = torch.utils.data, torch.Generator
    torch.manual_seed(3)
    found = [list(data.RandomSampler(range(50))), list(data.SubsetRandomSampler(range(5, 30)))]
    for options in (
        {"replacement": True, "num_samples": 70},
        {"num_samples": 130},
        {"generator": torch_generator().manual_seed(5)},
    ):
        found.append(list(data.RandomSampler(range(50), **options)))
    weights = [0.1, 0.0, 3.0, 0.6]
    found.append(list(data.WeightedRandomSampler(weights, 40)))
    found.append(list(data.WeightedRandomSampler(weights, 3, replacement=False)))
    for rank in range(3):
        sampler = data.DistributedSampler(range(20), 3, rank, seed=4)
        sampler.set_epoch(2)
        found.append(list(sampler))
    return found


@pytest.mark.parity
def test_the_same_orders():
    import torch

    assert drawn(flambeau) == drawn(torch)


def failures(torch):
    """The first lines of errors."""
    data = torch.utils.data
    rows = data.TensorDataset(torch.arange(4))
    found = []
    for make in (
        lambda: data.DataLoader(rows, batch_size=0),
        lambda: data.DataLoader(rows, num_workers=-1),
        lambda: data.DataLoader(rows, timeout=-1),
        lambda: data.DataLoader(rows, persistent_workers=True),
        lambda: data.DataLoader(rows, prefetch_factor=2),
        lambda: data.DataLoader(rows, sampler=[1], shuffle=True),
        lambda: data.DataLoader(rows, batch_sampler=[[1]], batch_size=2),
        lambda: data.DataLoader(rows, batch_size=None, drop_last=True),
        lambda: data.DataLoader(rows, multiprocessing_context="fork"),
        lambda: data.default_collate([object()]),
        lambda: data.default_collate([[1, 2], [1]]),
        lambda: data.RandomSampler([]),
        lambda: data.random_split(rows, [1, 1]),
        lambda: data.StackDataset(),
        lambda: data.ConcatDataset([]),
    ):
        try:
            make()
        except Exception as error:
            found.append((type(error).__name__, str(error).split("\n")[0]))
    return found


@pytest.mark.parity
def test_the_same_errors():
    import torch

    ours, theirs = failures(flambeau), failures(torch)
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs]
    different = [(a, b) for (_, a), (_, b) in zip(ours, theirs, strict=True) if a != b]
    assert all("object" in a for a, _ in different), different
