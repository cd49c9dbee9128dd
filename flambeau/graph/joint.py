"""Forward and backward as two programs: for functions whose results somebody else differentiates.

The forward program gives, besides the function's results, what the backward program reads. For
autograd the pair is one node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from flambeau._base import explain
from flambeau.ops import FREED, AccumulateGrad, Node, Output, next_order
from flambeau.tensor import Tensor, engine, function, function_of

from .capture import Broken, Capture
from .execute import Executable
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
    """Two programs. ``run(tensors, numbers)`` is that of the first, recorded for backward."""

    def __init__(self, capture: Capture, leaving: list[Any], tensors: list[Any], watch: Watch):
        roots = [t for t in leaving if t._node is not None]
        self._roots = [k for k, t in enumerate(leaving) if t._node is not None]
        inputs = _leaves(roots, tensors, watch.first)
        # Arguments change from call to call; parameters do not.
        self._inputs = [next((k for k, t in enumerate(tensors) if t is i), i) for i in inputs]
        # Host ops compute with them already here: numbers that none of them refuses.
        seeds = [_empty_like(t).fill_(1) for t in roots]
        self._seeds = [s.layout for s in seeds]
        backward = Capture(sizes=capture.sizes)
        watch.tell(backward.end, backward.constant)
        with backward, watch, _closed(tensors, inputs):
            for seed in seeds:
                backward.give(seed)
            grads = engine.grad(roots, inputs, seeds, retain_graph=True, allow_unused=True)
        watch.settle()
        if backward.broken is not None:
            raise Broken(backward.broken)
        self._absent = [g is None for g in grads]
        program = backward.program([g for g in grads if g is not None])
        saved = self._saved(capture, program, seeds, tensors)
        self.first = capture.program([*leaving, *(b.holder for b in saved)])
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

    def run(self, tensors, numbers):
        """The results, with one node of history."""
        inputs = [tensors[i] if isinstance(i, int) else i for i in self._inputs]
        return _Compiled.apply(self, tensors, numbers, *inputs)

    def forward(self, ctx, tensors, numbers):
        made = self._executable.run(tensors, numbers)
        results, saved = made[: self._count], made[self._count :]
        kept = [t if u else None for t, u in zip(tensors, self._used, strict=True)]
        ctx.save_for_backward(*kept, *saved, *self._saved_given)
        ctx.pair, ctx.split = self, (len(tensors), len(saved))
        ctx.mark_non_differentiable(*[r for k, r in enumerate(results) if k not in self._roots])
        return results

    def backward(self, ctx, grads):
        given = ctx.saved_tensors
        seeds = [
            grad if grad.layout is layout else _empty_like(grad, layout).copy_(grad)
            for grad, layout in zip((grads[k] for k in self._roots), self._seeds, strict=True)
        ]
        tensors, saved = ctx.split
        made = list(self.second.run([*seeds, *given[: tensors + saved]], ()))
        for k in self._shared:
            made[k] = made[k].clone()
        found = iter(made)
        return [None if absent else next(found) for absent in self._absent]


def _empty_like(tensor: Tensor, layout: Any = None) -> Tensor:
    """New memory in the order of the tensor's, or of a layout."""
    if layout is None:
        return function_of("empty_like")(tensor.detach())
    return tensor.detach().new_empty_strided(layout.shape, layout.strides)


class _Compiled(function.Function):
    @staticmethod
    def forward(ctx, pair, tensors, numbers, *inputs):
        return pair.forward(ctx, tensors, numbers)

    @staticmethod
    @function.once_differentiable
    def backward(ctx, *grads):
        return (None, None, None, *ctx.pair.backward(ctx, grads))


def _is_fixed(buffer) -> bool:
    return buffer.holder is not None and buffer.argument is None


def _leaves(roots, tensors, first: int) -> list[Any]:
    """What gradients are wanted for: arguments with a history, leaves behind the results. Nodes
    before number `first` are those of other runs.
    """
    ends = {_node(t): t for t in tensors if t._node is not None}
    found: dict[Any, Any] = {}
    todo, seen = [_node(t) for t in roots], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.extra is not None and not isinstance(node, AccumulateGrad):
            raise Broken("a tensor has hooks for its gradient, or keeps it")
        if node in ends:
            found[node] = ends[node]
        elif isinstance(node, AccumulateGrad):
            variable = node._variable()
            if variable is not None:
                found[node] = variable
        elif isinstance(node, Node):
            if node.order < first:
                raise Broken("what was computed outside is differentiated")
            todo.extend(e.node if isinstance(e, Output) else e for e in node.edges or ())
    return list(found.values())


def _node(tensor: Tensor) -> Any:
    node = tensor._node
    return node.node if isinstance(node, Output) else node
