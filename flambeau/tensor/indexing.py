"""``tensor[...]``: reading and writing with integers, slices, None, Ellipsis, masks and index
tensors.

What a view can express is one; index tensors and masks that remain go to the ops `index` and
`index_put`.
"""

import operator
import warnings

from flambeau._base import explain, numpy
from flambeau.ops import find, modes
from flambeau.types import by_name

from .convert import _make, share, type_text
from .tensor import Tensor

BOOL, INT64 = by_name("bool"), by_name("int64")
_NUMBERS = (bool, int, float, complex)
interpreters = modes.interpreters
_select, _slice, _unsqueeze, _index, _index_put, _masked_fill = map(
    find, ("select", "slice", "unsqueeze", "index", "index_put", "masked_fill")
)
_row_plans = _select.plans
_NO_INDEX = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ "
    "to convert a 0-dim tensor to a number"
)
_BAD = (
    "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
    "indices (got {})"
)
_LEGACY = (
    "Using a non-tuple sequence for multidimensional indexing is deprecated and will be changed "
    "in pytorch 2.9; use x[tuple(seq)] instead of x[seq]. In pytorch 2.9 this will be interpreted "
    "as tensor index, x[torch.tensor(seq)], which will result either in an error or a different "
    "result"
)


def get_item(self, index):
    """``self[index]``."""
    kind = index.__class__
    if kind is int:
        layout = self.layout
        if not layout.shape:
            raise explain(IndexError, _NO_INDEX)
        n = layout.shape[0]
        if not -n <= index < n:
            raise explain(
                IndexError, f"index {index} is out of bounds for dimension 0 with size {n}"
            )
        plan = None if interpreters else _row_plans.get((layout, 0, None))
        return _select.door(self, 0, index) if plan is None else plan(self, 0, index)
    if kind is slice:
        return _sliced(self, 0, index) if self.layout.ndim else _no_slice()
    if index is None:
        return _unsqueeze.door(self, 0)
    if kind is Tensor and index.layout.ndim and self.layout.ndim:
        return _index.door(self, (index,))
    view, key = _apply(self, _as_tuple(index))
    if key:
        return _index.door(view, key)
    return find("alias").door(self) if view is self else view


def set_item(self, index, value):
    """``self[index] = value``."""
    if index is False:
        return
    kind = index.__class__
    if kind is Tensor and value.__class__ in _NUMBERS and _is_mask(index.layout, self.layout):
        missing = self.layout.ndim - index.layout.ndim
        mask = index.reshape(*index.layout.shape, *[1] * missing) if missing else index
        _masked_fill.inplace(self, mask, _value(self, value))
        return
    if kind is int and self.layout.ndim:
        n = self.layout.shape[0]
        if not -n <= index < n:
            raise explain(
                IndexError, f"index {index} is out of bounds for dimension 0 with size {n}"
            )
        view, key = _select.door(self, 0, index), None
    else:
        view, key = _apply(self, _as_tuple(index))
    value = _value(self, value)
    if not key:
        _assign(view, value)
        return
    if not isinstance(value, Tensor):
        value = view.new_full((), value)
    elif value.layout.dtype is not view.layout.dtype and value.layout.ndim == 0:
        value = value.to(view.layout.dtype)
    _index_put.inplace(view, key, value, False)


def _is_mask(index, layout):
    """Whether an index of that layout is a mask over the first dimensions."""
    return index.dtype is BOOL and index.ndim > 0 and index.shape == layout.shape[: index.ndim]


def _assign(view, value):
    if not isinstance(value, Tensor):
        view.fill_(value)
        return
    shape, wanted = value.layout.shape, view.layout.shape
    if shape != wanted:
        while len(shape) > len(wanted) and shape[0] == 1:
            shape = shape[1:]
        if shape != value.layout.shape:
            value = value.reshape(shape)
        value = find("expand").door(value, wanted)
    view.copy_(value)


def _value(self, value):
    """What is assigned: a tensor, or a Python number that the dtype takes."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, numpy.generic):
        value = value.item()
    if not isinstance(value, bool | int | float | complex):
        if hasattr(value, "__index__") and not isinstance(value, numpy.ndarray):
            return operator.index(value)
        kind = type(value)
        name = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        raise TypeError(f"can't assign a {name} to a {type_text(self.layout.dtype)}")
    if isinstance(value, complex) and self.layout.dtype.kind != "c":
        if value.imag:
            name = {"float32": "float", "float64": "double"}.get(
                self.layout.dtype.name, self.layout.dtype.name
            )
            raise RuntimeError(f"value cannot be converted to type {name} without overflow")
        value = value.real
    return value


def _as_tuple(index):
    """The items of an index: a lone item, or those of a tuple (or of a list that PyTorch takes for
    one).
    """
    if index.__class__ is tuple:
        return index
    if isinstance(index, tuple):
        return tuple(index)
    if isinstance(index, list) and len(index) < 32 and any(map(_is_nested, index)):
        warnings.warn(_LEGACY, stacklevel=3)
        return tuple(index)
    return (index,)


def _is_nested(item):
    return (
        item is None
        or item is Ellipsis
        or isinstance(item, slice | list | tuple | Tensor | numpy.ndarray)
    )


def _no_slice():
    raise explain(IndexError, "slice() cannot be applied to a 0-dim tensor.")


def _is_full(item):
    return item.start is None and item.stop is None and item.step is None


def _sliced(self, dim, item):
    if _is_full(item):
        return _slice.door(self, dim, None, None, 1)
    step = 1 if item.step is None else _bound(item.step)
    if step <= 0:
        raise ValueError(
            "slice step cannot be zero" if step == 0 else "step must be greater than zero"
        )
    return _slice.door(self, dim, _bound(item.start), _bound(item.stop), step)


def _bound(value):
    if value is None or value.__class__ is int:
        return value
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            "slice indices must be integers or None or have an __index__ method"
        ) from None


def _convert(item):
    """An item of an index in its own form: int, bool, slice, None, Ellipsis, or a tensor."""
    kind = item.__class__
    if kind is int or kind is slice or item is None or item is Ellipsis or kind is bool:
        return item
    if isinstance(item, Tensor):
        layout = item.layout
        if layout.ndim == 0 and layout.dtype.kind in "iu" and layout.dtype.name != "uint8":
            return int(item.item())
        if layout.ndim == 0 and layout.dtype.name in ("bool", "uint8"):
            return bool(item.item())
        return item
    if isinstance(item, numpy.ndarray):
        if item.ndim == 0:
            return _convert(item[()])
        return (
            share(item)
            if item.flags.writeable and min(item.strides, default=0) >= 0
            else _make(item, None, None)
        )
    if isinstance(item, numpy.bool_):
        return bool(item)
    if isinstance(item, str):
        raise TypeError("new(): invalid data type 'str'")
    if isinstance(item, list | tuple | range):
        made = _make(item, None, None)
        return made.to(INT64) if made.layout.numel == 0 else made
    if hasattr(item, "__index__"):
        return operator.index(item)
    raise explain(IndexError, _BAD.format(type(item).__name__))


def _covers(item):
    """How many dimensions of the tensor an item stands for."""
    if item is None or item is Ellipsis or item.__class__ is bool:
        return 0
    if isinstance(item, Tensor) and item.layout.dtype.name in ("bool", "uint8"):
        return item.layout.ndim
    return 1


def _apply(self, items):
    """The view that integers, slices, None and Ellipsis make of `self`, and the index tensors that
    remain.
    """
    items = [_convert(item) for item in items]
    ndim = self.layout.ndim
    covered = sum(map(_covers, items))
    if covered > ndim:
        if ndim == 0 and all(item.__class__ is int for item in items):
            raise explain(IndexError, _NO_INDEX)
        if ndim == 0 and items[0].__class__ is slice:
            _no_slice()
        raise explain(IndexError, f"too many indices for tensor of dimension {ndim}")
    view, dim, key, keyed, place = self, 0, [], 0, 0
    for item in items:
        kind = item.__class__
        if kind is int:
            n = view.layout.shape[dim]
            if not -n <= item < n:
                raise explain(
                    IndexError, f"index {item} is out of bounds for dimension {place} with size {n}"
                )
            view = _select.door(view, dim, item)
            place += 1
        elif kind is slice:
            if not _is_full(item):
                view = _sliced(view, dim, item)
            dim, place = dim + 1, place + 1
        elif item is None:
            view = _unsqueeze.door(view, dim)
            dim += 1
        elif item is Ellipsis:
            dim, place = dim + ndim - covered, place + ndim - covered
            covered = ndim  # a second one stands for nothing
        else:
            if kind is bool:
                view = _unsqueeze.door(view, dim)
                item = view.new_zeros((int(item),), dtype=INT64)
                width = 1
            else:
                width = _covers(item)
                place += width
            key += [None] * (dim - keyed) + [item]
            dim = keyed = dim + width
    return view, tuple(key)


def install():
    """Puts the methods on the class."""
    Tensor.__getitem__, Tensor.__setitem__ = get_item, set_item
