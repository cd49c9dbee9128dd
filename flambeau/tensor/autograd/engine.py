"""Backward: from results to leaves, latest op first."""

import sys
import weakref
from heapq import heappop, heappush

from flambeau.ops import FREED, AccumulateGrad, Output, find, modes

from .grad_mode import set_grad_enabled

# References to a gradient that nobody else holds, as `_accumulate` sees it; measured at the first use, because Python
# versions differ in what a call's arguments count for.
_alone: int = 0


def run(roots, grads, *, retain_graph=False, create_graph=False, inputs=None):
    """Propagates `grads` from the edges `roots` towards the leaves.

    `inputs`: edges whose gradients are returned, in order (None where none arrived); leaves then accumulate nothing.
    Without `inputs`, gradients accumulate in the leaves' `grad`.
    """
    before = modes.state.grad
    if before != create_graph:
        modes.set_grad(create_graph)
    try:
        return _run(roots, grads, retain_graph or create_graph, create_graph, inputs)
    finally:
        if modes.state.grad != before:
            modes.set_grad(before)


def _run(roots, grads, retain, create_graph, inputs):
    pending: dict = {}
    heap: list = []
    captured, wanted = {}, None
    if inputs is not None:
        wanted = {}
        for edge in inputs:
            node, index = (edge.node, edge.index) if edge.__class__ is Output else (edge, 0)
            wanted.setdefault(node, set()).add(index)
        useful = _leads_to(roots, wanted)
    for edge, grad in zip(roots, grads, strict=True):
        _send(edge, grad, pending, heap)
    while heap:
        node = heappop(heap)
        grad = pending.pop(node)
        if node.hooks is not None:
            grad = _before(node, grad)
        if wanted is not None:
            if node in wanted:
                for index in wanted[node]:
                    captured[node, index] = grad[index] if node.results > 1 else grad
            if node not in useful:
                continue
        elif node.__class__ is AccumulateGrad:
            _accumulate(node, grad, create_graph)
            continue
        if node.saved is None:
            raise RuntimeError(FREED)
        if modes.state.anomaly:
            results = _watched(node, grad)
        else:
            results = node.rule.backward(node, grad, *node.rule.unpack(node)) if node.rule else node.apply(grad)
        if not retain:
            node.saved = None
            if node.rule is None:
                node.release()
        if node.hooks is not None:
            results = _after(node, results, grad)
        for edge, result in zip(node.edges, results, strict=True):
            if edge is None or result is None:
                continue
            if edge.__class__ is Output:
                _send(edge, result, pending, heap)
            elif edge in pending:
                pending[edge] = pending[edge] + result
            else:
                pending[edge] = result
                heappush(heap, edge)
    if wanted is None:
        return None
    return [captured.get((e.node, e.index) if e.__class__ is Output else (e, 0)) for e in inputs]


def _send(edge, grad, pending, heap):
    """Adds `grad` to what has arrived at `edge`."""
    if edge.__class__ is not Output:
        if edge in pending:
            pending[edge] = pending[edge] + grad
        else:
            pending[edge] = grad
            heappush(heap, edge)
        return
    node, index = edge.node, edge.index
    have = pending.get(node)
    if have is None:
        have = pending[node] = [None] * node.results
        heappush(heap, node)
    have[index] = grad if have[index] is None else have[index] + grad


def _leads_to(roots, wanted):
    """Nodes from which a wanted node is reached through at least one edge. Iterative: graphs are deep."""
    useful, state, todo = set(), {}, [e.node if e.__class__ is Output else e for e in roots]
    while todo:
        node = todo[-1]
        children = [e.node if e.__class__ is Output else e for e in node.edges or () if e is not None]
        if node not in state:
            state[node] = False
            todo.extend(c for c in children if c not in state)
            continue
        todo.pop()
        if not state[node]:
            state[node] = True
            if any(c in useful or c in wanted for c in children):
                useful.add(node)
    return useful


def _before(node, grad):
    """Hooks on the node's results (tensor hooks, retain_grad, captures) and before the node."""
    lists = node.hooks.lists
    single = node.results == 1
    values = [grad] if single else list(grad)
    for index in range(len(values)):
        if values[index] is None:
            continue
        for hook in list(lists.get(index, {}).values()):
            replaced = hook(values[index])
            if replaced is not None:
                values[index] = replaced
        for hook in list(lists.get(("retain", index), {}).values()):
            hook(values[index])
    for hook in node.hooks.of("pre"):
        replaced = hook(tuple(values))
        if replaced is not None:
            values = list(replaced) if isinstance(replaced, tuple | list) else [replaced]
    return values[0] if single else values


def _after(node, results, grad):
    for hook in node.hooks.of("node"):
        outputs = (grad,) if node.results == 1 else tuple(grad)
        replaced = hook(tuple(results), outputs)
        if replaced is not None:
            results = replaced if isinstance(replaced, tuple | list) else (replaced,)
    return results


def _accumulate(node, grad, create_graph):
    """Adds to the leaf's `grad`; the first gradient is taken as it is where nobody else can see it."""
    leaf = node.variable
    if leaf is None:
        return
    have = leaf._grad
    if have is None:
        # A gradient that something else refers to, or that does not lie as the leaf does, is copied.
        if create_graph:
            leaf._grad = grad
        elif sys.getrefcount(grad) <= _alone and grad._base is None and grad.layout is leaf.layout:
            grad._node = None
            leaf._grad = grad
        else:
            leaf._grad = _copy(grad, leaf)
    elif create_graph:
        leaf._grad = have + grad
    else:
        have.add_(grad)
    if node.hooks is not None:
        for hook in node.hooks.of("post"):
            hook(leaf)


def _copy(grad, leaf):
    out = find("empty_like").door(leaf)
    return out.copy_(grad)


def _measure():
    """Calls `_accumulate` as `_run` does, with a gradient that is referenced nowhere else."""
    global _alone

    class Probe:
        variable = property(lambda self: self)
        hooks = None

        @property
        def _grad(self):
            return None

    seen = []

    def accumulate(node, grad, create_graph):
        leaf = node.variable
        have = leaf._grad
        if have is None and not create_graph:
            seen.append(sys.getrefcount(grad))

    pending = {0: object()}
    for _ in range(1):
        grad = pending.pop(0)
        accumulate(Probe(), grad, False)
    _alone = seen[0]


_measure()


def _watched(node, grad):
    """Anomaly mode: names the forward line of the op whose backward fails or makes the first nan."""
    try:
        results = node.apply(grad)
    except Exception as error:
        if node.line:
            error.add_note(f"  in the backward of {node.name()}, recorded at {node.line}")
        raise
    with set_grad_enabled(False):
        for i, result in enumerate(results):
            if result is not None and result.dtype.kind in "fc" and bool((result != result).any()):
                where = f"\n  recorded at {node.line}" if node.line else ""
                raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.{where}")
    return results


class Retain:
    """The hook behind `retain_grad`: stores the gradient in the tensor's `grad`, without keeping the tensor alive."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor):
        self._tensor = weakref.ref(tensor)

    def __call__(self, grad):
        tensor = self._tensor()
        if tensor is not None:
            tensor._grad = grad if tensor._grad is None else tensor._grad + grad


def _roots(tensors, grads):
    """The edges and gradients to start from, checked as PyTorch does."""
    edges, starts = [], []
    grads = (None,) * len(tensors) if grads is None else grads
    for i, (t, g) in enumerate(zip(tensors, grads, strict=True)):
        if t._node is None:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        if g is None:
            if t.layout.numel != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            g = find("ones_like").door(t)
        elif g.layout.shape != t.layout.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a shape of {t.shape}."
            )
        edges.append(t._node)
        starts.append(g)
    return edges, starts


def _sequence(value):
    if value is None or isinstance(value, list | tuple):
        return value
    return (value,) if hasattr(value, "layout") else tuple(value)


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None):
    """Adds the gradients of `tensors` (weighted by `grad_tensors`) to the `grad` of the graph's leaves.

    `inputs` restricts that to the given tensors, which may also be computed ones. `retain_graph` keeps the saved
    values for another backward; `create_graph` records the backward itself.
    """
    tensors, grads, inputs = _sequence(tensors), _sequence(grad_tensors), _sequence(inputs)
    if inputs is not None and not inputs:
        raise RuntimeError("'inputs' argument to backward() cannot be empty.")
    edges, starts = _roots(tensors, grads)
    retain = bool(retain_graph) or create_graph
    if inputs is None:
        run(edges, starts, retain_graph=retain, create_graph=create_graph)
        return
    found = run(edges, starts, retain_graph=retain, create_graph=create_graph, inputs=[_edge(t) for t in inputs])
    for tensor, grad in zip(inputs, found, strict=True):
        if grad is not None:
            tensor.grad = grad if tensor.grad is None else tensor.grad + grad


def _edge(tensor):
    if tensor._node is None:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return tensor._node


def grad(
    outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, only_inputs=True, allow_unused=None,
    is_grads_batched=False, materialize_grads=False,
):  # fmt: skip
    """The gradients of `outputs` (weighted by `grad_outputs`) with respect to `inputs`, as a tuple.

    Nothing is added to any `grad`. An input that the outputs do not depend on is an error, unless `allow_unused`
    (then None) or `materialize_grads` (then zeros).
    """
    outputs, inputs, grads = _sequence(outputs), _sequence(inputs), _sequence(grad_outputs)
    if is_grads_batched:
        rows = [
            grad(outputs, inputs, [g[i] for g in grads], True, create_graph, only_inputs, allow_unused, False,
                 materialize_grads)
            for i in range(len(grads[0]))
        ]  # fmt: skip
        return tuple(None if column[0] is None else find("stack").door(list(column)) for column in zip(*rows, strict=True))
    edges, starts = _roots(outputs, grads)
    retain = create_graph if retain_graph is None else retain_graph
    found = run(edges, starts, retain_graph=bool(retain), create_graph=create_graph, inputs=[_edge(t) for t in inputs])
    results = []
    for tensor, result in zip(inputs, found, strict=True):
        if result is None:
            if materialize_grads:
                result = find("zeros_like").door(tensor)
            elif not allow_unused:
                raise RuntimeError(
                    "One of the differentiated Tensors appears to not have been used in the graph. Set "
                    "allow_unused=True if this is the desired behavior."
                )
        results.append(result)
    return tuple(results)
