"""Pipes whose samples have keys: PyTorch's `torch.utils.data.datapipes.map`."""

from flambeau._base import missing
from flambeau.data import map_pipes as _made

Batcher, Concater, Mapper = _made.Batcher, _made.Concater, _made.Mapper
SequenceWrapper, Shuffler, Zipper = _made.SequenceWrapper, _made.Shuffler, _made.Zipper
__getattr__ = missing(globals())
__all__ = ["Batcher", "Concater", "Mapper", "SequenceWrapper", "Shuffler", "Zipper"]
