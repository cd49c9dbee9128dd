"""Datasets, samplers, collation and loaders in one process, against recorded orders and by hand."""

import collections

import numpy
import pytest

import flambeau as torch
from flambeau.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)

Point = collections.namedtuple("Point", ["x", "y"])


class Squares(Dataset):
    def __init__(self, length=10):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index * index


class Count(IterableDataset):
    def __init__(self, stop):
        self.stop = stop

    def __iter__(self):
        return iter(range(self.stop))

    def __len__(self):
        return self.stop


def pairs(count=10):
    rows = torch.arange(3.0 * count).reshape(count, 3)
    return TensorDataset(rows, torch.arange(count))


def batches(loader):
    return [batch.tolist() for batch in loader]


# ---- datasets ----


def test_tensor_dataset():
    data = pairs(4)
    row, label = data[2]
    assert (row.tolist(), label.item(), len(data)) == ([6, 7, 8], 2, 4)
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        TensorDataset(torch.zeros(2), torch.zeros(3))


def test_a_batch_of_tensors_is_what_collating_its_samples_gives():
    data = Subset(pairs(20), list(range(19, 0, -2)))
    plain = DataLoader(data, batch_size=4)
    one_by_one = DataLoader(data, batch_size=4, collate_fn=lambda samples: default_collate(samples))
    for fast, slow in zip(plain, one_by_one, strict=True):
        assert [part.tolist() for part in fast] == [part.tolist() for part in slow]
        assert [part.dtype for part in fast] == [part.dtype for part in slow]


def test_a_subclass_of_tensor_dataset_keeps_its_samples():
    class Negated(TensorDataset):
        def __getitem__(self, index):
            return -super().__getitem__(index)[0]

    assert batches(DataLoader(Negated(torch.arange(4)), batch_size=2)) == [[0, -1], [-2, -3]]


def test_joined_datasets():
    joined = Squares(3) + Squares(2)
    assert isinstance(joined, ConcatDataset)
    assert [joined[i] for i in (0, 2, 3, 4, -1, -5)] == [0, 4, 0, 1, 1, 0]
    with pytest.raises(ValueError, match="absolute value of index"):
        joined[-6]
    with pytest.raises(AssertionError, match="empty iterable"):
        ConcatDataset([])
    chained = Count(3) + Count(2)
    assert isinstance(chained, ChainDataset)
    assert (list(chained), len(chained)) == ([0, 1, 2, 0, 1], 5)
    with pytest.raises(AssertionError, match="only supports IterableDataset"):
        list(ChainDataset([Squares()]))


def test_stacked_datasets():
    assert StackDataset(Squares(), range(10))[3] == (9, 3)
    assert StackDataset(a=Squares(), b=range(10)).__getitems__([3]) == [{"a": 9, "b": 3}]
    for bad, text in (
        (lambda: StackDataset(), "At least one dataset"),
        (lambda: StackDataset(Squares(2), Squares(3)), "Size mismatch"),
        (lambda: StackDataset(Squares(2), b=Squares(2)), "both types are given"),
    ):
        with pytest.raises(ValueError, match=text):
            bad()


def test_subset_reads_many_at_once_where_the_dataset_can():
    class Rows(Squares):
        def __getitems__(self, indices):
            return [("many", i) for i in indices]

    loader = DataLoader(Subset(Rows(), [5, 7, 9]), batch_size=2, collate_fn=list)
    assert list(loader) == [[("many", 5), ("many", 7)], [("many", 9)]]


def test_random_split_divides():
    parts = random_split(range(10), [3, 7], torch.Generator().manual_seed(42))
    assert [len(part) for part in parts] == [3, 7]
    assert sorted(i for part in parts for i in part.indices) == list(range(10))
    assert parts[0].indices == [2, 6, 1]  # PyTorch 2.13's
    assert [len(part) for part in random_split(range(11), [0.5, 0.3, 0.2])] == [6, 3, 2]
    with pytest.raises(ValueError, match="Sum of input lengths"):
        random_split(range(10), [3, 8])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(range(2), [0.9, 0.1])


# ---- samplers: the expected orders are PyTorch 2.13's for manual_seed(7) ----


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (lambda: SequentialSampler(range(4)), [0, 1, 2, 3]),
        (lambda: RandomSampler(range(6)), [1, 0, 3, 2, 4, 5]),
        (lambda: RandomSampler(range(4), num_samples=10), [1, 3, 0, 2, 3, 1, 2, 0, 3, 1]),
        (lambda: RandomSampler(range(5), True, 7), [3, 0, 2, 1, 0, 2, 3]),
        (lambda: SubsetRandomSampler([2, 4, 8, 16, 32]), [2, 4, 16, 8, 32]),
        (lambda: WeightedRandomSampler([1.0, 0.0, 2.0, 4.0], 6), [2, 2, 3, 3, 3, 3]),
        (lambda: WeightedRandomSampler([1.0, 0.5, 2.0, 4.0], 3, False), [3, 0, 1]),
        (lambda: DistributedSampler(range(10), 3, 1), [1, 3, 8, 4]),
    ],
)
def test_pytorchs_order(sampler, expected):
    torch.manual_seed(7)
    assert list(sampler()) == expected
    assert len(sampler()) == len(expected)


@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (2, 5), (0, 2)])
def test_batch_sampler(count, size):
    whole = list(BatchSampler(range(count), size, False))
    assert [i for batch in whole for i in batch] == list(range(count))
    assert all(len(batch) == size for batch in whole[:-1])
    full = list(BatchSampler(range(count), size, True))
    assert full == [batch for batch in whole if len(batch) == size]
    assert len(BatchSampler(range(count), size, False)) == len(whole)
    assert len(BatchSampler(range(count), size, True)) == len(full)


@pytest.mark.parametrize(
    ("count", "ranks", "drop_last"), [(10, 3, False), (10, 3, True), (2, 5, False)]
)
def test_distributed_samplers_share_all(count, ranks, drop_last):
    shares = [
        DistributedSampler(range(count), ranks, rank, drop_last=drop_last) for rank in range(ranks)
    ]
    taken = [list(share) for share in shares]
    assert len({len(share) for share in taken}) == 1
    assert len(taken[0]) == len(shares[0])
    together = [i for share in taken for i in share]
    assert drop_last or set(together) == set(range(count))
    assert not drop_last or len(set(together)) == len(together)
    before = taken[0]
    if count == 10:
        shares[0].set_epoch(1)
        assert list(shares[0]) != before


def test_bad_samplers():
    for bad, error in (
        (lambda: RandomSampler([]), ValueError),
        (lambda: RandomSampler([1], replacement=1), TypeError),
        (lambda: WeightedRandomSampler([1.0], 0), ValueError),
        (lambda: WeightedRandomSampler([[1.0]], 1), ValueError),
        (lambda: BatchSampler([1], 0, False), ValueError),
        (lambda: BatchSampler([1], 1, 1), ValueError),
    ):
        with pytest.raises(error):
            bad()


# ---- collation ----


def test_collate():
    batch = default_collate(
        [
            {
                "t": torch.ones(2),
                "i": 1,
                "f": 0.5,
                "s": "a",
                "b": True,
                "l": [1, 2],
                "p": Point(1, 2.0),
            },
            {
                "t": torch.zeros(2),
                "i": 2,
                "f": 1.5,
                "s": "b",
                "b": False,
                "l": [3, 4],
                "p": Point(3, 4.0),
            },
        ]
    )
    assert batch["t"].tolist() == [[1, 1], [0, 0]]
    assert (batch["i"].dtype, batch["i"].tolist()) == (torch.int64, [1, 2])
    assert (batch["f"].dtype, batch["f"].tolist()) == (torch.float64, [0.5, 1.5])
    assert (batch["b"].dtype, batch["s"]) == (torch.bool, ["a", "b"])
    assert [part.tolist() for part in batch["l"]] == [[1, 3], [2, 4]]
    assert isinstance(batch["p"], Point)
    assert batch["p"].y.tolist() == [2, 4]
    assert isinstance(default_collate([(1, 2), (3, 4)]), list)


def test_collate_numpy():
    arrays = default_collate([numpy.ones((2, 2), "f4"), numpy.zeros((2, 2), "f4")])
    assert (arrays.dtype, tuple(arrays.shape)) == (torch.float32, (2, 2, 2))
    assert default_collate([numpy.int16(3), numpy.int16(4)]).dtype == torch.int16


def test_collated_tensors_keep_their_history():
    weight = torch.ones(2, requires_grad=True)
    default_collate([weight * 2, weight * 3]).sum().backward()
    assert weight.grad.tolist() == [5, 5]


@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        ([object(), object()], TypeError, "dicts or lists; found <class 'object'>"),
        ([[1, 2], [3]], RuntimeError, "each element in list of batch should be of equal size"),
        (
            [torch.zeros(2), torch.zeros(3)],
            RuntimeError,
            "stack expects each tensor to be equal size",
        ),
        ([numpy.array("a")], TypeError, "found <U1"),
    ],
)
def test_what_does_not_collate(batch, error, text):
    with pytest.raises(error, match=text):
        default_collate(batch)


def test_convert():
    made = default_convert({"a": numpy.arange(3), "b": [numpy.float32(2)], "c": "x", "d": (1, 2)})
    assert made["a"].tolist() == [0, 1, 2]
    assert (made["b"][0].item(), made["c"], made["d"]) == (2.0, "x", [1, 2])


# ---- loaders in one process ----


def test_batches():
    assert batches(DataLoader(Squares(5), batch_size=2)) == [[0, 1], [4, 9], [16]]
    assert batches(DataLoader(Squares(5), batch_size=2, drop_last=True)) == [[0, 1], [4, 9]]
    assert list(DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]
    assert batches(DataLoader(Squares(5), batch_sampler=[[4], [1, 0]])) == [[16], [1, 0]]
    assert len(DataLoader(Squares(5), batch_size=2)) == 3


def test_streams():
    assert batches(DataLoader(Count(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    assert batches(DataLoader(Count(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert list(DataLoader(Count(3), batch_size=None)) == [0, 1, 2]
    assert len(DataLoader(Count(5), batch_size=2)) == 3


def test_a_stream_longer_than_it_says_warns():
    class Liar(Count):
        def __len__(self):
            return 1

    loader = DataLoader(Liar(3), batch_size=1)
    assert len(loader) == 1
    with pytest.warns(UserWarning, match="Length of IterableDataset"):
        list(loader)


def test_shuffled_epochs_are_pytorchs():
    torch.manual_seed(7)
    loader = DataLoader(range(6), batch_size=3, shuffle=True)
    assert batches(loader) == [[5, 1, 3], [0, 4, 2]]
    assert batches(loader) == [[5, 3, 0], [2, 4, 1]]
    assert torch.rand(1).item() == 0.36531615257263184  # the draws in between are PyTorch's too


def test_a_generator_alone_decides_the_order():
    orders = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        generator = torch.Generator().manual_seed(5)
        orders.append(
            batches(DataLoader(range(9), batch_size=3, shuffle=True, generator=generator))
        )
    assert orders[0] == orders[1]


def test_an_exception_names_the_sample():
    class Broken(Squares):
        def __getitem__(self, index):
            raise ValueError("unreadable")

    with pytest.raises(ValueError, match="unreadable") as caught:
        list(DataLoader(Broken(), batch_size=2, sampler=[7]))
    assert "dataset[7]" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_workers": -1}, "num_workers option should be non-negative"),
        ({"timeout": -1}, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, "could only be specified in multiprocessing"),
        ({"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
        ({"sampler": [1], "shuffle": True}, "sampler option is mutually exclusive with shuffle"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler option is mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "batch_size=None option disables auto-batching"),
        ({"batch_size": 0}, "batch_size should be a positive integer value"),
        ({"multiprocessing_context": "fork"}, "multiprocessing_context can only be used with"),
        ({"multiprocessing_context": "spoon", "num_workers": 1}, "should specify a valid start"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        DataLoader(Squares(), **options)


def test_streams_take_no_order():
    for options in ({"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}):
        with pytest.raises(ValueError, match="DataLoader with IterableDataset: expected unspec"):
            DataLoader(Count(3), **options)


def test_what_decides_the_batches_is_fixed():
    loader = DataLoader(Squares())
    with pytest.raises(ValueError, match="batch_size attribute should not be set after"):
        loader.batch_size = 3


def test_public_path():
    assert torch.utils.data.DataLoader is DataLoader
