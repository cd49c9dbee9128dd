"""Writing results into existing tensors: in-place forms under autograd, `out=`, and the history of views."""

from flambeau import runtime
from flambeau.ops import AccumulateGrad, Output, can_write, find, modes

LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
VIEW_OF_LEAF = "a view of a leaf Variable that requires grad is being used in an in-place operation."
OF_SEVERAL = (
    "Output {} of {} is a view and is being modified inplace. This view is the output of a function that returns "
    "multiple views. Such functions do not allow the output views to be modified inplace. You should replace the "
    "inplace operation by an out-of-place one."
)


def write_back(op, args):
    """The in-place form of any op: the result out of place, written into the first argument, with its history."""
    target = args[0]
    check_writable(target)
    result = op.door(*args)
    if result.layout.shape != target.layout.shape:
        raise RuntimeError(
            f"output with shape {list(target.shape)} doesn't match the broadcast shape {list(result.shape)}"
        )
    return adopt_result(op, target, result)


def adopt_result(op, target, result):
    """Copies `result` into `target`, which takes over its history."""
    can_write(result.dtype, target.dtype)
    if result.dtype is not target.dtype:
        result = result.to(target.dtype)
    recording = modes.state.grad
    raw_copy(target, result)
    if recording and (result._node is not None or target._node is not None):
        rebase(target, result._node)
    return target


def raw_copy(target, source):
    """Copies values without a trace in the graph."""
    copy = find("copy").inplace
    if not modes.state.grad:
        return copy(target, source)
    modes.set_grad(False)
    try:
        return copy(target, source)
    finally:
        modes.set_grad(True)


def check_writable(target):
    """Raises where autograd forbids writing `target`: leaves that require grad, and their views."""
    if not modes.state.grad or target._node is None and (target._base is None or target._base._node is None):
        return
    if target._node.__class__ is AccumulateGrad:
        raise RuntimeError(LEAF)
    base = target._base
    if base is not None and base._node.__class__ is AccumulateGrad:
        raise RuntimeError(VIEW_OF_LEAF)
    if base is not None and target._node.__class__ is Output:
        raise RuntimeError(OF_SEVERAL.format(target._node.index, target._node.node.name()))


def rebase(target, node):
    """Makes `node` the history of `target`'s values, and renews the histories of its base and of the base's views."""
    base = target._base
    if base is None:
        target._node = node
        renew_views(target)
        return
    scatter = find("as_strided_scatter")
    layout = target.layout
    history = alone_with(target, node)
    args = (base, history, layout.shape, layout.strides, target.offset)
    rule = scatter.rule(args)
    keep = alone_with(base, base._node)
    rule.record(None, keep, base, *args[1:])
    base._node = keep._node
    renew_views(base)


def renew_views(base):
    """Gives every live view of `base` a history that reads from `base`'s present one."""
    if not base._views:
        return
    op = find("as_strided")
    alive = []
    for reference in base._views:
        view = reference()
        if view is None:
            continue
        alive.append(reference)
        if base._node is None:
            view._node = None
            continue
        args = (base, view.layout.shape, view.layout.strides, view.offset)
        op.rule(args).record(None, view, *args)
    base._views = alive


def alone_with(tensor, node):
    """The tensor's memory in another tensor object, with `node` as its history."""
    other = runtime.wrap(tensor.storage, tensor.layout, tensor.offset)
    other._node = node
    return other


def write_out(op, result, out):
    """The `out=` form: `result` (or several) written into `out`, which takes the result's shape."""
    if isinstance(result, tuple):
        outs = tuple(write_out(op, r, o) for r, o in zip(result, out, strict=True))
        return type(result)(*outs) if hasattr(result, "_fields") else outs
    if modes.state.grad and (out._node is not None or result._node is not None):
        raise RuntimeError(
            f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    can_write(result.dtype, out.dtype)
    if result.layout.shape != out.layout.shape:
        out.resize_(result.layout.shape)
    raw_copy(out, result)
    return out
