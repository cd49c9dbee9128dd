"""From a list of samples to a batch."""

import collections.abc
import copy

from flambeau._base import numpy
from flambeau.tensor import Tensor
from flambeau.types import by_name

from .info import get_worker_info
from .tensors import as_tensor, from_numpy, stack, tensor

_FLOAT64 = by_name("float64")


def default_convert(data):
    """`data` with the NumPy arrays and numbers in it as tensors; all else, and the containers, stay
    as they are.
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, numpy.ndarray | numpy.generic):
        return data if data.dtype.kind in "USO" else as_tensor(data)
    if isinstance(data, collections.abc.Mapping):
        return _same_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, collections.abc.Sequence) and not isinstance(data, str | bytes):
        return _same_sequence(data, [default_convert(value) for value in data])
    return data


def default_collate(batch):
    """The samples of `batch` joined: a tensor with a new first dimension for tensors, arrays and
    numbers.

    Strings and bytes stay a list. Mappings, named tuples, tuples and lists are joined field by
    field; a tuple becomes a list. What else is in a sample raises TypeError, unless
    `default_collate_fn_map` names its type.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch, *, collate_fn_map=None):
    """`default_collate` with another table from types, or tuples of types, to functions.

    The functions are called as ``function(batch, collate_fn_map=...)``.
    """
    sample = batch[0]
    table = collate_fn_map or {}
    if type(sample) in table:
        return table[type(sample)](batch, collate_fn_map=collate_fn_map)
    for kind, function in table.items():
        if isinstance(sample, kind):
            return function(batch, collate_fn_map=collate_fn_map)

    if isinstance(sample, collections.abc.Mapping):
        fields = {
            key: collate([other[key] for other in batch], collate_fn_map=collate_fn_map)
            for key in sample
        }
        return _same_mapping(sample, fields)
    if not isinstance(sample, collections.abc.Sequence):
        raise TypeError(default_collate_err_msg_format.format(type(sample)))
    if not isinstance(sample, tuple) or not hasattr(sample, "_fields"):
        if any(len(other) != len(sample) for other in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
    columns = [
        collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=True)
    ]
    if isinstance(sample, tuple):
        return type(sample)(*columns) if hasattr(sample, "_fields") else columns
    return _same_sequence(sample, columns)


default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


def _same_mapping(data, fields):
    """`fields` in a mapping like `data`, which may have attributes of its own; in a dict if that
    cannot be made.
    """
    try:
        if not isinstance(data, collections.abc.MutableMapping):
            return type(data)(fields)
        made = copy.copy(data)
        made.update(fields)
        return made
    except TypeError:
        return fields


def _same_sequence(data, values):
    """`values` in a sequence like `data`; in a list if that cannot be made (a range)."""
    try:
        if not isinstance(data, collections.abc.MutableSequence):
            return type(data)(values)
        made = copy.copy(data)
        for place, value in enumerate(values):
            made[place] = value
        return made
    except TypeError:
        return values


def collate_tensor_fn(batch, *, collate_fn_map=None):
    """In a worker NumPy stacks: history cannot leave the process, and a forked child has no kernel
    threads.
    """
    if get_worker_info() is None:
        return stack(list(batch), 0)
    shapes = {tuple(sample.shape) for sample in batch}
    if len(shapes) > 1:
        first, other = tuple(batch[0].shape), next(s for s in shapes if s != tuple(batch[0].shape))
        place = [tuple(sample.shape) for sample in batch].index(other)
        raise RuntimeError(
            f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
            f"{list(other)} at entry {place}"
        )
    return from_numpy(numpy.stack([sample.numpy(force=True) for sample in batch]))


def collate_numpy_array_fn(batch, *, collate_fn_map=None):
    if batch[0].dtype.kind in "USO":
        raise TypeError(default_collate_err_msg_format.format(batch[0].dtype))
    return collate([as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch, *, collate_fn_map=None):
    return as_tensor(numpy.stack(batch))


def collate_float_fn(batch, *, collate_fn_map=None):
    return tensor(list(batch), dtype=_FLOAT64)


def collate_int_fn(batch, *, collate_fn_map=None):
    return tensor(list(batch))


def collate_str_fn(batch, *, collate_fn_map=None):
    return batch


default_collate_fn_map = {
    Tensor: collate_tensor_fn,
    numpy.ndarray: collate_numpy_array_fn,
    (numpy.bool_, numpy.number, numpy.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}
