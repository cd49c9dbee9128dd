"""Writing results into existing tensors: in-place forms under autograd, `out=`, and the history of
views.
"""

import warnings

from flambeau import runtime
from flambeau._base import explain
from flambeau.ops import (
    OVERLAP,
    AccumulateGrad,
    Composite,
    Fused,
    Node,
    Output,
    c_name,
    call,
    can_write,
    check_overlap,
    check_places,
    find,
    modes,
)
from flambeau.types import contiguous

from .autograd import hooks

LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
VIEW_OF_LEAF = (
    "a view of a leaf Variable that requires grad is being used in an in-place operation."
)
UNRECORDED = (
    "A view was created in no_grad mode and is being modified inplace with grad mode enabled. "
    "Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your "
    "code by moving both the view and the inplace either both inside the no_grad block (if you "
    "don't want the inplace to be tracked) or both outside (if you want the inplace to be "
    "tracked)."
)
IN_INFERENCE = (
    "A view was created in inference mode and is being modified inplace in normal mode. Given that "
    "this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by "
    "moving both the view and the inplace either both inside the inference_mode block (if you "
    "don't want the inplace to be tracked) or both outside (if you want the inplace to be tracked)."
)
OF_FUNCTION = (
    "Output {} of {} is a view and is being modified inplace. This view was created inside a "
    "custom Function (or because an input was returned as-is) and the autograd logic to handle "
    "view+inplace would override the custom backward associated with the custom Function, leading "
    "to incorrect gradients. This behavior is forbidden. You can fix this by cloning the output "
    "of the custom Function."
)


OF_SEVERAL = (
    "Output {} of {} is a view and is being modified inplace. This view is the output of a "
    "function that returns multiple views. Such functions do not allow the output views to be "
    "modified inplace. You should replace the inplace operation by an out-of-place one."
)


RESIZED = (
    "An output with one or more elements was resized since it had shape {}, which does not match "
    "the required output shape {}. This behavior is deprecated, and in a future PyTorch release "
    "outputs will not be resized unless they have zero elements. You can explicitly reuse an out "
    "tensor t by resizing it, inplace, to zero elements with t.resize_(0)."
)


def write_back(op, args):
    """The in-place form of any op: the result out of place, written into the first argument, with
    its history.
    """
    return adopt_result(args[0], result_for(op, args))


def result_for(op, args):
    """The result of an op that is about to be written into its first argument."""
    target = args[0]
    if not hasattr(target, "layout"):
        raise TypeError(
            f"{op.name}_(): argument 'input' (position 1) must be Tensor, not "
            f"{type(target).__name__}"
        )
    check_writable(target)
    if modes.state.grad and _reads_target(op, args):  # backward needs the values from before
        args = (find("clone").door(target), *args[1:])
    result = call(op, args)
    if result.layout.shape != target.layout.shape:
        raise explain(
            RuntimeError,
            f"output with shape {list(target.shape)} doesn't match the broadcast shape "
            f"{list(result.shape)}",
        )
    return result


def _reads_target(op, args):
    """Whether the gradients of `op` may read its first argument."""
    if not any(t is not None for a in args for t in _histories(a)):
        return False
    return isinstance(op, Composite | Fused) or op.schema.arguments[0].name in op.rule(args).saves


def _histories(value):
    if isinstance(value, tuple | list):
        return [getattr(v, "_node", None) for v in value]
    return (getattr(value, "_node", None),)


def adopt_result(target, result):
    """Copies `result` into `target`, which takes over its history."""
    can_write(result.dtype, target.dtype)
    if result.dtype is not target.dtype:
        result = result.to(target.dtype)
    recording = modes.state.grad
    if recording and result._node is not None and target._base is not None:
        check_view(target)
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
    """Raises where autograd forbids writing `target`: leaves that require grad, and views whose
    history is unknown.
    """
    if not modes.state.grad:
        return
    base = target._base
    if base is None:
        if target._node.__class__ is AccumulateGrad:
            raise explain(RuntimeError, LEAF)
        return
    if target._node is None and base._node is None:
        return
    check_view(target)
    if target._node.__class__ is AccumulateGrad:
        raise explain(RuntimeError, LEAF)
    if base._node.__class__ is AccumulateGrad:
        raise explain(RuntimeError, VIEW_OF_LEAF)


def check_view(view):
    """Raises where a view that is about to get a new history is one that its base does not know
    of.
    """
    node = view._node.node if view._node.__class__ is Output else view._node
    if isinstance(node, Node) and hasattr(node, "_forward_cls"):
        raise explain(RuntimeError, OF_FUNCTION.format(view.output_nr, node._forward_cls.__name__))
    if getattr(node, "made_together", False):
        raise explain(RuntimeError, OF_SEVERAL.format(view.output_nr, node.name()))
    if not any(r() is view for r in reversed(view._base._views or ())):
        raise explain(RuntimeError, IN_INFERENCE if isinstance(view._views, str) else UNRECORDED)


def rebase(target, node):
    """Makes `node` the history of `target`'s values, and renews the histories of its base and of
    the base's views.
    """
    base = target if target._base is None else target._base
    with hooks.retained([base, *live_views(base)]):
        if base is target:
            target._node = node
        else:
            _scatter_history(base, target, node)
        renew_views(base)


def _scatter_history(base, target, node):
    """Makes the history of a base whose view `target` has got the history `node`."""
    scatter = find("as_strided_scatter")
    layout = target.layout
    history = alone_with(target, node)
    args = (base, history, layout.shape, layout.strides, target._offset)
    rule = scatter.rule(args)
    keep = alone_with(base, base._node)
    rule.record(None, keep, base, *args[1:])
    base._node = keep._node


def live_views(base):
    """The views of `base` that still exist."""
    return [view for view in (reference() for reference in base._views or ()) if view is not None]


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
        args = (base, view.layout.shape, view.layout.strides, view._offset)
        op.rule(args).record(None, view, *args)
    base._views = alive


def alone_with(tensor, node):
    """The tensor's memory in another tensor object, with `node` as its history."""
    other = runtime.wrap(tensor._storage, tensor.layout, tensor._offset)
    other._node = node
    return other


def check_out(op, args, result, out):
    """Raises where `out` cannot take `result`, before anything is written."""
    if isinstance(result, tuple):
        if not isinstance(out, tuple | list):
            raise TypeError(
                f"{op.name}(): argument 'out' must be tuple of Tensors, not {type(out).__name__}"
            )
        if len(out) != len(result):
            raise TypeError(
                f"{op.name}(): argument 'out' must hold {len(result)} tensors, not {len(out)}"
            )
        for r, o in zip(result, out, strict=True):
            check_out(op, args, r, o)
        return
    if not hasattr(result, "layout"):
        raise TypeError(f"{op.name}() got an unexpected keyword argument 'out'")
    if not hasattr(out, "layout"):
        raise TypeError(f"{op.name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if modes.state.grad and (out._node is not None or result._node is not None):
        raise explain(
            RuntimeError,
            f"{op.name}(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the arguments requires grad.",
        )
    if out.layout.device is not result.layout.device:
        raise explain(
            RuntimeError,
            f"Attempting to copy from device {result.layout.device} to device {out.layout.device}, "
            "but cross-device copies are not allowed!",
        )
    if op.exact_out and result.dtype is not out.dtype:
        raise explain(
            RuntimeError,
            f"Expected out tensor to have dtype {c_name(result.dtype)}, but got "
            f"{c_name(out.dtype)} instead",
        )
    can_write(result.dtype, out.dtype)
    _check_shared(op, args, result, out)


def _check_shared(op, args, result, out):
    """Raises where elements of `out` share memory with each other, or with an argument."""
    check_places(out.layout)
    layout = out.layout
    if layout.shape != result.layout.shape:
        layout = contiguous(result.layout.shape, out.dtype)
    for arg in args:
        for read in arg if isinstance(arg, tuple | list) else (arg,):
            if getattr(read, "_storage", None) is not out._storage:
                continue
            if op.apart_out and layout.numel and read._offset == out._offset:
                raise RuntimeError(OVERLAP)
            check_overlap(out, read, layout)


def write_out(op, args, result, out):
    """The `out=` form: `result` (or several) written into `out`, which takes the result's shape."""
    check_out(op, args, result, out)
    if isinstance(result, tuple):
        outs = tuple(write_out(op, args, r, o) for r, o in zip(result, out, strict=True))
        return type(result)(*outs) if hasattr(result, "_fields") else outs
    if result.layout.shape != out.layout.shape:
        if out.layout.numel:
            warnings.warn(RESIZED.format(list(out.shape), list(result.shape)), stacklevel=4)
        out.resize_(result.layout.shape)
    raw_copy(out, result)
    return out
