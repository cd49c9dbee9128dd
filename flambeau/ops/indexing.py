"""Reading and writing at places given by index tensors and masks."""

from __future__ import annotations

from flambeau._base import numpy
from flambeau.types import by_name

from .family.opaque import adopt, ndarray
from .family.pointwise import type_name
from .memory import begin_write, memory, raw
from .modes import state
from .op import Op, is_tensor
from .tape import Rule

INT64 = by_name("int64")
INDEX_TYPES = ("int64", "int32", "bool", "uint8")
NOT_INDEX = "tensors used as indices must be long, int, byte or bool tensors"


def key_of(indices):
    """NumPy's key for index tensors; None stands for a whole dimension."""
    key = []
    for index in indices:
        if index is None:
            key.append(slice(None))
        else:
            array = ndarray(index)
            key.append(array.astype(numpy.bool_) if array.dtype == numpy.uint8 else array)
    return tuple(key)


def check_indices(source, indices):
    """Raises where index tensors of these layouts do not fit a tensor of layout `source`."""
    place = 0
    for index in indices:
        if index is None:
            place += 1
            continue
        layout = index.layout
        if layout.dtype.name not in INDEX_TYPES:
            raise IndexError(NOT_INDEX)
        if layout.dtype.name not in ("bool", "uint8"):
            place += 1
        else:
            have = source.shape[place : place + layout.ndim]
            for k, n in enumerate(layout.shape):
                if k >= len(have) or have[k] != n:
                    if place + k >= source.ndim:
                        break
                    raise IndexError(
                        f"The shape of the mask {list(layout.shape)} at index {k} does not match "
                        "the shape of the "
                        f"indexed tensor {list(source.shape)} at index {place + k}"
                    )
            place += layout.ndim
    if place > source.ndim:
        raise IndexError(f"too many indices for tensor of dimension {source.ndim}")


def index_error(error, key=()):
    """NumPy's complaint about an index in PyTorch's words."""
    text = str(error)
    if "shape mismatch" in text or "could not be broadcast" in text:
        shapes = ", ".join(str(list(_places(k))) for k in key if not isinstance(k, slice))
        return IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        )
    return IndexError(text.replace("axis", "dimension"))


def _places(key):
    return (int(key.sum()),) if key.dtype == numpy.bool_ else key.shape


class Indexed(Op):
    """An op whose `indices` are no differentiable inputs, and may be None."""

    family = "index"

    def rule(self, args):
        tensors = frozenset(
            a.name
            for a, v in zip(self.schema.arguments, args, strict=True)
            if not a.list and is_tensor(v)
        )
        found = self._rules.get(tensors)
        if found is None:
            names = [a.name for a in self.schema.arguments]
            gradients = {n: f for n, f in self.gradients.items() if n in tensors}
            node_name = self.name.strip("_").title().replace("_", "") + "Backward0"
            found = self._rules[tensors] = Rule(
                node_name, names, tensors, frozenset(), ["result"], gradients
            )
        return found

    def recording(self, args):
        """record(result, args) where some input has a history, else nothing."""
        record = self.recorder(args) if self.gradients else None

        def note(result, args):
            if (
                record is not None
                and state.grad
                and any(is_tensor(a) and a._node is not None for a in args)
            ):
                record(result, *args)
            return result

        return note


class _Index(Indexed):
    def plan(self, args):
        source, indices = args[0].layout, args[1]
        check_indices(source, indices)
        if source.device.type == "meta":
            raise NotImplementedError("index is not available on the meta device")
        rows = len(indices) == 1 and indices[0].layout.dtype is INT64
        note = self.recording(args)

        def read(tensor, indices):
            array = ndarray(tensor)
            try:
                if rows:
                    made = array.take(ndarray(indices[0]), axis=0)
                else:
                    key = key_of(indices)
                    made = numpy.asarray(array[key], order="C")
            except IndexError as error:
                raise index_error(error, key_of(indices)) from None
            return note(adopt(numpy.asarray(made)), (tensor, indices))

        return read


def _spread_back(grad, layout, indices):
    return index_put_in_place(grad.new_zeros(layout.shape), indices, grad, True)


index = _Index(
    "aten::index(Tensor self, Tensor[] indices) -> Tensor",
    """The elements at the places that index tensors and masks give; None is a whole dimension.""",
    dict(self=lambda grad, self_layout, indices: _spread_back(grad, self_layout, indices)),
    method=False,
    function=False,
)


def add_rows(target, rows, values):
    """``target[rows] += values`` with repeated rows, in the order of `values`: sorted stably, then
    folded by runs.
    """
    rows, count = rows.reshape(-1), rows.size
    values = values.reshape(count, *target.shape[1:])
    if not count:
        return
    if target.dtype.kind == "b":
        numpy.logical_or.at(target, rows, values)
        return
    length = target.shape[0]
    outside = (rows < -length) | (rows >= length)
    if outside.any():
        raise IndexError(
            f"index {rows[outside][0]} is out of bounds for dimension 0 with size {length}"
        )
    rows = numpy.where(rows < 0, rows + length, rows)
    order = numpy.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = numpy.flatnonzero(numpy.concatenate(([True], ordered[1:] != ordered[:-1])))
    half = target.dtype.itemsize == 2 and target.dtype.kind not in "iu"
    wide = values[order].astype(numpy.float32) if half else values[order]
    sums = numpy.add.reduceat(wide, starts, axis=0, dtype=wide.dtype)
    places = ordered[starts]
    target[places] = (target[places].astype(sums.dtype) + sums).astype(target.dtype)


def put(array, key, values, accumulate):
    """Writes (or adds) broadcast `values` at `key`, in the order of the indices."""
    try:
        if not accumulate:
            array[key] = values
            return
        single = len(key) == 1 and not isinstance(key[0], slice) and key[0].dtype.kind == "i"
        if single:
            shape = (*key[0].shape, *array.shape[1:])
            add_rows(array, key[0], numpy.broadcast_to(values, shape))
        elif array.dtype.kind == "b":
            numpy.logical_or.at(array, key, values)
        else:
            numpy.add.at(array, key, values)
    except IndexError as error:
        raise index_error(error, key) from None
    except ValueError:
        try:
            made = numpy.broadcast_to(numpy.int8(0), array.shape)[key].shape
        except IndexError as error:
            raise index_error(error, key) from None
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to "
            "indexing result of "
            f"shape {list(made)}"
        ) from None


class _IndexPut(Indexed):
    inplace_form = True

    def check(self, args):
        target, indices, values = args[0].layout, args[1], args[2].layout
        check_indices(target, indices)
        if target.dtype is not values.dtype:
            raise RuntimeError(
                "Index put requires the source and destination dtypes match, got "
                f"{type_name(target.dtype)} for the destination and {type_name(values.dtype)} for "
                "the source."
            )

    def plan(self, args):
        self.check(args)
        note = self.recording(args)

        def write(tensor, indices, values, accumulate):
            made = numpy.array(ndarray(tensor), order="C")
            put(made, key_of(indices), ndarray(values), accumulate)
            return note(adopt(made), (tensor, indices, values, accumulate))

        return write

    def plan_inplace(self, args):
        self.check(args)

        def write(tensor, indices, values, accumulate):
            begin_write(tensor)
            key = key_of(indices)
            layout = tensor.layout
            if layout.numel:
                put(memory(tensor), key, raw(ndarray(values), layout), accumulate)
            tensor.storage.version += 1
            return tensor

        return write


index_put = _IndexPut(
    "aten::index_put(Tensor self, Tensor[] indices, Tensor values, bool accumulate=False) -> "
    "Tensor",
    """`self` with `values` written (or added) at the places that the index tensors give.""",
    dict(
        self=lambda grad, values_layout, indices, accumulate: grad if accumulate else index_put(
            grad, indices, grad.new_zeros(()), False
        ),
        values=lambda grad, values_layout, indices: _summed(index(grad, indices), values_layout),
    ),
)  # fmt: skip


def _summed(grad, layout):
    """A gradient of broadcast values, summed to their layout (extra leading dimensions of size 1
    are put back).
    """
    shape = layout.shape
    core = shape
    while len(core) > grad.layout.ndim:
        core = core[1:]
    return grad.sum_to_size(core).reshape(shape)


def index_put_in_place(target, indices, values, accumulate):
    """``target.index_put_``."""
    return index_put.inplace(target, indices, values, accumulate)
