"""Backward: from results to leaves, latest op first."""

import weakref
from heapq import heappop, heappush, heappushpop
from sys import getrefcount

from flambeau import runtime
from flambeau._base import explain
from flambeau.ops import (
    AccumulateGrad,
    Node,
    Output,
    extras,
    find,
    inplace_plan,
    modes,
    start_recording,
    watchers,
)

from . import hooks
from .anomaly import watched_run

state, interpreters = modes.state, modes.interpreters

# References to a gradient that nobody else holds, as `accumulate` sees it: straight from a node,
# and through `arrive`.
# Measured below, because Python versions differ in what a call's arguments count for.
_alone = _alone_arriving = 0


def run(roots, grads, *, retain_graph=False, create_graph=False, inputs=None, accumulating=False):
    """Propagates `grads` from the edges `roots` towards the leaves.

    `inputs`: edges whose gradients are returned, in order (None where none arrived); leaves then
    accumulate nothing, unless `accumulating`, which restricts accumulation to those among `inputs`.
    Without `inputs`, gradients accumulate in the `grad` of all leaves.
    """
    if hooks.runs_matter:
        outer, state.running = getattr(state, "running", None), hooks.Run(roots, inputs is not None)
    before = state.grad
    if before != create_graph:
        modes.set_grad(create_graph)
    try:
        if inputs is None and not watchers and len(roots) == 1 and roots[0].__class__ is not Output:
            return _run_all(roots[0], grads[0], retain_graph or create_graph, create_graph)
        return _run_some(
            roots, grads, retain_graph or create_graph, create_graph, inputs, accumulating
        )
    finally:
        if hooks.runs_matter:
            state.running = outer
        if state.grad != before:
            modes.set_grad(before)


_tensor_type: type


def bind(tensor_type):
    """Says which class tensors are of."""
    global _tensor_type
    _tensor_type = tensor_type


def _arrive_shared(edge, grad):
    accumulate(edge, grad, False, 0)


def _first_chain(held, keep, limit):
    """Before the first backward, tells native code what nodes look like."""
    global _chain
    start_recording()
    runtime.configure_backward(
        Node,
        AccumulateGrad,
        interpreters,
        _adder,
        _arrive_shared,
        AccumulateGrad._variable,
        _tensor_type._grad,
    )
    _chain = runtime.chain
    return _chain(held, keep, limit)


_chain = _first_chain  # runs nodes natively, as long as that is plain


def _run_all(node, grad, keep, create_graph):
    """The common case: from one node to all leaves. A chain of nodes needs no heap."""
    pending: dict = {}  # by order: [node, gradient so far]
    heap: list = []  # negative orders of what is pending
    if node.__class__ is AccumulateGrad:
        arrive(node, grad, create_graph)
        return
    while True:
        following, edges, results = None, (), ()
        if not create_graph:
            held = [node, grad]
            node = grad = None
            left = _chain(held, keep, -heap[0] if heap else 0)
            if left is not None:
                node, first, results = left
                if node is None:
                    edges = first
                else:
                    grad = first
                left = first = None
        if node is not None:
            if node.extra is None:
                results = node.run(grad, keep)
            else:
                results = hooks.after(node, node.run(grad := hooks.before(node, grad), keep), grad)
            edges = node.edges
            grad = node = None  # a gradient that is passed on must be seen to be alone
        for edge, result in zip(edges, results):
            if edge is None or result is None:
                continue
            kind = edge.__class__
            if kind is AccumulateGrad:
                if edge.extra is None:
                    accumulate(edge, result, create_graph, _alone)
                else:
                    _send(edge, result, pending, heap)
            elif kind is Output:
                _send_part(edge, result, pending, heap)
            elif edge is following:
                grad = grad + result
            elif edge.order in pending:
                place = pending[edge.order]
                place[1] = place[1] + result
            elif following is None:
                following, grad = edge, result
            else:
                pending[edge.order] = [edge, result]
                heappush(heap, -edge.order)
        results = result = None
        if not heap:
            if following is None:
                return
            node = following
        elif following is not None and following.order > -heap[0]:
            node = following
        else:
            if following is None:
                order = -heappop(heap)
            else:
                pending[following.order] = [following, grad]
                order = -heappushpop(heap, -following.order)
            node, grad = pending.pop(order)
            while node.__class__ is AccumulateGrad:
                arrive(node, grad, create_graph)
                if not heap:
                    return
                node, grad = pending.pop(-heappop(heap))


def _run_some(roots, grads, keep, create_graph, inputs, accumulating):
    """The general case: several roots, gradients of certain edges only, anomaly mode."""
    pending: dict = {}
    heap: list = []
    captured: dict = {}
    wanted, useful = None, ()
    if inputs is not None:
        wanted = {}
        for edge in inputs:
            node, index = (edge.node, edge.index) if edge.__class__ is Output else (edge, 0)
            wanted.setdefault(node, set()).add(index)
        useful = _leads_to(roots, wanted)
    for edge, grad in zip(roots, grads):
        _send_part(edge, grad, pending, heap) if edge.__class__ is Output else _send(
            edge, grad, pending, heap
        )
    while heap:
        node, grad = pending.pop(-heappop(heap))
        if wanted is not None:
            needed = node in useful
            if node in wanted:
                if node.extra is not None:
                    grad = hooks.on_results(node, grad)
                for index in wanted[node]:
                    captured[node, index] = grad[index] if node.results > 1 else grad
                if accumulating and node.__class__ is AccumulateGrad:
                    accumulate(node, grad, create_graph, 0)
                    hooks.accumulated(node)
            elif needed and node.extra is not None:
                grad = hooks.on_results(node, grad)
            if not needed:
                continue
            if node.extra is not None:
                grad = hooks.before_node(node, grad)
        elif node.__class__ is AccumulateGrad:
            arrive(node, grad, create_graph)
            continue
        elif node.extra is not None:
            grad = hooks.before(node, grad)
        results = watched_run(node, grad, keep) if state.anomaly else node.run(grad, keep)
        if node.extra is not None:
            results = hooks.after(node, results, grad)
        grad = None
        for edge, result in zip(node.edges, results):
            if edge is None or result is None:
                continue
            if edge.__class__ is Output:
                _send_part(edge, result, pending, heap)
            else:
                _send(edge, result, pending, heap)
        results = result = None
    if wanted is None:
        return None
    return [captured.get((e.node, e.index) if e.__class__ is Output else (e, 0)) for e in inputs]


def _send(node, grad, pending, heap):
    """Adds `grad` to what has arrived at the only result of `node`."""
    place = pending.get(node.order)
    if place is not None:
        place[1] = place[1] + grad
        return
    pending[node.order] = [node, grad]
    heappush(heap, -node.order)


def _send_part(edge, grad, pending, heap):
    """Adds `grad` to what has arrived at one of a node's several results."""
    node, index = edge.node, edge.index
    place = pending.get(node.order)
    if place is None:
        place = pending[node.order] = [node, [None] * node.results if node.results > 1 else None]
        heappush(heap, -node.order)
    if node.results == 1:
        place[1] = grad if place[1] is None else place[1] + grad
        return
    have = place[1]
    have[index] = grad if have[index] is None else have[index] + grad


def _leads_to(roots, wanted):
    """Nodes from which a wanted node is reached through at least one edge. Iterative: graphs are
    deep.
    """
    useful, done, todo = set(), {}, [e.node if e.__class__ is Output else e for e in roots]
    while todo:
        node = todo[-1]
        children = [
            e.node if e.__class__ is Output else e for e in node.edges or () if e is not None
        ]
        if node not in done:
            done[node] = False
            todo.extend(c for c in children if c not in done)
            continue
        todo.pop()
        if not done[node]:
            done[node] = True
            if any(c in useful or c in wanted for c in children):
                useful.add(node)
    return useful


def arrive(node, grad, create_graph):
    """The whole gradient of a leaf has arrived: its hooks, then its `grad`."""
    extra = node.extra
    if extra is None or not (extra.of(0) or extra.of("pre") or extra.of("node")):
        accumulate(node, grad, create_graph, _alone_arriving)
    else:  # a hook may have kept the gradient that it saw or gave
        grad = hooks.before(node, grad)
        accumulate(node, grad, create_graph, 0)
        hooks.after(node, (), grad)
    if extra is not None:
        hooks.accumulated(node)


LIMIT = 10_000  # remembered plans; more means that layouts keep changing
_adders: dict = {}


def accumulate(node, grad, create_graph, alone):
    """Adds to the leaf's `grad`; the first gradient is taken as it is where at most `alone`
    references to it exist.
    """
    leaf = node._variable()
    if leaf is None:
        return
    have = leaf._grad
    if have is None:
        # A gradient that something else refers to, or that does not lie as the leaf does, is
        # copied.
        if getrefcount(grad) <= alone and grad._base is None and grad.layout is leaf.layout:
            if not create_graph:
                grad._node = None
            leaf._grad = grad
        else:
            leaf._grad = _copy(grad, leaf)
    elif create_graph:
        leaf._grad = have + grad
    elif interpreters:
        have.add_(grad)
    else:
        _adder(have, grad)(have, grad, 1)


def _adder(have, grad):
    """The plan of ``have.add_(grad)``."""
    plan = _adders.get((have.layout, grad.layout))
    if plan is None:
        plan = inplace_plan(find("add"), _adders_by_key, (have, grad, 1))
        if len(_adders) > LIMIT:
            _adders.clear()
        _adders[have.layout, grad.layout] = plan
    return plan


_adders_by_key: dict = {}


_copiers: dict = {}


def _copy(grad, leaf):
    """A copy of a gradient that lies as the leaf does."""
    key = (leaf.layout, grad.layout)
    plan = _copiers.get(key)
    if plan is not None and not interpreters:
        return plan(grad, grad.layout.dtype, True)
    cast = find("_to_copy")
    out = cast.door(grad, grad.layout.dtype, True)
    if out.layout is leaf.layout:
        if plan is None:
            if len(_copiers) > LIMIT:
                _copiers.clear()
            _copiers[key] = cast.plan((grad, grad.layout.dtype, True))
        return out
    if grad.layout.shape != leaf.layout.shape:
        return out
    lying = find("empty_strided").door(
        leaf.layout.shape, leaf.layout.strides, dtype=grad.layout.dtype, device=grad.layout.device
    )
    return lying.copy_(grad)


class _Grad:
    """Stands for a gradient while `_measure` runs; tells when it is found to be alone."""

    met: list = []
    layout = None
    _base = property(met.append)


class _Leaf:
    _grad = layout = None


class _Maker:
    """Stands for a node whose one gradient is new."""

    extra, order, results = None, 0, 1

    def __init__(self, leaf, hook):
        edge = AccumulateGrad.__new__(AccumulateGrad)
        edge.order, edge.extra, edge._variable = 0, None, weakref.ref(leaf)
        self.edges = (edge,)
        if hook:
            extras(self.edges[0])

    def run(self, grad, keep):
        return (self.make(),)

    make = _Grad


def _measure():
    """Runs backward on a graph of doubles: the least number of references at which a new gradient
    is taken.
    """
    global _alone, _alone_arriving
    for hook in (False, True):
        while not _Grad.met:
            leaf = _Leaf()
            if hook:
                _alone_arriving += 1
            else:
                _alone += 1
            try:
                _run_all(_Maker(leaf, hook), None, False, True)
            except (
                AttributeError
            ):  # the copy of a gradient that seems to be shared: doubles have none
                pass
        _Grad.met.clear()


_measure()


def _roots(tensors, grads):
    """The edges and gradients to start from, checked as PyTorch does."""
    edges, starts = [], []
    if grads is None:
        grads = (None,) * len(tensors)
    elif len(grads) != len(tensors):
        raise explain(RuntimeError, f"got {len(tensors)} tensors and {len(grads)} gradients")
    for i, (t, g) in enumerate(zip(tensors, grads)):
        if not hasattr(t, "layout") and not hasattr(t, "edge"):
            raise TypeError(f"element {i} of tensors is no Tensor but {type(t).__name__}")
        edge = t._node if hasattr(t, "layout") else t.edge
        if edge is None:
            raise explain(
                RuntimeError,
                f"element {i} of tensors does not require grad and does not have a grad_fn",
            )
        starts.append(_ones(t) if g is None else _start(i, t, g))
        edges.append(edge)
    return edges, starts


def _ones(tensor):
    """The gradient of a scalar root with respect to itself."""
    layout = tensor.layout
    plan = _seeds.get(layout)
    if plan is not None and not interpreters:
        return plan(layout.shape, 1.0, layout.dtype, layout.device)
    if layout.numel != 1:
        raise explain(RuntimeError, "grad can be implicitly created only for scalar outputs")
    if layout.dtype.kind != "f":
        raise explain(
            RuntimeError,
            f"grad can be implicitly created only for real scalar outputs but got {layout.dtype}",
        )
    full = find("full")
    args = layout.shape, 1.0, layout.dtype, layout.device
    if not interpreters:
        if len(_seeds) > LIMIT:
            _seeds.clear()
        _seeds[layout] = full.plan(args)
    return full.door(*args[:2], dtype=args[2], device=args[3])


_seeds: dict = {}


def _start(i, tensor, grad):
    if not hasattr(grad, "layout"):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(grad).__name__}")
    if not hasattr(tensor, "layout"):
        return grad
    if grad.layout.shape != tensor.layout.shape:
        raise explain(
            RuntimeError,
            f"Mismatch in shape: grad_output[{i}] has a shape of {grad.shape} and output[{i}] has "
            f"a shape of {tensor.shape}.",
        )
    if (
        "c" in (grad.layout.dtype.kind, tensor.layout.dtype.kind)
        and grad.layout.dtype is not tensor.layout.dtype
    ):
        raise explain(
            RuntimeError,
            "For complex Tensors, both grad_output and output are required to have the same "
            f"dtype. Mismatch in dtype: grad_output[{i}] has a dtype of {grad.dtype} and "
            f"output[{i}] has a dtype of {tensor.dtype}.",
        )
    return grad if grad.layout.dtype is tensor.layout.dtype else grad.to(tensor.layout.dtype)


def _sequence(value):
    if value is None or isinstance(value, list | tuple):
        return (value,) if hasattr(value, "edge") else value
    return (value,) if hasattr(value, "layout") else tuple(value)


def backward_from(tensor, gradient=None, retain_graph=None, create_graph=False, inputs=None):
    """Computes the gradient of this tensor with respect to the graph's leaves and adds it to
    their `grad`: see `autograd.backward`.
    """
    # The common case, one scalar loss and all leaves, goes without the checks of the general one.
    node = tensor._node
    general = (
        gradient is not None or inputs is not None or create_graph or watchers or hooks.runs_matter
    )
    if general or node is None or node.__class__ is Output:
        backward((tensor,), (gradient,), retain_graph, create_graph, inputs=inputs)
        return
    layout = tensor.layout
    plan = _seeds.get(layout)
    if plan is None or interpreters:
        seed = _ones(tensor)
    else:
        seed = plan(layout.shape, 1.0, layout.dtype, layout.device)
    if not state.grad:
        _run_all(node, seed, retain_graph, False)
        return
    # modes.set_grad, in line
    state.grad = False
    runtime.shift_grad(1)
    try:
        _run_all(node, seed, retain_graph, False)
    finally:
        state.grad = True
        runtime.shift_grad(-1)


def backward(
    tensors,
    grad_tensors=None,
    retain_graph=None,
    create_graph=False,
    grad_variables=None,
    inputs=None,
):
    """Adds the gradients of `tensors` (weighted by `grad_tensors`) to the `grad` of the graph's
    leaves.

    `inputs` restricts that to the given tensors, which may also be computed ones. `retain_graph`
    keeps the saved values for another backward (by default as `create_graph`, which records the
    backward itself).
    """
    tensors, grads, inputs = _sequence(tensors), _sequence(grad_tensors), _sequence(inputs)
    if inputs is not None and not inputs:
        raise explain(RuntimeError, "`inputs` argument to `backward()` cannot be empty.")
    edges, starts = _roots(tensors, grads)
    keep = create_graph if retain_graph is None else bool(retain_graph)
    if inputs is None:
        run(edges, starts, retain_graph=keep, create_graph=create_graph)
        return
    targets = [_edge(t) for t in inputs]
    for tensor, target in zip(inputs, targets):
        if target.__class__ is not AccumulateGrad and hasattr(tensor, "layout"):
            hooks.retain(tensor)
    run(
        edges,
        starts,
        retain_graph=keep,
        create_graph=create_graph,
        inputs=targets,
        accumulating=True,
    )


def _edge(tensor):
    if not hasattr(tensor, "layout") and not hasattr(tensor, "edge"):
        raise RuntimeError(
            "all inputs have to be Tensors or GradientEdges, but got " + type(tensor).__name__
        )
    edge = tensor._node if hasattr(tensor, "layout") else tensor.edge
    if edge is None:
        raise explain(RuntimeError, "One of the differentiated Tensors does not require grad")
    return edge


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph=None,
    create_graph=False,
    only_inputs=True,
    allow_unused=None,
    is_grads_batched=False,
    materialize_grads=False,
):
    """The gradients of `outputs` (weighted by `grad_outputs`) with respect to `inputs`, as a tuple.

    Nothing is added to any `grad`. An input that the outputs do not depend on is an error, unless
    `allow_unused` (then None) or `materialize_grads` (then zeros). `is_grads_batched`: dimension 0
    of each of `grad_outputs` lists several weights, and the results have that dimension too.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    outputs, inputs, grads = _sequence(outputs), _sequence(inputs), _sequence(grad_outputs)
    if is_grads_batched:
        return _each(outputs, inputs, grads, create_graph, allow_unused, materialize_grads)
    edges, starts = _roots(outputs, grads)
    keep = create_graph if retain_graph is None else bool(retain_graph)
    found = run(
        edges,
        starts,
        retain_graph=keep,
        create_graph=create_graph,
        inputs=[_edge(t) for t in inputs],
    )
    return tuple(
        _unused(i, t, allow_unused, materialize_grads) if g is None else g
        for i, (t, g) in enumerate(zip(inputs, found))
    )


def _each(outputs, inputs, grads, create_graph, allow_unused, materialize_grads):
    """`grad` once for each row of batched `grad_outputs`."""
    rows = [
        grad(
            outputs,
            inputs,
            [None if g is None else g[i] for g in grads],
            True,
            create_graph,
            True,
            allow_unused,
            False,
            materialize_grads,
        )
        for i in range(len(next(g for g in grads if g is not None)))
    ]
    stack = find("stack").door
    return tuple(None if column[0] is None else stack(list(column)) for column in zip(*rows))


def _unused(i, tensor, allow_unused, materialize_grads):
    if materialize_grads:
        return find("zeros_like").door(tensor)
    if not allow_unused:
        raise explain(
            RuntimeError,
            f"The differentiated Tensor at index {i} appears to not have been used in the graph. "
            "Set allow_unused=True if this is the desired behavior.",
        )
    return None
