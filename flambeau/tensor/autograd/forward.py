"""Forward mode: dual numbers, carried through every op by an interpreter.

No op has a forward rule. What backward computes for an op, v -> v J, is linear in v, so that its
derivative by v is J: the tangent of the result is a backward through the op's own backward. Views
are linear and are applied to the tangent as they are; composites are run part by part.
"""

import contextlib
import weakref
from typing import Any, NamedTuple

from flambeau import runtime
from flambeau._base import explain
from flambeau.ops import (
    INPLACE,
    Chain,
    Composite,
    Fused,
    Node,
    Output,
    alone,
    find,
    interpreting,
    modes,
    next_order,
    perform_plainly,
    register,
)

from ..inplace import adopt_result, result_for
from ..tensor import Tensor
from . import engine

state = modes.state

NOT_LINEAR = (
    "Trying to use forward AD with {} that does not support it because it has not been implemented "
    "yet."
)
OUT = "Trying to use forward AD with {}_out that does not support it because it is an out= function"
SIZE = (
    "Trying to set a forward gradient that has a different size than that of the original Tensor, "
    "this is not supported. Tensor is of size {} while the given forward gradient is of size {}."
)


class Probe(Node):
    """The history of an argument while an op is differentiated: nothing, or later that of the
    tensor it stands for.
    """

    __slots__ = ()

    def __init__(self):
        self.order, self.edges, self.saved = next_order(), (), ()
        self.extra = self.shapes = None

    def run(self, grad, keep):
        return (grad,)


class Level:
    """The tangents of some tensors, and the interpreter that computes those of results.

    A tangent is known by the tensor object, and by the node that made the tensor: that is how
    results that their own node saved, which are other objects, are found. A tangent has the layout
    of its tensor.
    """

    def __init__(self):
        self._by_object: dict = {}
        self._by_node: dict = {}

    def get(self, tensor):
        """The tangent of a tensor, or None."""
        entry = self._by_object.get(id(tensor))
        if entry is None and tensor._node is not None:
            entry = self._by_node.get(_place(tensor._node)[1])
        return None if entry is None else entry[1]

    def set(self, tensor, tangent):
        """Makes `tangent` the tangent of a tensor."""
        if tangent.layout.shape != tensor.layout.shape:
            sizes = list(tensor.layout.shape), list(tangent.layout.shape)
            raise explain(RuntimeError, SIZE.format(*sizes))
        if tangent.is_complex() and not tensor.is_complex():
            raise explain(RuntimeError, "A real tensor cannot have a complex forward gradient.")
        tangent = _laid_out(tangent, tensor.layout)
        _remember(self._by_object, id(tensor), tensor, tangent)
        if tensor._node is not None:
            _remember(self._by_node, _place(tensor._node)[1], _place(tensor._node)[0], tangent)

    def clear(self):
        self._by_object.clear()
        self._by_node.clear()

    def suffixes(self, tensor):
        """What `repr` says of a tensor besides."""
        tangent = self.get(tensor)
        return [] if tangent is None else [f"tangent={tangent!r}"]

    def process(self, op, args, target):
        args = op.schema.normalise(args)
        given = [t for a in args for t in (a if a.__class__ is tuple else (a,)) if is_tensor(t)]
        if state.inference or all(self.get(t) is None for t in given):
            return perform_plainly(op, args, target)
        if target is INPLACE:
            return self._in_place(op, args)
        if target is not None:
            raise NotImplementedError(OUT.format(op.name))
        if op.family == "random" and op.name.endswith("_"):  # overwrites what was there
            result = perform_plainly(op, args, None)
            self.set(result, find("zeros_like").door(result))
            return result
        if op.family in ("view", "views"):
            return self._linear(op, args)
        body = self._body(op, args)
        if body is None and op.name.endswith("_"):
            raise NotImplementedError(NOT_LINEAR.format(op.name))
        if body is None:
            return self._differentiate(op, args, given)
        return self._by_parts(body, args, given)

    def _body(self, op, args):
        """What a composite consists of, where that is how it is differentiated."""
        if isinstance(op, Fused):
            return op.tensor_body
        if isinstance(op, Chain):
            return op.body
        if not isinstance(op, Composite):
            return None
        dual = [
            a.name
            for a, v in zip(op.schema.arguments, args, strict=True)
            if any(is_tensor(t) and self.get(t) is not None for t in (v if a.list and v else (v,)))
        ]
        return None if op.gradients and all(n in op.gradients for n in dual) else op.body

    def _linear(self, op, args):
        """A view: of the tensor, and of its tangent."""
        result = perform_plainly(op, args, None)
        tangent = self.get(args[0])
        if op.name == "detach":
            return result
        moved = perform_plainly(op, (tangent, *args[1:]), None)
        for r, t in zip(_listed(result), _listed(moved), strict=True):
            self.set(r, t)
        return result

    def _by_parts(self, body, args, given):
        """The result of a composite: the level watches its parts. Their arguments require grad, for
        bodies that choose their parts by that.
        """
        recording = bool(state.grad)
        probes: list = []
        if not recording or any(t._node is None and self.get(t) is not None for t in given):
            args = [self._probed(a, probes) for a in args]
        modes.set_grad(True)
        try:
            with interpreting(self):
                result = body(*args)
        finally:
            modes.set_grad(recording)
        if not probes:
            return result
        tracked = recording and any(t._node is not None for t in given)
        return self._finished(result, probes, tracked)

    def _differentiate(self, op, args, given):
        """The result of an op that is recorded as one step, and its tangent."""
        recording = bool(state.grad)
        tracked = recording and any(t._node is not None for t in given)
        probes: list = []
        stand_ins = [self._probed(a, probes) for a in args]
        modes.set_grad(True)
        try:
            result = perform_plainly(op, stand_ins, None)
            dual = [(p, self.get(t)) for t, p in probes if self.get(t) is not None]
            keep = tracked or (recording and any(t._node is not None for _, t in dual))
            for r in _listed(result):
                tangent = _pushed(op, r, dual, keep)
                if tangent is not None:
                    self.set(r, tangent)
        finally:
            modes.set_grad(recording)
        return self._finished(result, probes, tracked)

    def _probed(self, value, probes):
        """`value` with stand-ins, which require grad, for the tensors that matter. Pairs of tensor
        and stand-in are added to `probes`.
        """
        if value.__class__ is tuple:
            return tuple(self._probed(v, probes) for v in value)
        if not is_tensor(value) or (value._node is None and self.get(value) is None):
            return value
        if value.layout.dtype.kind not in "fc":
            return value
        stand_in = alone(value)
        stand_in._node = Probe()
        carry((*state.stack, self), value, stand_in)  # it may be saved, and read by backward
        probes.append((value, stand_in))
        return stand_in

    def _finished(self, result, probes, tracked):
        """A result as the caller gets it: with the history of what probes stood for, or none."""
        for tensor, stand_in in probes:
            stand_in._node.edges = (tensor._node,) if tracked else ()
        if isinstance(result, tuple):
            made = [self._finished(r, probes, tracked) for r in result]
            return type(result)(*made) if hasattr(result, "_fields") else tuple(made)
        if not is_tensor(result):
            return result
        for tensor, stand_in in probes:
            if result is stand_in:
                return tensor
        if tracked or result._node is None:
            return result
        out = alone(result)
        for tensor, stand_in in probes:
            if result._base is stand_in:
                out._base = tensor if tensor._base is None else tensor._base
        carry((*state.stack, self), result, out)
        return out

    def _in_place(self, op, args):
        target = args[0]
        if op.name == "copy":
            source = args[1]
            perform_plainly(op, args, INPLACE)
        else:
            with interpreting(self):
                source = result_for(op, args)
            adopt_result(target, source)
        tangent = self.get(source) if is_tensor(source) else None
        if target._base is None and not target._views and tangent is not None:
            self.set(
                target, find("_to_copy").door(tangent.expand(target.shape), target.dtype, True)
            )
            return target
        mine = self._writable(target)
        if tangent is None:
            mine.zero_()
        else:
            mine.copy_(tangent)
        return target

    def _writable(self, target):
        """The tangent of a tensor that is about to be written; part of its base's tangent if it is
        a view.
        """
        mine = self.get(target)
        if mine is not None:
            return mine
        base = target if target._base is None else target._base
        whole = self.get(base)
        if whole is None:
            whole = runtime.wrap(runtime.empty(base.layout.nbytes), base.layout, 0).zero_()
            self.set(base, whole)
        if base is target:
            return whole
        start = target._offset * target.itemsize - base._offset * base.itemsize
        mine = runtime.alias(
            whole, target.layout, (whole._offset * whole.itemsize + start) // target.itemsize
        )
        register(mine)
        self.set(target, mine)
        return mine


def _pushed(op, result, dual, keep):
    """The tangent of one result, from those of the arguments."""
    if not is_tensor(result) or result._node is None:
        return None
    zeros = find("zeros_like").door(result)
    weight = alone(zeros)
    weight._node = Probe()
    probes = [p for p, _ in dual]
    pulled = engine.grad([result], probes, [weight], create_graph=True, allow_unused=True)
    linear = [(g, t) for g, (_, t) in zip(pulled, dual) if g is not None and g._node is not None]
    if len(linear) < sum(g is not None for g in pulled):
        _check_constant(op, result, probes, pulled)
    if not linear:
        return zeros
    outs, tangents = zip(*linear)
    found = engine.grad(outs, [weight], list(tangents), True, create_graph=keep, allow_unused=True)[
        0
    ]
    if found is None:
        return zeros
    # A tangent is written where its tensor is: it shares no memory but that of views.
    shared = any(found._storage is t._storage for t in tangents)
    return find("clone").door(found) if shared else found


def carry(levels, tensor, other):
    """Gives `other` the tangents that `tensor` has at some levels."""
    for level in levels:
        tangent = level.get(tensor) if isinstance(level, Level) else None
        if tangent is not None:
            level.set(other, tangent)


def _check_constant(op, result, probes, pulled):
    """A gradient without history is zero, or its op's backward cannot be differentiated."""
    ones = find("ones_like").door(result)
    again = engine.grad([result], probes, [ones], retain_graph=True, allow_unused=True)
    for g, value in zip(pulled, again):
        if g is not None and g._node is None and bool((value != 0).any()):
            raise NotImplementedError(NOT_LINEAR.format(op.name))


def _laid_out(tangent, layout):
    """A tangent with exactly this layout."""
    if tangent.layout is layout:
        return tangent
    made = runtime.wrap(runtime.empty(layout.nbytes), layout, 0)
    return find("copy").inplace(made, tangent)


def _place(edge):
    """(node, what it is known by) of an edge: the node, and which of its results."""
    if edge.__class__ is Output:
        return edge.node, (id(edge.node), edge.index)
    return edge, (id(edge), 0)


def _remember(table, key, owner, tangent):
    table[key] = (weakref.ref(owner, lambda _: table.pop(key, None)), tangent)


def _listed(result):
    return result if isinstance(result, tuple) else (result,)


def is_tensor(value):
    return isinstance(value, Tensor)


@contextlib.contextmanager
def below(level):
    """Inside, this thread performs ops as if `level`, and all above it, were not there."""
    outer = state.stack
    state.stack = outer[: outer.index(level)]
    try:
        yield
    finally:
        state.stack = outer


def level_of(tensors):
    """The innermost level of this thread at which one of `tensors` has a tangent, or None."""
    levels = [level for level in reversed(state.stack) if isinstance(level, Level)]
    return next((v for v in levels if any(v.get(t) is not None for t in tensors)), None)


# PyTorch's torch.autograd.forward_ad, which has one level at a time.


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` gives: `tangent` is None where the tensor has none."""

    primal: Any
    tangent: Any


def enter_dual_level():
    """Starts the level at which tangents live, in this thread; what it is called."""
    if getattr(state, "dual", None) is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    state.dual = interpreting(Level())
    state.dual.__enter__()
    return 0


def exit_dual_level(*, level=None):
    """Ends the level, and with it all tangents."""
    if level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is "
            "not supported."
        )
    if getattr(state, "dual", None) is None:
        raise RuntimeError("Dual level must be a positive number.")
    state.dual.__exit__()
    state.dual.interpreter.clear()
    state.dual = None


class dual_level:
    """A level inside a with block."""

    def __enter__(self):
        return enter_dual_level()

    def __exit__(self, *exception):
        exit_dual_level()


def make_dual(tensor, tangent, *, level=None):
    """A view of `tensor` that carries `tangent`: what is computed from it carries its directional
    derivative. Both are floating point or complex and of one shape.
    """
    dual = getattr(state, "dual", None)
    if dual is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to "
            "enter_dual_level() first."
        )
    if dual.interpreter.get(tensor) is not None:
        raise RuntimeError(
            "Making a dual Tensor based on a Tensor that already has a forward gradient at the "
            "same level 0 is not supported."
        )
    return attach(dual.interpreter, tensor, tangent)


def attach(level, tensor, tangent):
    """A view of `tensor` whose tangent at `level` is `tangent`."""
    for what, value in (("primal", tensor), ("tangent", tangent)):
        if not (value.is_floating_point() or value.is_complex()):
            raise ValueError(
                f"Expected {what} to be floating point or complex, but got: {value.dtype}"
            )
    made = find("alias").door(tensor)
    level.set(made, tangent)
    return made


def unpack_dual(tensor, *, level=None):
    """A dual tensor's value, a view without tangent, and its tangent."""
    if not is_tensor(tensor):
        raise TypeError(
            "_unpack_dual(): argument 'dual' (position 1) must be Tensor, not "
            f"{type(tensor).__name__}"
        )
    dual = getattr(state, "dual", None)
    if dual is None:
        return UnpackedDualTensor(tensor, None)
    with below(dual.interpreter):
        return UnpackedDualTensor(*_apart(dual.interpreter, tensor))


def _apart(level, tensor):
    """(a view of the tensor that has no tangent at `level`, its tangent or None)."""
    tangent = level.get(tensor)
    return (tensor if tangent is None else find("alias").door(tensor)), tangent


def push(func, primals, tangents, strict=False):
    """(``func(*primals)``, the tangents of what it returns), two lists, for tangents of some
    primals by their positions. Results that do not depend on them have zeros, or are an error if
    `strict`.
    """
    level = Level()
    with interpreting(level):
        given = [attach(level, p, tangents[i]) if i in tangents else p
                 for i, p in enumerate(primals)]  # fmt: skip
        results = func(*given)
    pairs = [_apart(level, r) for r in results]
    if strict and any(t is None for _, t in pairs):
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
            "This is not allowed with strict=True."
        )
    zeros = find("zeros_like").door
    return [p for p, _ in pairs], [zeros(p) if t is None else t for p, t in pairs]


def units(tensor):
    """For each element, a tensor that is one there and zero elsewhere."""
    n = tensor.numel()
    eye = find("eye").door(n, n, dtype=tensor.dtype, device=tensor.device)
    return [row.reshape(tensor.shape) for row in eye.unbind()]


__all__ = [
    "UnpackedDualTensor",
    "dual_level",
    "enter_dual_level",
    "exit_dual_level",
    "make_dual",
    "unpack_dual",
]
