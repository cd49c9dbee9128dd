"""What the user hangs on nodes and tensors, and how backward calls it."""

import contextlib
import weakref

from flambeau.ops import Output, add_hook, kind_of


def place_of(tensor):
    """(node, index of its result) where the gradient of a tensor that needs one arrives."""
    edge = tensor._node
    return (edge.node, edge.index) if edge.__class__ is Output else (edge, 0)


def before(node, grad):
    """All hooks that run before a node: those on its results, then its own."""
    return before_node(node, on_results(node, grad))


def on_results(node, grad):
    """Hooks on the node's results: tensor hooks, whose answer replaces the gradient, then
    `retain_grad`.
    """
    extra = node.extra
    if node.results == 1:
        return _on_result(extra, 0, grad)
    return [_on_result(extra, index, g) for index, g in enumerate(grad)]


def _on_result(extra, index, grad):
    if grad is None:
        return None
    for hook in extra.of(index):
        replaced = hook(grad)
        if replaced is not None:
            _check(hook, replaced, grad)
            grad = replaced
    for hook in extra.of(("retain", index)):
        hook(grad)
    return grad


def _check(hook, replaced, grad):
    """Raises where a hook answers something that is no gradient in place of the one it was
    given.
    """
    if not hasattr(replaced, "layout"):
        raise TypeError(f"expected Variable, but hook returned '{type(replaced).__name__}'")
    name = getattr(hook, "__name__", type(hook).__name__)
    if replaced.layout.dtype is not grad.layout.dtype:
        raise RuntimeError(
            f"hook '{name}' has changed the type of value (was {kind_of(grad)} got "
            f"{kind_of(replaced)})"
        )
    if replaced.layout.shape != grad.layout.shape:
        raise RuntimeError(f"hook '{name}' has changed the size of value")


def before_node(node, grad):
    """Prehooks of the node: they see the gradients of all its results."""
    found = node.extra.of("pre")
    if not found:
        return grad
    values = (grad,) if node.results == 1 else tuple(grad)
    for hook in found:
        values = _replaced(hook, hook(values), values)
    return values[0] if node.results == 1 else list(values)


def after(node, results, grad):
    """Hooks of the node: they see the gradients of its inputs and of its results."""
    found = node.extra.of("node")
    if not found:
        return results
    results, outputs = tuple(results), (grad,) if node.results == 1 else tuple(grad)
    for hook in found:
        results = _replaced(hook, hook(results, outputs), results)
    return results


def _replaced(hook, answer, values):
    if answer is None:
        return values
    if not isinstance(answer, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(answer).__name__}'")
    if len(answer) != len(values):
        name = getattr(hook, "__name__", type(hook).__name__)
        raise RuntimeError(
            f"hook '{name}' has returned an incorrect number of values (got {len(answer)}, but "
            f"expected {len(values)})"
        )
    return answer


def accumulated(node):
    """Hooks of a leaf whose `grad` has been added to."""
    if node.extra is None:
        return
    leaf = node.variable
    for hook in node.extra.of("post") if leaf is not None else ():
        hook(leaf)


class Retain:
    """The hook behind `retain_grad`: stores the gradient in the tensor's `grad`, without keeping
    the tensor alive.
    """

    __slots__ = ("_tensor",)

    def __init__(self, tensor):
        self._tensor = weakref.ref(tensor)

    def __call__(self, grad):
        tensor = self._tensor()
        if tensor is not None:
            tensor._grad = grad if tensor._grad is None else tensor._grad + grad


def retains(tensor) -> bool:
    """Whether the gradient of a computed tensor is kept."""
    node, index = place_of(tensor)
    return node is not None and node.extra is not None and bool(node.extra.of(("retain", index)))


def retain(tensor):
    """Keeps the gradient of a computed tensor in its `grad`."""
    if not retains(tensor):
        node, index = place_of(tensor)
        add_hook(node, ("retain", index), Retain(tensor))


@contextlib.contextmanager
def retained(tensors):
    """While the histories of these tensors are exchanged: what is kept is the gradient of the value
    that a tensor has, not of the one that was overwritten."""
    keeping = [t for t in tensors if retains(t)]
    for tensor in keeping:
        node, index = place_of(tensor)
        del node.extra.hooks["retain", index]
    yield
    for tensor in keeping:
        if tensor._node is not None:
            retain(tensor)


# Not empty once somebody wants to know which backward is running: hooks over several tensors,
# checkpoints.
runs_matter: list = []


class Run:
    """One backward, as hooks see it: `modes.state.running`. `restricted`: to some inputs."""

    def __init__(self, roots, restricted=False):
        self.roots, self.restricted = roots, restricted

    def reached(self):
        """The nodes that this backward comes to."""
        seen, todo = set(), [e.node if e.__class__ is Output else e for e in self.roots]
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            todo.extend(
                e.node if e.__class__ is Output else e for e in node.edges or () if e is not None
            )
        return seen
