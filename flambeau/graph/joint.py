"""Forward and backward as two programs: for functions whose results somebody else differentiates.

The forward program gives, besides the function's results, what the backward program reads. For
autograd the pair is one node.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Sequence
from typing import Any

from flambeau import runtime
from flambeau._base import explain
from flambeau.ops import FREED, AccumulateGrad, Node, Output, alone, modes, next_order
from flambeau.tensor import Tensor, engine, function, function_of
from flambeau.types import pytree

from .called import key_of
from .capture import Broken, Capture, Rehearsal
from .execute import Executable, KernelFailed
from .passes import optimize
from .state import Watch


class Boundary(Node):
    """Stands for the history of an argument while a function is captured, so that its backward ends
    there.
    """

    __slots__ = ("behind", "tensor")

    def __init__(self, tensor: Any):
        self.order, self.saved = next_order(), ()
        self.extra = self.shapes = None
        self.tensor, self.behind = tensor, tensor._node
        self.edges = (self.behind,)
        tensor._node = self

    def run(self, grad: Any, keep: bool) -> tuple:
        return (grad,)

    def leave(self) -> None:
        """Gives the tensor its own history again."""
        if self.tensor._node is self:
            self.tensor._node = self.behind
        self.tensor = None
        if self.extra is not None and getattr(self.behind, "extra", self) is None:
            self.behind.extra, self.extra = self.extra, None  # hooks are the tensor's own


class Consumed(Node):
    """The history of a result whose backward ran inside the program."""

    __slots__ = ()

    def __init__(self) -> None:
        self.order, self.edges, self.saved = next_order(), (), None
        self.extra = self.shapes = None

    def run(self, grad: Any, keep: bool) -> tuple:
        raise explain(RuntimeError, FREED)


@contextlib.contextmanager
def bounded(tensors: Sequence[Any]):
    """A with block in which the histories of tensors lie behind boundaries."""
    made = [
        Boundary(t)
        for t in {id(t): t for t in tensors}.values()
        if t._node is not None and not isinstance(t._node, AccumulateGrad)
    ]
    try:
        yield
    finally:
        for boundary in made:
            boundary.leave()


@contextlib.contextmanager
def _closed(tensors: Sequence[Any], inputs: Sequence[Any]):
    """A with block in which nothing passes the boundaries of tensors, and hooks of leaves among the
    inputs do not run: they will when the pair is differentiated.
    """
    nodes: list[Any] = [t._node for t in tensors if isinstance(t._node, Boundary)]
    leaves = [(n, n.extra) for n in map(_node, inputs) if isinstance(n, AccumulateGrad)]
    for node in nodes:
        node.edges = ()
    for leaf, _ in leaves:
        leaf.extra = None
    try:
        yield
    finally:
        for node in nodes:
            node.edges = (node.behind,)
        for leaf, extra in leaves:
            leaf.extra = extra


class Pair:
    """Two programs of a function. ``run(tensors, numbers, call)`` is that of the first, recorded
    for backward; `call` are the arguments that the tensors are in.
    """

    def __init__(
        self, function, capture: Capture, leaving: list[Any], tensors: list[Any], watch: Watch
    ):
        self._function = function
        self.differentiated: Callable[[], None] | None = None  # told that gradients are
        roots = [t for t in leaving if t._node is not None]
        self._roots = [k for k, t in enumerate(leaving) if t._node is not None]
        met = _leaves(roots, tensors, watch.first)
        inputs, self._behind = [t for t, _ in met], [bits for _, bits in met]
        given = {id(t) for t in tensors}
        for leaf in inputs:  # what the results do not hold, nobody reaches
            if any(t is leaf for t in leaving) and id(leaf) not in given:
                raise Broken("a leaf that is made here is differentiated elsewhere")
        # Arguments change from call to call; parameters do not.
        self._inputs = [next((k for k, t in enumerate(tensors) if t is i), i) for i in inputs]
        # Host ops compute with them already here: numbers that none of them refuses.
        seeds = [function_of("ones_like")(t.detach()) for t in roots]
        self._seeds = [s.layout for s in seeds]
        backward = Rehearsal(sizes=capture.sizes)
        watch.tell(backward.end, backward.constant)
        watch.rehearses = True
        try:
            # No autocast is on then.
            with _casting(()), backward, watch, _closed(tensors, inputs):
                for seed in seeds:
                    backward.give(seed)
                grads = engine.grad(roots, inputs, seeds, retain_graph=True, allow_unused=True)
            watch.settle()
        except Exception as error:  # the user's own backward may refuse what is not the real one
            watch.put_back()
            raise Broken(backward.broken or f"backward raises {type(error).__name__}") from error
        finally:
            backward.restore()
        self._absent = [g is None for g in grads]
        program = backward.program([g for g in grads if g is not None])
        saved = self._saved(capture, program, seeds, tensors)
        self.first = capture.program([*leaving, *(b.holder for b in saved)])
        writes = [o for i in self.first.instructions for o in i.writes]
        lost = dict.fromkeys(o.buffer for o in writes if o.buffer.holder is not None)
        self._written = [b.holder if b.argument is None else b.argument for b in lost]
        self._count = len(leaving)
        program.title = "backward"
        self._program, self._fixed = program, backward.fixed
        used = {b.argument for b in program.buffers()}
        self._used = [k + len(seeds) in used for k in range(len(tensors))]
        self._saved_given = [b.holder for b in program.buffers() if _is_fixed(b)]
        backward.release()

    def _saved(self, capture, program, seeds, tensors):
        """What backward reads becomes its arguments: seeds, arguments, what forward made."""
        saved = []
        for buffer in program.buffers():
            holder = buffer.holder
            if holder is None:
                continue
            for k, seed in enumerate(seeds):
                if seed._storage is holder._storage:
                    buffer.argument = k
            for k, tensor in enumerate(tensors):
                if tensor._storage is holder._storage:
                    buffer.holder, buffer.argument = tensor, len(seeds) + k
            made = capture.buffer_of(holder)
            if made is not None and made.holder is None:
                buffer.argument = len(seeds) + len(tensors) + len(saved)
                saved.append(buffer)
        return saved

    def start(self, executable: Executable) -> None:
        """Takes the first program, made ready, and makes the second so."""
        self._executable = executable
        self.second = Executable(optimize(self._program), self._fixed)
        # Autograd adds to gradients in place, unless it sees that somebody else has them.
        met = [o.buffer for o in self.second.program.results]
        self._shared = [k for k, b in enumerate(met) if b.holder is not None or b in met[:k]]

    def run(self, tensors, numbers, call):
        """The results, with one node of history."""
        made = self._executable.run(tensors, numbers)
        results, saved = made[: self._count], made[self._count :]
        kept = [t if u else None for t, u in zip(tensors, self._used, strict=True)]
        node = CompiledBackward(self, tensors, call)
        node.edges = tuple([(tensors[i] if i.__class__ is int else i)._node for i in self._inputs])
        node.order, node.results = next_order(), len(self._roots)
        node.save_for_backward(*kept, *saved, *self._saved_given)
        function.keep(node, ())
        for i, k in enumerate(self._roots):
            results[k]._node = node if node.results == 1 else Output(node, i)
        return results

    def backward(self, tensors, saved, grads):
        """The gradients of the inputs; `tensors` were the arguments, as far as they matter."""
        seeds = [
            grad if grad.layout is layout else _empty(layout).copy_(grad)
            for grad, layout in zip(grads, self._seeds, strict=True)
        ]
        try:
            made = list(self.second.run([*seeds, *tensors, *saved], ()))
        except KernelFailed as failed:
            raise failed.__cause__ or failed from None
        for k in self._shared:
            made[k] = made[k].clone()
        found = iter(made)
        return [None if absent else next(found) for absent in self._absent]

    def gradients(self, node, grads):
        """The gradients of the inputs, from those of the results."""
        came = sum(1 << k for k, grad in enumerate(grads) if grad is not None)
        twice, given, count = modes.state.grad, node.saved_tensors, len(node.tensors)
        saved = given[count : len(given) - len(self._saved_given)]
        modes.set_grad(False)
        try:
            grads = [
                _empty(layout).zero_() if grad is None else grad
                for grad, layout in zip(grads, self._seeds, strict=True)
            ]
            found = [
                gradient if came & bits else None  # where no gradient came from, none arrives
                for gradient, bits in zip(
                    self.backward(given[:count], saved, grads), self._behind, strict=True
                )
            ]
        finally:
            modes.set_grad(twice)
        return self.again(node, grads, found) if twice else found

    def again(self, node, grads, known):
        """The gradients `known`, with a history: by the function itself, run once more. Where it
        does not do what it did, they cannot be differentiated.
        """
        if self.differentiated is not None:
            self.differentiated()
        try:
            with _casting(node.casts), bounded(node.tensors):
                found = self._gradients(node.tensors, *node.call, grads)
            found = [None if b is None else a for a, b in zip(found, known, strict=True)]
            same = _are_close(found, known)
        except Unrepeatable:
            same = False
        return found if same else [None if g is None else _final(g, node.edges) for g in known]

    def _gradients(self, tensors, args, kwargs, grads):
        given: list[Any] = []
        for part in (args, kwargs):
            key_of(part, given, [], {})
        if any(a is not b for a, b in zip(given, tensors, strict=False)):
            raise Unrepeatable
        first = next_order()
        written = [tensors[w] if isinstance(w, int) else w for w in self._written]
        memory = tuple([t._storage for t in written])
        before = runtime.contents(memory)
        result = self._function(*args, **kwargs)
        runtime.restore(memory, before)  # it was written once already
        leaves, _ = pytree.tree_flatten(result)
        roots = {id(t): t for t in leaves if isinstance(t, Tensor) and _is_later(t, first)}
        if len(roots) != len(self._roots):
            raise Unrepeatable
        inputs = [tensors[i] if isinstance(i, int) else i for i in self._inputs]
        with _closed(tensors, inputs):
            return engine.grad(
                list(roots.values()), inputs, grads, create_graph=True, allow_unused=True
            )


def _is_later(tensor: Tensor, first: int) -> bool:
    node = _node(tensor)
    return node is not None and node.order > first


def _are_close(found: Sequence[Any], known: Sequence[Any]) -> bool:
    """Whether gradients are equal but for rounding; of zero, nothing else may be left. What is no
    number is not looked at.
    """
    pairs = [
        [None if t is None else t.detach().nan_to_num(0.0, 0.0, 0.0) for t in both]
        for both in zip(found, known, strict=True)
    ]
    sizes = [float(g.abs().max()) if g is not None and g.numel() else 0.0 for _, g in pairs]
    most = max(sizes, default=0.0)
    for (one, other), size in zip(pairs, sizes, strict=True):
        if (one is None) != (other is None):
            return False
        if one is None or other is None or not one.numel():
            continue
        if float((one - other).abs().max()) > 1e-3 * size + 1e-5 * most:
            return False
    return True


@contextlib.contextmanager
def _casting(stack: tuple):
    """A with block under the autocast of an earlier call."""
    before, modes.state.stack = modes.state.stack, stack
    try:
        yield
    finally:
        modes.state.stack = before


class Unrepeatable(Exception):
    """A function would not do what it did."""


class Final(Node):
    """The history of gradients that cannot be differentiated; it leads where theirs would."""

    __slots__ = ()

    def __init__(self, edges: tuple) -> None:
        self.order, self.edges, self.saved = next_order(), edges, ()
        self.extra = self.shapes = None

    def run(self, grad: Any, keep: bool) -> tuple:
        raise RuntimeError(
            "a compiled function that draws random numbers, or reads memory that it writes to, can "
            "be differentiated once only: its gradients are those of a program"
        )


def _final(tensor: Tensor, edges: tuple) -> Tensor:
    """The tensor, but differentiating it is an error."""
    out = alone(tensor)
    out._node = Final(edges)
    return out


def _empty(layout: Any) -> Tensor:
    """New memory of a layout."""
    return function_of("empty_strided")(layout.shape, layout.strides, dtype=layout.dtype)


class CompiledBackward(function.FunctionCtx):
    """The history of a run's results."""

    def __init__(self, pair: Pair, tensors: list[Any], call: tuple):
        super().__init__()
        self._pair, self.tensors, self.call, self.casts = pair, tensors, call, modes.state.stack

    def run(self, grad: Any, keep: bool) -> list[Any]:
        found = self._pair.gradients(self, (grad,) if self.results == 1 else grad)
        if not keep:
            self.saved, self.tensors, self.call = None, [], ()
        return found


def _is_fixed(buffer) -> bool:
    return buffer.holder is not None and buffer.argument is None


def _leaves(roots, tensors, first: int) -> list[tuple[Any, int]]:
    """What gradients are wanted for, arguments with a history and leaves behind the results, and
    which results (bits of a number) each is behind. Nodes before number `first` are those of other
    runs.
    """
    ends = {_node(t): t for t in tensors if t._node is not None}
    found: list[tuple[Any, int]] = []
    above: dict[Any, int] = {}
    todo: list[tuple[int, int, Any]] = []  # the latest node first, as in a backward pass

    def reach(node, bits):
        if node is not None:
            if node not in above:
                heapq.heappush(todo, (-node.order, len(above), node))
            above[node] = above.get(node, 0) | bits

    for k, t in enumerate(roots):
        reach(_node(t), 1 << k)
    while todo:
        node = heapq.heappop(todo)[-1]
        if node.extra is not None and not isinstance(node, AccumulateGrad):
            raise Broken("a tensor has hooks for its gradient, or keeps it")
        if node in ends:
            found.append((ends[node], above[node]))
        elif isinstance(node, AccumulateGrad):
            variable = node._variable()
            if variable is not None:
                found.append((variable, above[node]))
        elif isinstance(node, Node):
            if node.order < first:
                raise Broken("what was computed outside is differentiated")
            for e in node.edges or ():
                reach(e.node if isinstance(e, Output) else e, above[node])
    return found


def _node(tensor: Tensor) -> Any:
    node = tensor._node
    return node.node if isinstance(node, Output) else node
