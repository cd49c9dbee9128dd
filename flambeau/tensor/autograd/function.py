"""`Function`: ops of the user's own, with a backward of their own."""

import functools

from flambeau import runtime
from flambeau.ops import (
    FREED,
    AccumulateGrad,
    Node,
    Output,
    Packed,
    alone,
    find,
    modes,
    modified,
    next_order,
    refuse_inference,
    watchers,
)  # fmt: skip

from ..inplace import rebase
from ..tensor import Tensor
from .anomaly import note
from .forward import below, level_of

state = modes.state

DIRTY_LEAF = "a leaf Variable that requires grad has been used in an in-place operation."
NOT_RETURNED = (
    "Some elements marked as dirty during the forward method were not returned as output. The "
    "inputs that are modified inplace must all be outputs of the Function."
)


class FunctionCtx(Node):
    """What forward leaves for backward: the node itself, with the attributes that the user sets on
    it.
    """

    # A class of each Function's own is made below it, with a __dict__.
    _forward_cls: type | None = None
    _to_save_forward: tuple | None = None

    def __init__(self):
        self.order = 0
        self.extra = self.shapes = None
        self.edges, self.saved = (), ()
        self._to_save = self._dirty = self._constant = ()
        self._materialize = True
        self._needs = ()

    def save_for_backward(self, *tensors):
        """Keeps tensors (or None) for backward, which finds them as `saved_tensors`; modifying them
        is noticed.
        """
        self._to_save = tensors

    def save_for_forward(self, *tensors):
        """Keeps tensors for `jvp`."""
        self._to_save_forward = tensors

    def mark_dirty(self, *tensors):
        """Says which inputs forward modified in place; they must be among what it returns."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors):
        """Says which results no gradient flows through."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool):
        """Whether backward is given zeros (the default) or None for results that got no
        gradient.
        """
        self._materialize = value

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """For each argument of forward, whether its gradient is wanted."""
        return self._needs

    @property
    def saved_tensors(self) -> tuple:
        """What `save_for_backward` was given; an error if it was modified or freed since."""
        if self._to_save_forward is not None:
            return tuple(self._to_save_forward)
        if self.order == 0:  # forward still runs
            return tuple(self._to_save)
        saved = self.saved
        if saved is None:
            raise RuntimeError(FREED)
        if saved.__class__ is Packed:
            return tuple(saved.opened(v) for v in saved.values)
        return tuple(None if item is None else item.open(self) for item in saved)

    def name(self) -> str:
        return type(self).__name__

    def run(self, grad, keep):
        """Calls the user's backward and checks what it answers."""
        grads = (grad,) if self.results == 1 else tuple(grad)
        if self._materialize:
            grads = tuple(_zeros(self, i) if g is None else g for i, g in enumerate(grads))
        # A result that is no tensor, or not differentiable, has its place among the arguments of
        # backward.
        user = self._forward_cls.backward
        if user is _SingleLevel.backward and self._forward_cls.vjp is not _SingleLevel.vjp:
            user = self._forward_cls.vjp
        found = user(self, *grads)
        if not isinstance(found, tuple | list):
            found = (found,)
        results = self._checked(found)
        if not keep and self.saved:
            self.saved = None
        return results

    def _checked(self, found):
        expected = len(self._needs)
        if len(found) > expected and all(g is None for g in found[expected:]):
            found = found[:expected]
        if len(found) != expected:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected "
                f"{expected}, got {len(found)})"
            )
        results = []
        for i, (grad, layout, edge) in enumerate(zip(found, self._layouts, self.edges)):
            if grad is None:
                results.append(None)
            elif layout is None:
                raise RuntimeError(
                    f"function {self.name()} returned a gradient different than None at position "
                    f"{i + 1}, but the corresponding forward input was not a Variable"
                )
            elif not isinstance(grad, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(grad).__name__})")
            else:
                results.append(None if edge is None else self._fitted(i, grad, layout))
        return results

    def _fitted(self, i, grad, layout):
        shape = layout.shape
        if grad.layout.shape != shape:
            have = grad.layout.shape
            lead = len(have) - len(shape)
            if lead < 0 or any(n != 1 and n != m for n, m in zip(shape, have[lead:])):
                raise RuntimeError(
                    f"Function {self.name()} returned an invalid gradient at index {i} - got "
                    f"{list(have)} but expected shape compatible with {list(shape)}"
                )
            grad = grad.sum_to_size(shape)
        if grad.layout.dtype is not layout.dtype:
            grad = (
                grad.real if grad.layout.dtype.kind == "c" and layout.dtype.kind == "f" else grad
            ).to(layout.dtype)
        return grad


class _Kept:
    """A saved tensor: an input, or a result whose history is this very node."""

    __slots__ = ("index", "tensor", "version")

    def __init__(self, tensor, index):
        self.index = index
        self.tensor = tensor if index is None else alone(tensor)
        self.version = tensor._storage.version

    def open(self, node):
        tensor = self.tensor
        if tensor._storage.version != self.version:
            modified(tensor, self.version, node)
        if self.index is None or node.edges is None:
            return tensor
        again = alone(tensor)
        again._node = node if node.results == 1 else Output(node, self.index)
        return again


def _zeros(node, index):
    layout = node._result_layouts[index]
    if layout is None:
        return None
    full = find("full").door
    return full(layout.shape, 0.0, dtype=layout.dtype, device=layout.device)


class _SingleLevel:
    """The methods that users override."""

    @staticmethod
    def forward(*args, **kwargs):
        """Computes the results. Called as ``forward(ctx, *args)``, or ``forward(*args)`` with a
        `setup_context`.
        """
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Saves what backward needs, when forward takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx, *grad_outputs):
        """The gradients of forward's arguments (None where there is none), from those of its
        results.
        """
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx, *grad_inputs):
        """The directional derivative."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with "
            "forward mode AD."
        )


class Function(_SingleLevel):
    """Base of ops of the user's own: static `forward` and `backward`, called by
    ``MyOp.apply(*args)``.

    forward runs without recording; its results hang on one node, whose backward is the user's. If
    the gradients are themselves to be differentiated, backward is recorded, from the saved tensors
    on.
    """

    generate_vmap_rule = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls._backward_cls = type(
            cls.__name__ + "Backward", (FunctionCtx,),
            {"_forward_cls": cls, "__module__": "torch.autograd.function", "rule": None},
        )  # fmt: skip

    def __init__(self, *args, **kwargs):
        raise RuntimeError(f"{type(self)} should not be instantiated: call its apply instead")

    @classmethod
    def apply(cls, *args):
        """Runs forward on `args`; tensors among its results get backward as their history."""
        if cls is Function:
            raise NotImplementedError(
                "You must implement the forward function for custom autograd.Function."
            )
        if state.stack and (level := level_of([a for a in args if isinstance(a, Tensor)])):
            return _with_tangents(level, cls, args)
        return cls._recorded(args)[0]

    @classmethod
    def _recorded(cls, args):
        """(what forward gives, its history)."""
        node = cls._backward_cls()
        tensors = [a if isinstance(a, Tensor) else None for a in args]
        recording = state.grad
        edges = tuple(None if t is None else t._node for t in tensors)
        node._needs = tuple(e is not None for e in edges)
        splits = cls.setup_context is not _SingleLevel.setup_context
        if recording:
            modes.set_grad(False)
        try:
            if splits:
                output = cls.forward(*args)
                cls.setup_context(node, args, output)
            else:
                output = cls.forward(node, *args)
        finally:
            if recording:
                modes.set_grad(True)
        single = not isinstance(output, tuple)
        outputs = (output,) if single else output
        node._layouts = tuple(None if t is None else t.layout for t in tensors)
        outputs = _wrap(node, tensors, edges, outputs, recording and any(node._needs))
        if single:
            return outputs[0], node
        return type(output)(*outputs) if hasattr(output, "_fields") else outputs, node


def _with_tangents(level, cls, args):
    """As `apply`, where some argument has a tangent: those of the results are what jvp says."""
    with below(level):
        result, node = cls._recorded(args)
        tangents = [level.get(a) if isinstance(a, Tensor) else None for a in args]
        if node._materialize:
            tangents = [
                find("zeros_like").door(a) if t is None and isinstance(a, Tensor) else t
                for a, t in zip(args, tangents)
            ]
        found = cls.jvp(node, *tangents)
        node._to_save_forward = None
    found = found if isinstance(found, tuple) else (found,)
    results = result if isinstance(result, tuple) else (result,)
    if len(found) != len(results):
        raise RuntimeError(
            "Function's jvp returned an invalid number of forward gradients (expected "
            f"{len(results)} but got {len(found)})"
        )
    for r, tangent in zip(results, found):
        if tangent is not None and isinstance(r, Tensor):
            level.set(r, tangent)
    return result


def _wrap(node, tensors, edges, outputs, recording):
    """Gives the results their history."""
    dirty = {id(t) for t in node._dirty}
    if dirty - {id(o) for o in outputs}:
        raise RuntimeError(NOT_RETURNED)
    inputs = {id(t) for t in tensors if t is not None}
    constant = {id(t) for t in node._constant}
    for t in node._dirty:
        if recording and t._node.__class__ is AccumulateGrad:
            raise RuntimeError(DIRTY_LEAF)
    made = []
    for o in outputs:
        if not isinstance(o, Tensor):
            made.append(o)
        elif (
            id(o) in inputs and id(o) not in dirty
        ):  # returned as it is: a view, so that it can differ in history
            made.append(runtime.alias(o, o.layout, o._offset) if recording else o)
        else:
            made.append(o)
    if recording:
        node.edges = edges
        node._result_layouts = [o.layout if isinstance(o, Tensor) else None for o in made]
        node.order = next_order()
        node.results = len(made)
        keep(node, outputs)
        for i, (given, o) in enumerate(zip(outputs, made)):
            if (
                not isinstance(o, Tensor)
                or id(given) in constant
                or o.layout.dtype.kind not in "fc"
            ):
                continue
            history = node if len(made) == 1 else Output(node, i)
            if id(given) in dirty:
                rebase(o, history)
            else:
                o._node = history
    node._to_save = node._dirty = node._constant = ()
    return tuple(made)


def keep(node, outputs):
    """Saves what a node's `save_for_backward` was given; `outputs` are those that it made."""
    for i, t in enumerate(node._to_save):
        if t is not None and not isinstance(t, Tensor):
            raise TypeError(
                f"save_for_backward can only save variables, but argument {i} is of type "
                f"{type(t).__name__}"
            )
        if t is not None and modes.is_inference(t._storage):
            refuse_inference()
    places = {id(o): i for i, o in enumerate(outputs) if isinstance(o, Tensor)}
    constant = {id(t) for t in node._constant}
    if watchers and state.saved_hooks:
        node.saved = Packed(node._to_save, *state.saved_hooks[-1])
    else:
        node.saved = tuple(
            None if t is None else _Kept(t, None if id(t) in constant else places.get(id(t)))
            for t in node._to_save
        )
    if watchers and state.anomaly:
        note(node)


class InplaceFunction(Function):
    """As `Function`; PyTorch's name for functions with an in-place form."""


def once_differentiable(backward):
    """Decorator of a `Function`'s backward that is not written in differentiable ops: its results
    carry no history, and differentiating them is an error.
    """

    @functools.wraps(backward)
    def wrapper(ctx, *grads):
        recording = state.grad
        if not recording:
            return backward(ctx, *grads)
        modes.set_grad(False)
        try:
            results = backward(ctx, *grads)
        finally:
            modes.set_grad(True)
        if not any(isinstance(g, Tensor) and g._node is not None for g in grads):
            return results
        single = not isinstance(results, tuple)
        found = tuple(_refusing(r) for r in ((results,) if single else results))
        return found[0] if single else found

    return wrapper


class _Refusal(Node):
    """History that cannot be differentiated."""

    def run(self, grad, keep):
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )

    def name(self):
        return "Error"


def _refusing(result):
    if not isinstance(result, Tensor):
        return result
    out = alone(result)
    node = _Refusal()
    node.order, node.edges, node.saved, node.extra, node.shapes = next_order(), (), (), None, None
    out._node = node
    return out
