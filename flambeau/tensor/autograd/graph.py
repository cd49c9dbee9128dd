"""The graph as users see it: saved-tensor hooks, hooks over several tensors, edges."""

import contextlib
import threading
import weakref
from typing import NamedTuple

from flambeau.ops import Node, Output, add_hook, modes, watchers

from .hooks import place_of, runs_matter

state = modes.state


class saved_tensors_hooks:
    """Inside, what ops save for backward goes through ``pack(tensor)``, and comes back by
    ``unpack(packed)``.
    """

    def __init__(self, pack_hook, unpack_hook):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self):
        message = getattr(state, "saved_hooks_refused", None)
        if message is not None:
            raise RuntimeError(message)
        state.saved_hooks = (*state.saved_hooks, (self.pack_hook, self.unpack_hook))
        watchers.append("saved")

    def __exit__(self, *exception):
        state.saved_hooks = state.saved_hooks[:-1]
        watchers.remove("saved")


class save_on_cpu(saved_tensors_hooks):
    """Inside, what ops save for backward waits in the memory of the CPU, which is not pinned."""

    def __init__(self, pin_memory=False, device_type="cuda"):
        super().__init__(
            lambda t: (t.device, t.to(device="cpu")), lambda packed: packed[1].to(device=packed[0])
        )


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str):
    """Inside, `saved_tensors_hooks` raise RuntimeError with this message."""
    before = getattr(state, "saved_hooks_refused", None)
    state.saved_hooks_refused = error_message
    try:
        yield
    finally:
        state.saved_hooks_refused = before


class GradientEdge(NamedTuple):
    """Where a gradient flows: result `output_nr` of `node`. Stands for a tensor in `backward` and
    `grad`.
    """

    node: Node
    output_nr: int
    ownership_token: Node | None = None

    @property
    def edge(self):
        return self.node if self.node.results == 1 else Output(self.node, self.output_nr)


def get_gradient_edge(tensor) -> GradientEdge:
    """The edge at which the gradient of a tensor arrives."""
    if tensor._node is None:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require "
            "gradients"
        )
    return GradientEdge(*place_of(tensor))


def increment_version(tensor) -> None:
    """Tells autograd that a tensor (or each of several) was written by other means."""
    for t in (tensor,) if hasattr(tensor, "_storage") else tensor:
        t._storage.version += 1


class _Handles:
    def __init__(self, handles):
        self.handles = tuple(handles)

    def remove(self):
        for handle in self.handles:
            handle.remove()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.remove()


def register_multi_grad_hook(tensors, fn, *, mode="all"):
    """Calls `fn` in each backward: when the gradients of all `tensors` are known (mode "all":
    ``fn(grads)``, None for those that the backward does not reach), or at the first one (mode
    "any": ``fn(grad)``).
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    tensors = tuple(tensors)
    make = _when_all if mode == "all" else _at_first
    if not runs_matter:
        runs_matter.append(True)
    return _Handles(add_hook(*place_of(t), hook) for t, hook in zip(tensors, make(tensors, fn)))


def _at_first(tensors, fn):
    seen = weakref.WeakSet()
    lock = threading.Lock()

    def hook(grad):
        run = state.running
        with lock:
            if run in seen:
                return
            seen.add(run)
        fn(grad)

    return [hook] * len(tensors)


def _when_all(tensors, fn):
    places = [place_of(t) for t in tensors]
    runs = weakref.WeakKeyDictionary()
    lock = threading.Lock()

    def make(index):
        def hook(grad):
            run = state.running
            with lock:
                found = runs.get(run)
                if found is None:
                    reached = run.reached()
                    found = runs[run] = [
                        [None] * len(places),
                        sum(node in reached for node, _ in places),
                    ]
                found[0][index] = grad
                found[1] -= 1
                done = found[1] == 0
            if done:
                fn(list(found[0]))

        return hook

    return [make(i) for i in range(len(places))]
