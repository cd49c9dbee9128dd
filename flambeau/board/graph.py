"""A model as a graph for TensorBoard: the ops that one call of it performs, under the modules that
perform them.
"""

import contextlib

from flambeau.ops import interpreting, perform_plainly
from flambeau.tensor import Tensor, no_grad

from .message import integer, message, text

_PRODUCER = 22  # the version of TensorFlow's GraphDef
_SHAPE, _LIST = 7, 1  # of TensorFlow's AttrValue


def _tensors(values):
    """The tensors among values, and in lists, tuples and dicts of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


class Recorder:
    """An interpreter that notes a node for each op that a model calls."""

    def __init__(self, model):
        self.nodes: list[bytes] = []
        self._model, self._scope, self._outer = model, [], []  # outer: the scopes around this one
        self._names: dict[str, int] = {}
        # The node that made each tensor, which is kept so that no other gets its id.
        self._made: dict[int, tuple[str, Tensor]] = {}
        self._owned = {
            id(tensor): name
            for tensors in (model.named_parameters(), model.named_buffers())
            for name, tensor in tensors
        }
        self._paths = {"": [type(model).__name__]}

    def _unique(self, name):
        count = self._names[name] = self._names.get(name, -1) + 1
        return f"{name}_{count}" if count else name

    def add(self, name, kind, inputs, results):
        """A node whose results are the tensors `results`."""
        name = self._unique(name)
        shapes = (
            message(_SHAPE, *(message(2, integer(1, size)) for size in tensor.shape))
            for tensor in results
        )
        shown = message(5, text(1, "_output_shapes"), message(2, message(_LIST, *shapes)))
        self.nodes.append(
            message(1, text(1, name), text(2, kind), *(text(3, each) for each in inputs), shown)
        )
        for tensor in results:
            self._made[id(tensor)] = name, tensor

    def node_of(self, tensor):
        if id(tensor) not in self._made:
            owned = self._owned.get(id(tensor))
            if owned is None:
                self.add("/".join([*self._scope, "constant"]), "Const", (), (tensor,))
            else:
                module, _, name = owned.rpartition(".")
                self.add("/".join([*self._path(module), name]), "Parameter", (), (tensor,))
        return self._made[id(tensor)][0]

    def process(self, op, args, target):
        made = perform_plainly(op, args, target)
        inputs = [self.node_of(tensor) for tensor in _tensors(args)]
        name = "/".join([*self._scope, op.name.strip("_")])
        self.add(name, f"aten::{op.name}", inputs, list(_tensors((made,))))
        return made

    def _path(self, name):
        """The scope of the module of that name: the classes and names of those around it."""
        if name not in self._paths:
            around, _, last = name.rpartition(".")
            kind = type(self._model.get_submodule(name)).__name__
            self._paths[name] = [*self._path(around), f"{kind}[{last}]"]
        return self._paths[name]

    @contextlib.contextmanager
    def watching(self):
        """A with block in which ops are noted under the modules that call them."""
        handles = []
        for name, module in self._model.named_modules():
            path = self._path(name)

            def enter(module, args, path=path):
                self._outer.append(self._scope)
                self._scope = path

            def leave(module, args, result):
                self._scope = self._outer.pop()

            handles += [
                module.register_forward_pre_hook(enter),
                module.register_forward_hook(leave),
            ]
        try:
            with interpreting(self):
                yield
        finally:
            for handle in handles:
                handle.remove()


def graph_of(model, inputs) -> bytes:
    """The graph of ``model(*inputs)`` as the bytes of a message `GraphDef`."""
    inputs = inputs if isinstance(inputs, list | tuple) else (inputs,)
    recorder = Recorder(model)
    for tensor in _tensors(inputs):
        recorder.add("input/x", "IO Node", (), (tensor,))
    with no_grad(), recorder.watching():
        result = model(*inputs)
    for tensor in _tensors((result,)):
        recorder.add("output/output", "IO Node", [recorder.node_of(tensor)], ())
    return b"".join(recorder.nodes) + message(4, integer(1, _PRODUCER))
