"""Reading and writing at places given by index tensors and masks."""

from __future__ import annotations

from flambeau import ir
from flambeau.types import dense_order, layout, meta

from .creation import make_empty
from .facts import tell
from .family import Buffer
from .family.arrays import ndarray
from .family.indexed import At, IndexedSteps, finish, viewed
from .family.launch import Slots, broadcast, expand
from .family.pointwise import check_target, type_name
from .masks import Chosen, masked_fill
from .modes import state
from .op import Op, find, is_tensor
from .promotion import compute_type
from .tape import Rule

MASKS = ("bool", "uint8")
INDEX_TYPES = ("int64", "int32", "bool", "uint8")
NOT_INDEX = "tensors used as indices must be long, int, byte or bool tensors"


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
                        f"the shape of the indexed tensor {list(source.shape)} at index {place + k}"
                    )
            place += layout.ndim
    if place > source.ndim:
        raise IndexError(f"too many indices for tensor of dimension {source.ndim}")


def common_shape(indices):
    """What the index tensors broadcast to."""
    try:
        return broadcast([i.layout.shape for i in indices])
    except RuntimeError:
        shapes = ", ".join(str(list(i.layout.shape)) for i in indices)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None


def placed(buffer, indices):
    """The view of a buffer at the places that index buffers (None: the whole dimension) name, those
    places, and the dimensions of the view that the indices make up.

    These stand where the first index is, or first of all where the indices are apart.
    """
    layout, tensors = buffer.layout, [i for i in indices if i is not None]
    common = common_shape(tensors)
    indices = [*indices, *[None] * (layout.ndim - len(indices))]
    at = [d for d, i in enumerate(indices) if i is not None]
    lead = at[0] if at[-1] - at[0] < len(at) else 0
    rest = [d for d in range(layout.ndim) if d not in at]
    before, behind = rest[:lead], rest[lead:]
    shape, strides = (
        (*(v[d] for d in before), *middle, *(v[d] for d in behind))
        for v, middle in ((layout.shape, common), (layout.strides, (0,) * len(common)))
    )
    view = viewed(buffer, shape, strides)
    places = []
    for d in at:
        spread = expand(indices[d].layout, common)
        steps = (0,) * len(before) + spread.strides + (0,) * len(behind)
        step = layout.strides[d] * layout.itemsize
        places.append(At(viewed(indices[d], shape, steps), (view,), step, layout.shape[d], True))
    return view, places, range(lead, lead + len(common))


def unmasked(indices):
    """The index tensors, masks replaced by the places where they hold."""
    found = []
    for index in indices:
        if index is None or index.layout.dtype.name not in MASKS:
            found.append(index)
        else:
            found += find("nonzero").door(index).unbind(1)
    return tuple(found)


def out_of_bounds(self, indices, *rest):
    """The error for the first index that is out of range."""
    for d, index in enumerate(indices):
        if index is not None and self.layout.numel:
            size = self.layout.shape[d]
            array = ndarray(index)
            wrong = array[(array < -size) | (array >= size)]
            if wrong.size:
                return IndexError(
                    f"index {wrong.flat[0]} is out of bounds for dimension {d} with size {size}"
                )
    return IndexError("index is out of bounds for dimension with size 0")


class _ByList(Op):
    """An op whose `indices` are no differentiable inputs, and may be None."""

    family = "indexed"

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

    def launcher(self, build, args, written=False):
        """The launcher of ``build(steps, self, indices, *rest)``, which takes ``self, *indices,
        *rest``.
        """
        given = (args[0], *args[1], *args[2:])
        slots, steps = Slots(), IndexedSteps(args[0].layout.device)
        steps.guarded = written
        buffers = []
        for position, value in enumerate(given):
            if is_tensor(value):
                slots.tensor(value.layout)
                value = Buffer(value.layout, position)
            else:
                slots.skip()
            buffers.append(value)
        last = 1 + len(args[1])
        build(steps, buffers[0], buffers[1:last], *buffers[last:])

        def fail(code, *given):
            raise tell(self, args := regrouped(given), out_of_bounds(*args))

        def regrouped(given):
            return (given[0], given[1:last], *given[last:])

        if steps.device is meta:
            made = [layout for layout, _ in steps.fresh if layout is not None]
            return lambda tensor, *rest: tensor if written else make_empty(made[0])
        return finish(steps, slots, None, fail, "m" if written else "t")


class _Index(_ByList):
    def plan(self, args):
        source, indices = args[0].layout, args[1]
        check_indices(source, indices)
        record = self.recorder(args)
        if any(i is not None and i.layout.dtype.name in MASKS for i in indices):
            if len(indices) == 1:
                return lambda tensor, indices: rows_where.door(tensor, indices[0])
            return lambda tensor, indices: index.door(tensor, unmasked(indices))
        launcher = self.launcher(_read, args)

        def read(tensor, indices):
            made = launcher(tensor, *indices)
            if tensor._node is not None and state.grad:
                record(made, tensor, indices)
            return made

        return read


def _read(steps, source, indices):
    view, places, _ = placed(source, indices)
    shape, orders = view.layout.shape, [b.layout.strides for b in (view, *(p.by for p in places))]
    made = layout(shape, dense_order(shape, orders), source.dtype, steps.device)
    steps.indexed(lambda value: (value,), [steps.result_as(made)], [view], places)


def _spread_back(grad, layout, indices):
    return index_put_in_place(grad.new_zeros(layout.shape), indices, grad, True)


class _RowsWhere(Chosen):
    def check(self, source, mask):
        check_indices(source.layout, (mask,))

    def shapes(self, source, mask):
        return mask.shape, source.shape[mask.ndim :]


rows_where = _RowsWhere(
    "aten::_rows_where(Tensor self, Tensor mask) -> Tensor",
    """The elements of the first dimensions that `mask` holds for: [count, …].""",
    dict(self=lambda grad, self_layout, mask: _spread_back(grad, self_layout, (mask,))),
    method=False,
    function=False,
)


index = _Index(
    "aten::index(Tensor self, Tensor?[] indices) -> Tensor",
    """The elements at the places that index tensors and masks give; None is a whole dimension.""",
    dict(self=lambda grad, self_layout, indices: _spread_back(grad, self_layout, indices)),
    method=False,
    function=False,
)


def _bool(mask, behind):
    """A mask with dimensions of size 1 behind its own."""
    mask = mask if mask.layout.dtype.name == "bool" else mask.bool()
    return mask.reshape((*mask.layout.shape, *behind)) if behind else mask


def _write(steps, target, indices, values, accumulate):
    wide = compute_type(target.dtype) if accumulate else target.dtype
    dense = target
    if wide is not target.dtype:
        dense = steps.scratch(target.layout.shape, wide)
        steps.copy(dense, target)
    view, places, order = placed(dense, indices)
    try:
        values = Buffer(expand(values.layout, view.layout.shape), values.source)
    except RuntimeError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.layout.shape)} cannot be "
            f"broadcast to indexing result of shape {list(view.layout.shape)}"
        ) from None
    if accumulate:
        steps.indexed(
            lambda old, new: (old + ir.cast(new, wide),), [view], [view, values], places, order
        )
        if dense is not target:
            steps.copy(target, dense)
    else:
        steps.indexed(lambda new: (new,), [view], [values], places, order)


def _put(steps, source, indices, values, accumulate):
    target = steps.result_like(source.layout, source.dtype)
    steps.copy(target, source)
    _write(steps, target, indices, values, accumulate)


class _IndexPut(_ByList):
    inplace_form = True
    apart = True

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
        record = self.recorder(args)
        if self.masked(args):
            return lambda t, indices, *rest: self.door(t, unmasked(indices), *rest)
        launcher = self.launcher(_put, args)

        def write(tensor, indices, values, accumulate):
            made = launcher(tensor, *indices, values, accumulate)
            if (tensor._node is not None or values._node is not None) and state.grad:
                record(made, tensor, indices, values, accumulate)
            return made

        return write

    def plan_inplace(self, args):
        self.check(args)
        check_target(args[0].layout, args[0].layout.shape, args[0].layout.dtype)
        if self.masked(args):
            if len(args[1]) == 1 and args[2].layout.numel == 1 and not args[3]:
                behind = (1,) * (args[0].layout.ndim - args[1][0].layout.ndim)
                return lambda t, indices, values, _: masked_fill.inplace(
                    t, _bool(indices[0], behind), values.reshape(())
                )
            return lambda t, indices, *rest: self.inplace(t, unmasked(indices), *rest)
        launcher = self.launcher(_write, args, written=True)
        return lambda tensor, indices, *rest: launcher(tensor, *indices, *rest)

    def masked(self, args):
        return any(i is not None and i.layout.dtype.name in MASKS for i in args[1])


index_put = _IndexPut(
    "aten::index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> "
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
