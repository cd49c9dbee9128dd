"""From an index, or a list of them, to a batch: what a loader does in its own process or in a
worker.
"""

from .collate import default_collate
from .dataset import IterableDataset, Subset, TensorDataset, samples_at
from .info import get_worker_info


class Fetcher:
    """Reads a dataset with keys. `batched` says that an index is a list of keys and the result a
    batch.
    """

    def __init__(self, dataset, batched, collate):
        self.dataset, self.batched, self.collate = dataset, batched, collate

    def fetch(self, index):
        """The batch at `index`. An exception gets a note that says which sample was read."""
        if not self.batched:
            with _Noting([index], single=True):
                return self.collate(self.dataset[index])
        if self.collate is default_collate:
            rows = _rows_of_tensors(self.dataset, index)
            if rows is not None:
                return rows
        if callable(getattr(self.dataset, "__getitems__", None)):
            with _Noting(index):
                samples = samples_at(self.dataset, index)
        else:
            noting = _Noting([None], single=True)
            with noting:
                samples = []
                for noting.keys[0] in index:
                    samples.append(self.dataset[noting.keys[0]])
        with _Noting(index):
            return self.collate(samples)


class _Noting:
    """A block whose exceptions get a note of the keys that were being loaded."""

    __slots__ = ("keys", "single")

    def __init__(self, keys, single=False):
        self.keys, self.single = keys, single

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Exception):
            what = described(self.keys[0] if self.single else self.keys)
            error.add_note(f"This was raised while loading {what}.")


def described(keys) -> str:
    """What is loaded for a key, or for the list of keys of a batch."""
    if not isinstance(keys, list):
        return "the next sample" if keys is None else f"dataset[{keys!r}]"
    if keys and keys[0] is None:
        return f"the next {len(keys)} samples"
    shown = ", ".join(repr(key) for key in keys[:8])
    return f"the batch of dataset[{shown}{', ...' if len(keys) > 8 else ''}]"


def _rows_of_tensors(dataset, index):
    """The batch of a `TensorDataset`, or a `Subset` of one, by one indexing per tensor; None for
    other datasets.

    In a worker it is None too: see `flambeau.data.collate`. So it is for subclasses, which may have
    their own samples.
    """
    if get_worker_info() is not None:
        return None
    while type(dataset) is Subset:
        dataset, index = dataset.dataset, [dataset.indices[key] for key in index]
    return dataset.batch(index) if type(dataset) is TensorDataset else None


class StreamFetcher:
    """Reads a dataset that is a stream. An index tells only how many samples make a batch."""

    def __init__(self, dataset, batched, collate, drop_last):
        self.batched, self.collate, self.drop_last = batched, collate, drop_last
        self.samples = iter(dataset)
        self.ended = False

    def fetch(self, index):
        """The next batch; StopIteration where the stream has none left."""
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate(next(self.samples))
        batch = []
        for _ in index:
            try:
                batch.append(next(self.samples))
            except StopIteration:
                self.ended = True
                break
        if not batch or (self.drop_last and len(batch) < len(index)):
            raise StopIteration
        return self.collate(batch)


def fetcher(dataset, batched, collate, drop_last):
    """The fetcher for that kind of dataset."""
    if isinstance(dataset, IterableDataset):
        return StreamFetcher(dataset, batched, collate, drop_last)
    return Fetcher(dataset, batched, collate)
