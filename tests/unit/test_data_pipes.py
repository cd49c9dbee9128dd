"""Data pipes, against what their steps mean, and against PyTorch's."""

import pickle
import warnings

import pytest

import flambeau as torch
from flambeau.utils import data
from flambeau.utils.data import IterDataPipe, MapDataPipe, functional_datapipe
from flambeau.utils.data.datapipes import iter as pipes
from flambeau.utils.data.datapipes import map as map_pipes


def numbers(n=10):
    return pipes.IterableWrapper(range(n))


def double(x):
    return 2 * x


def is_odd(x):
    return x % 2 == 1


def test_steps():
    assert list(numbers().map(double).filter(is_odd)) == []
    assert list(numbers(7).batch(3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(numbers(7).batch(3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert list(numbers(7).batch(2).batch(2).unbatch()) == [[0, 1], [2, 3], [4, 5], [6]]
    assert list(numbers(7).batch(2).batch(2).unbatch(-1)) == list(range(7))
    assert list(numbers(2).concat(numbers(3))) == [0, 1, 0, 1, 2]
    assert list(numbers(3).zip(numbers(5))) == [(0, 0), (1, 1), (2, 2)]
    assert list(numbers(2).mux(numbers(3), numbers(9))) == [0, 0, 0, 1, 1, 1]
    assert list(numbers(6).groupby(is_odd, keep_key=True)) == [
        (False, [0, 2, 4]),
        (True, [1, 3, 5]),
    ]
    assert next(iter(numbers(9).groupby(lambda x: x % 3, group_size=2))) == [0, 3]
    assert [b.tolist() for b in numbers(4).batch(2).collate()] == [[0, 1], [2, 3]]
    assert list(pipes.Sampler(numbers(4))) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="Boolean output is required"):
        list(numbers().filter(double))


def test_columns():
    rows = pipes.IterableWrapper([(1, 2, 3), (4, 5, 6)])
    assert list(rows.map(double, input_col=1)) == [(1, 4, 3), (4, 10, 6)]
    assert list(rows.map(lambda a, b: a + b, input_col=[0, 2])) == [(4, 2), (10, 5)]
    assert list(rows.map(double, input_col=0, output_col=-1)) == [(1, 2, 3, 2), (4, 5, 6, 8)]
    assert list(rows.filter(is_odd, input_col=0)) == [(1, 2, 3)]
    named = pipes.IterableWrapper([{"a": 1}])
    assert list(named.map(double, input_col="a", output_col="b")) == [{"a": 1, "b": 2}]


def test_lengths():
    assert [
        len(p) for p in (numbers(7), numbers(7).batch(2), numbers(7).batch(2, drop_last=True))
    ] == [7, 4, 3]
    assert len(numbers(7).shuffle().map(double).zip(numbers(3))) == 3
    for pipe in (numbers().filter(is_odd), numbers().unbatch()):
        with pytest.raises(TypeError, match="doesn't have valid length"):
            len(pipe)


def test_branches_read_a_source_once():
    read = []
    source = numbers(4).map(lambda x: (read.append(x), x)[1])
    first, second = source.fork(2)
    assert list(first) == list(second) == [0, 1, 2, 3] and read == [0, 1, 2, 3]
    assert list(first) == [0, 1, 2, 3] and len(read) == 8
    even, odd = numbers(6).demux(2, lambda x: x % 2)
    assert list(odd) == [1, 3, 5] and list(even) == [0, 2, 4]
    (kept,) = numbers(6).demux(1, lambda x: 0 if x > 3 else None, drop_none=True)
    assert list(kept) == [4, 5]
    with pytest.raises(BufferError, match="overflow"):
        list(numbers(10).fork(2, buffer_size=1)[0])
    with pytest.raises(ValueError, match="should be between 0 and 1"):
        list(numbers().demux(2, int)[0])


def test_branches_get_copies_if_asked_for():
    sample = [[1]]
    for copy, (outer, inner) in {None: (1, 1), "shallow": (0, 1), "deep": (0, 0)}.items():
        (branch,) = pipes.IterableWrapper([sample], deepcopy=False).fork(1, copy=copy)
        (got,) = branch
        assert got == sample and (got is sample, got[0] is sample[0]) == (outer, inner)


def test_orders():
    pipe = numbers(100).shuffle(buffer_size=10)
    torch.manual_seed(0)
    first = list(pipe)
    assert sorted(first) == list(range(100)) and first != list(range(100)) != list(pipe)
    torch.manual_seed(0)
    assert list(pipe) == first
    assert list(pipe.set_seed(5)) == list(numbers(100).shuffle(buffer_size=10).set_seed(5))
    assert list(pipe.set_shuffle(False)) == list(range(100))


def test_workers_share_what_is_shuffled():
    pipe = numbers(20).shuffle().sharding_filter().map(double)
    loader = data.DataLoader(pipe, batch_size=None, num_workers=2)
    assert sorted(loader) == [2 * n for n in range(20)]


def test_pipes_with_keys():
    words = map_pipes.SequenceWrapper(["a", "b", "c"])
    assert (
        words.map(str.upper)[1] == "B" and words.batch(2)[1] == ["c"] and len(words.batch(2)) == 2
    )
    assert words.concat(words)[4] == "b" and words.zip(words)[2] == ("c", "c")
    assert sorted(words.shuffle()) == ["a", "b", "c"]
    assert map_pipes.SequenceWrapper({"x": 5}).map(double)["x"] == 10
    with pytest.raises(IndexError):
        words.batch(2)[2]


def test_steps_of_ones_own():
    @functional_datapipe("plus_of_mine")
    class Plus(IterDataPipe):
        def __init__(self, source, by):
            self.source, self.by = source, by

        def __iter__(self):
            for x in self.source:
                yield x + self.by

    try:
        assert list(numbers(3).plus_of_mine(5)) == [5, 6, 7]
        with pytest.raises(ValueError, match="already taken"):
            functional_datapipe("plus_of_mine")(Plus)
        with pytest.raises(AttributeError, match="plus_of_mine"):
            _ = MapDataPipe().plus_of_mine
    finally:
        del IterDataPipe.functions["plus_of_mine"]
    assert isinstance(numbers(), data.IterableDataset) and isinstance(MapDataPipe(), data.Dataset)


def test_pipes_travel():
    pipe = numbers(5).map(double).batch(2)
    assert list(pickle.loads(pickle.dumps(pipe))) == list(pipe)


def test_files(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("b.txt", "a.txt", "c.bin", "inner/d.txt"):
        (tmp_path / name).write_text(name)
    found = pipes.FileLister(str(tmp_path), "*.txt", recursive=True)
    assert [path.removeprefix(str(tmp_path) + "/") for path in found] == [
        "a.txt",
        "b.txt",
        "inner/d.txt",
    ]
    assert [text for _, text in found.open_files().read_from_stream()] == [
        "a.txt",
        "b.txt",
        "inner/d.txt",
    ]
    assert [text for _, text in found.open_files("rb").read_from_stream(3)][:2] == [b"a.t", b"xt"]


@pytest.mark.parity
def test_orders_are_those_of_pytorch():
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.utils.data.datapipes import iter as theirs
        from torch.utils.data.datapipes import map as their_maps

        for seed in (0, 3):
            expected = list(theirs.IterableWrapper(range(50)).shuffle(buffer_size=7).set_seed(seed))
            assert list(numbers(50).shuffle(buffer_size=7).set_seed(seed)) == expected
            expected = list(their_maps.SequenceWrapper(range(50)).shuffle().set_seed(seed))
            assert list(map_pipes.SequenceWrapper(range(50)).shuffle().set_seed(seed)) == expected
        grouped = {
            "group_key_fn": lambda x: x * x % 7,
            "buffer_size": 9,
            "group_size": 4,
            "guaranteed_group_size": 1,
        }
        expected = [list(g) for g in theirs.Grouper(theirs.IterableWrapper(range(60)), **grouped)]
        assert list(pipes.Grouper(numbers(60), **grouped)) == expected
