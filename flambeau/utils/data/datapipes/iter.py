"""Pipes that give samples one after the other: PyTorch's `torch.utils.data.datapipes.iter`."""

from flambeau._base import missing
from flambeau.data import pipes as _made

Batcher, Collator, Concater, FileLister = (
    _made.Batcher,
    _made.Collator,
    _made.Concater,
    _made.FileLister,
)
Demultiplexer, Forker = _made.demux, _made.fork
FileOpener, Filter, Grouper = _made.FileOpener, _made.Filter, _made.Grouper
IterableWrapper, Mapper, Multiplexer = _made.IterableWrapper, _made.Mapper, _made.Multiplexer
Sampler, ShardingFilter, Shuffler = _made.Sampler, _made.ShardingFilter, _made.Shuffler
StreamReader, UnBatcher, Zipper = _made.StreamReader, _made.UnBatcher, _made.Zipper
__getattr__ = missing(globals())
__all__ = [
    "Batcher",
    "Collator",
    "Concater",
    "Demultiplexer",
    "FileLister",
    "FileOpener",
    "Filter",
    "Forker",
    "Grouper",
    "IterableWrapper",
    "Mapper",
    "Multiplexer",
    "Sampler",
    "ShardingFilter",
    "Shuffler",
    "StreamReader",
    "UnBatcher",
    "Zipper",
]
