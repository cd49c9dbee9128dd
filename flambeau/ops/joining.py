"""Joining tensors: cat, stack and their kin; opaque ops that check their arguments."""

from flambeau import runtime
from flambeau._base import numpy
from flambeau.types import channels_last, layout, looks_channels_last, row_major

from .family import Buffer, Steps
from .family.arrays import Opaque, ndarray
from .family.launch import Slots
from .family.reduction import wrap_dim
from .modes import state
from .op import Op, composite
from .promotion import result_type
from .views import slice_


class Checked(Opaque):
    """An opaque op whose arguments are checked once for each kind: ``check(*args)`` raises."""

    def __init__(self, schema, doc, run, gradients, check, **options):
        super().__init__(schema, doc, run, gradients, **options)
        self.check = check

    def plan(self, args):
        self.check(*args)
        return super().plan(args)


def checked(schema, doc, *, run, check, grad=None, **options):
    """Declares an opaque op with a check: see `Checked`."""
    return Checked(schema, doc, run, grad, check, **options)


# Joining.


def _check_cat(tensors, dim):
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    layouts = [t.layout for t in tensors]
    for i, x in enumerate(layouts):
        if not x.ndim:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    kept = [(i, x) for i, x in enumerate(layouts) if x.shape != (0,)] or [(0, layouts[0])]
    first = kept[0][1]
    dim = wrap_dim(dim, first.ndim)
    for i, x in kept[1:]:
        if x.ndim != first.ndim:
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {first.ndim} and {x.ndim}"
            )
        for d in range(first.ndim):
            if d != dim and x.shape[d] != first.shape[d]:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size "
                    f"{first.shape[d]} but got size {x.shape[d]} for tensor number {i} in the list."
                )


def _cat_gradients(grad, tensors_layout, dim):
    grads, start = [], 0
    for x in tensors_layout:
        if x.shape == (0,) and grad.layout.ndim != 1:
            grads.append(grad.new_zeros((0,)).to(x.dtype))
            continue
        d = wrap_dim(dim, x.ndim)
        part = slice_(grad, d, start, start + x.shape[d], 1)
        start += x.shape[d]
        grads.append(_as_part(part, x.dtype))
    return grads


def _as_part(grad, dtype):
    """A part of the gradient in the dtype of the tensor that it belongs to."""
    if grad.layout.dtype.kind == "c" and dtype.kind == "f":
        grad = grad.real
    return grad if grad.layout.dtype is dtype else grad.to(dtype)


class _Join(Op):
    """One block of memory, into which the tensors are copied: by one launch, or by NumPy where they
    are many.
    """

    family = "joining"
    apart_out = True

    def plan(self, args):
        tensors, dim = args
        _check_cat(tensors, dim)
        layouts = [t.layout for t in tensors]
        used = [i for i, x in enumerate(layouts) if x.shape != (0,)] or [0]
        axis = wrap_dim(dim, layouts[used[0]].ndim)
        return self.joiner([layouts[i] for i in used], axis, used, self.rule(args).record)

    def joiner(self, layouts, axis, used, record):
        """The plan for tensors of these layouts, which are number `used` of the list."""
        dtype, first = result_type(layouts), layouts[0]
        total = sum(x.shape[axis] for x in layouts)
        shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
        last = all(map(looks_channels_last, layouts))
        strides = channels_last(shape) if last else row_major(shape)
        made = layout(shape, strides, dtype, first.device)
        if first.device.type == "meta":
            return lambda *_: runtime.wrap(runtime.foreign(0, 0, None), made, 0)
        copy = _by_launch if len(layouts) <= _MANY else _by_array
        copied = copy(made, layouts, axis)

        def join(tensors, dim):
            out = copied(*[tensors[i] for i in used])
            if state.grad and any([t._node is not None for t in tensors]):
                record(None, out, tensors, dim)
            return out

        return join


_MANY = 16  # tensors from which a launch with a stage for each is not worth being compiled


def _by_launch(made, layouts, axis):
    slots, steps = Slots(), Steps(made.device)
    for x in layouts:
        slots.tensor(x)
    out, start = steps.result_as(made), 0
    for position, x in enumerate(layouts):
        part = out.narrow(axis, start, start := start + x.shape[axis])
        if x.numel:
            steps.copy(part, Buffer(x, position))
    return steps.launch("".join(slots.letters), tuple(slots.itemsizes), None)


def _by_array(made, layouts, axis):
    def join(*tensors):
        out = runtime.wrap(runtime.empty(made.nbytes), made, 0)
        if made.numel:
            pieces = [ndarray(t).reshape(x.shape) for t, x in zip(tensors, layouts, strict=True)]
            numpy.concatenate(pieces, axis, out=ndarray(out), casting="unsafe")
        return out

    return join


cat = _Join(
    "aten::cat(Tensor[] tensors, int dim=0) -> Tensor",
    """Tensors one after the other along an existing dimension.""",
    dict(tensors=_cat_gradients),
    method=False,
)


def alias_of(name, source):
    doc = f"""The same as `{source.name}`."""

    def body(*args):
        return source.door(*args)

    body.__doc__ = doc
    _, _, rest = source.text.partition("(")
    return composite(f"aten::{name}({rest}", method=source.method, function=source.function)(body)


concat, concatenate = alias_of("concat", cat), alias_of("concatenate", cat)


class _Stack(_Join):
    def plan(self, args):
        tensors, dim = args
        if not tensors:
            raise RuntimeError("stack expects a non-empty TensorList")
        shape = tensors[0].layout.shape
        axis = wrap_dim(dim, len(shape) + 1)
        for i, t in enumerate(tensors):
            if t.layout.shape != shape:
                raise RuntimeError(
                    f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 "
                    f"and {list(t.layout.shape)} at entry {i}"
                )
        layouts = [unsqueezed(t.layout, axis) for t in tensors]
        return self.joiner(layouts, axis, range(len(tensors)), self.rule(args).record)


def unsqueezed(source, axis):
    """The layout with a dimension of size 1 at `axis`."""
    shape, strides = source.shape, source.strides
    step = shape[axis] * strides[axis] if axis < source.ndim else 1
    return source.reshaped(
        (*shape[:axis], 1, *shape[axis:]), (*strides[:axis], step, *strides[axis:])
    )


stack = _Stack(
    "aten::stack(Tensor[] tensors, int dim=0) -> Tensor",
    """Tensors of one shape along a new dimension.""",
    dict(
        tensors=lambda grad, tensors_layout, dim: [
            _as_part(part, x.dtype)
            for part, x in zip(grad.unbind(dim), tensors_layout, strict=True)
        ]
    ),
    method=False,
)


def _joined(name, doc, prepare, join):
    def body(tensors):
        if not tensors:
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        return join([prepare(t) for t in tensors])

    body.__doc__ = doc
    return composite(f"aten::{name}(Tensor[] tensors) -> Tensor", method=False)(body)


def at_least(tensor, rank):
    """The tensor with dimensions of size 1 added as NumPy's atleast_1d, _2d, _3d add them."""
    n = tensor.layout.ndim
    if n >= rank:
        return tensor
    if n == 0:
        return tensor.reshape((1,) * rank)
    if rank == 3:
        return tensor.unsqueeze(-1) if n == 2 else tensor.unsqueeze(0).unsqueeze(-1)
    return tensor.unsqueeze(0)


def _join_columns(tensors):
    return cat(tensors, 0 if tensors[0].layout.ndim == 1 else 1)


hstack = _joined(
    "hstack", """Tensors side by side, column-wise.""", lambda t: at_least(t, 1), _join_columns
)
vstack = _joined(
    "vstack",
    """Tensors below each other, row-wise.""",
    lambda t: at_least(t, 2),
    lambda ts: cat(ts, 0),
)
row_stack = _joined(
    "row_stack", """The same as `vstack`.""", lambda t: at_least(t, 2), lambda ts: cat(ts, 0)
)
dstack = _joined(
    "dstack",
    """Tensors along a third dimension.""",
    lambda t: at_least(t, 3),
    lambda ts: cat(ts, 2),
)
column_stack = _joined(
    "column_stack",
    """Vectors as columns, matrices side by side.""",
    lambda t: t.reshape(t.layout.numel, 1) if t.layout.ndim <= 1 else t,
    lambda ts: cat(ts, 1),
)
