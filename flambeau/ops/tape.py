"""What an op leaves behind for backward: nodes, edges and saved values."""

import itertools
import weakref

from flambeau import runtime

from .modes import state

_sequence = itertools.count(1)


class Node:
    """One step of the graph that backward walks from results to inputs.

    `edges[i]` is the node of tensor input i (or an `Output` of a node with several results), None where no gradient is
    wanted. `saved` holds what the gradient formulas read. `order` falls as nodes are made, so that a heap yields the
    latest first.
    """

    __slots__ = ("__weakref__", "edges", "hooks", "line", "meta", "order", "rule", "saved", "shapes", "versions")
    results = 1

    def __init__(self):
        self.order = -next(_sequence)
        self.hooks = None
        self.meta = None
        self.line = None

    def __lt__(self, other):  # a heap compares nodes of equal order: never, but tuples ask
        return self.order < other.order

    def name(self) -> str:
        return self.rule.name

    def __repr__(self):
        return f"<{self.name()} object at {id(self):#x}>"

    @property
    def next_functions(self):
        """Pairs (node, index of its result) that this node's gradients go to, as in PyTorch."""
        pairs = []
        for edge in self.edges or ():
            pairs.append((edge.node, edge.index) if edge.__class__ is Output else (edge, 0))
        return tuple(pairs)

    @property
    def metadata(self) -> dict:
        if self.meta is None:
            self.meta = {}
        return self.meta

    def apply(self, grad):
        """Gradients for the edges, in order, from the gradient of the result (a list of them, if there are several)."""
        if self.saved is None:
            raise RuntimeError(FREED)
        return self.rule.backward(self, grad, *self.unpack())

    def unpack(self):
        """The saved values; checks that no saved tensor was modified since."""
        return self.rule.unpack(self)

    def release(self):
        """Drops the saved values, so that memory is free before the graph is."""
        self.saved = None

    def register_hook(self, hook):
        """Calls ``hook(grad_inputs, grad_outputs)`` after this node ran; a returned tuple replaces grad_inputs."""
        return add_hook(self, "node", hook)

    def register_prehook(self, hook):
        """Calls ``hook(grad_outputs)`` before this node runs; a returned tuple replaces them."""
        return add_hook(self, "pre", hook)


FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access saved "
    "tensors after calling backward."
)


class Output:
    """Result number `index` of a node that has several."""

    __slots__ = ("index", "node")

    def __init__(self, node, index):
        self.node, self.index = node, index


class AccumulateGrad(Node):
    """Where a leaf's gradient arrives. It refers to its tensor weakly, so that leaf and node form no cycle."""

    __slots__ = ("_variable",)

    def __init__(self, variable):
        self.order = 0  # behind every op: all contributions have arrived
        self.hooks = self.meta = self.line = None
        self.edges, self.saved, self.versions, self.rule = (), (), (), None
        self._variable = weakref.ref(variable)

    @property
    def variable(self):
        return self._variable()

    def name(self):
        return "AccumulateGrad"


class Hooks:
    """Callables attached to a node: on the gradient of result `index` (tensor hooks), before it, after it."""

    __slots__ = ("lists",)

    def __init__(self):
        self.lists = {}

    def of(self, kind):
        return list(self.lists.get(kind, {}).values())


class Handle:
    """Removes what it was returned for: ``handle.remove()``; also a context manager."""

    __slots__ = ("_key", "_table", "id")
    _ids = itertools.count()

    def __init__(self, table: dict):
        self._table, self._key = weakref.ref(table) if hasattr(table, "__weakref__") else (lambda: table), next(self._ids)
        self.id = self._key

    def remove(self):
        table = self._table()
        if table is not None:
            table.pop(self._key, None)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.remove()


def add_hook(node: Node, kind, hook) -> Handle:
    """Attaches `hook` to `node` under `kind` ("node", "pre", "retain", "post", or the index of a result)."""
    if node.hooks is None:
        node.hooks = Hooks()
    table = node.hooks.lists.setdefault(kind, {})
    handle = Handle(table)
    table[handle.id] = hook
    return handle


class Saved:
    """A tensor packed by the user's saved-tensor hooks."""

    __slots__ = ("packed", "unpack")

    def __init__(self, tensor, pack, unpack):
        self.packed, self.unpack = pack(tensor), unpack


class Rule:
    """How one op's results are recorded, and its gradients computed. One for each (op, kinds of arguments).

    `gradients` maps argument names to functions whose parameter names say what they read: schema arguments, results
    (`result`, or the schema's names), `grad` (or `grad_NAME`, for several results), `ARGUMENT_layout` and
    `ARGUMENT_offset`, which keep no memory alive, and `needs`, a list of booleans.
    """

    def __init__(self, name, arguments, tensors, lists, results, gradients):
        self.name, self.arguments, self.results, self.gradients = name, arguments, results, gradients
        self.differentiable = [a for a in arguments if a in tensors or a in lists]
        reads = {a: _parameters(f) for a, f in gradients.items()}
        wanted = {p for names in reads.values() for p in names}
        derived = [p for p in sorted(wanted) if p.endswith(("_layout", "_offset")) and p not in arguments]
        self.saves = [a for a in arguments if a in wanted] + derived + [r for r in results if r in wanted]
        self.record = self._make_record(tensors, lists, reads)
        self.backward = self._make_backward(tensors, lists, reads)

    def _make_record(self, tensors, lists, reads):
        """record(result, shapes, *arguments): makes the node and hangs it on the result."""
        several = len(self.results) > 1
        lines = [f"def record(shapes, result, {', '.join(self.arguments)}):"]
        edges = []
        for a in self.differentiable:
            if a in lists:
                edges.append(f"*[t._node for t in {a}]")
                lines.append(f"    edge_{a} = any([t._node is not None for t in {a}])")
            else:
                lines.append(f"    edge_{a} = {a}._node" + ("" if a in self.gradients else " and None"))
                edges.append(f"edge_{a}")
        lines += [
            "    node = new(Node)",
            "    node.order = -next(sequence)",
            "    node.hooks = node.meta = node.line = None",
            "    node.rule, node.shapes = rule, shapes",
            f"    node.edges = ({''.join(e + ', ' for e in edges)})",
        ]
        values, versions = [], []
        for name in self.saves:
            users = [a for a in self.gradients if name in reads[a] and a in self.differentiable]
            need = " or ".join(f"edge_{a}" for a in users) or "False"
            source = name if name in self.arguments else _derived(name, lists)
            if name in self.results:
                source = f"alone({'result' if not several else f'result[{self.results.index(name)}]'})"
            is_tensor = name in tensors or name in self.results
            values.append(f"({source} if {need} else None)" if is_tensor or name in lists else source)
            if is_tensor:
                place = len(values) - 1
                versions.append(f"(None if values[{place}] is None else values[{place}].storage.version)")
            elif name in lists:
                versions.append(f"[t.storage.version for t in {name}]")
            else:
                versions.append("None")
        lines.append(f"    values = ({''.join(v + ', ' for v in values)})")
        lines.append(f"    node.versions = ({''.join(v + ', ' for v in versions)})")
        lines.append("    if state.saved_hooks: values = pack(values)")
        lines.append("    node.saved = values")
        lines.append("    if state.anomaly: note(node)")
        if several:
            lines.append("    hang(node, result)")
        else:
            lines.append("    result._node = node")
        lines.append("    return node")
        scope = {
            "new": object.__new__, "Node": Several if several else Node, "sequence": _sequence, "rule": self,
            "alone": alone, "state": state, "pack": _pack, "hang": hang, "note": _note,
        }  # fmt: skip
        exec("\n".join(lines), scope)
        return scope["record"]

    def _make_backward(self, tensors, lists, reads):
        """backward(node, grad, *saved): the gradients, aligned with the edges."""
        several = len(self.results) > 1
        names = self.saves
        lines = [f"def backward(node, grad{''.join(', ' + n for n in names)}):"]
        if several:
            unpacked = ", ".join(f"grad_{r}" for r in self.results)
            lines.append(f"    {unpacked}, = grad")
        outputs = []
        if lists:
            lines.append("    edges, start, out = node.edges, 0, []")
        for i, a in enumerate(self.differentiable):
            call = f"grad_of_{a}({', '.join(reads.get(a, ()))})"
            if a not in self.gradients:
                call = "[None] * size" if a in lists else "None"
            if lists:
                size = f"len({a})" if a in lists and a in names else "1"
                if a in lists and a not in names:
                    size = f"len(edges) - {len(self.differentiable) - 1}"
                lines.append(f"    size = {size}")
                lines.append("    needs = [e is not None for e in edges[start:start + size]]")
                wrapped = call if a in lists else f"[{call}]"
                lines.append(f"    out += {wrapped} if any(needs) else [None] * size")
                lines.append("    start += size")
            else:
                guard = f"node.edges[{i}] is not None"
                outputs.append(f"({call} if {guard} else None)")
        if lists:
            lines.append("    return out")
        else:
            lines.append("    shapes = node.shapes")
            lines.append(f"    if shapes is None: return ({''.join(o + ', ' for o in outputs)})")
            lines.append(f"    return fit(shapes, ({''.join(o + ', ' for o in outputs)}))")
        scope = {f"grad_of_{a}": f for a, f in self.gradients.items()} | {"fit": _fit}
        if not lists and any("needs" in r for r in reads.values()):
            lines.insert(1, "    needs = [e is not None for e in node.edges]")
        exec("\n".join(lines), scope)
        return scope["backward"]

    def unpack(self, node):
        values = list(node.saved)
        for i, version in enumerate(node.versions):
            value = values[i]
            if value is None or (version is None and value.__class__ is not Saved):
                continue
            if value.__class__ is Saved:
                values[i] = value.unpack(value.packed)
            elif version.__class__ is list:
                for t, v in zip(value, version, strict=True):
                    if t.storage.version != v:
                        modified(t, v, node)
            elif value.storage.version != version:
                modified(value, version, node)
            if self.saves[i] in self.results and values[i] is not None:
                values[i] = self._attach(node, values[i], self.results.index(self.saves[i]))
        return values

    def _attach(self, node, tensor, index):
        """A saved result, again part of the graph, for double backward."""
        if not state.grad:
            return tensor
        again = alone(tensor)
        again._node = node if len(self.results) == 1 else Output(node, index)
        return again


class Several(Node):
    """A node with several results."""

    __slots__ = ()

    @property
    def results(self):
        return len(self.rule.results)


def hang(node, result):
    """Gives each differentiable result of a node with several its place."""
    for i, t in enumerate(result):
        if t is not None and t.layout.dtype.kind in "fc":
            t._node = Output(node, i)


def alone(tensor):
    """The tensor's memory in a tensor without history, so that a node may keep its own result without a cycle."""
    return runtime.wrap(tensor.storage, tensor.layout, tensor.offset)


def _derived(name, lists):
    """The source of a saved value: an argument, or the layout or offset of one."""
    argument, _, what = name.rpartition("_")
    if what not in ("layout", "offset"):
        return name
    return f"[t.{what} for t in {argument}]" if argument in lists else f"{argument}.{what}"


def _parameters(function):
    code = function.__code__
    return code.co_varnames[: code.co_argcount]


def _pack(values):
    pack, unpack = state.saved_hooks[-1]
    return tuple(Saved(v, pack, unpack) if hasattr(v, "storage") else v for v in values)


_fit_gradient = None


def bind(fit, note):
    """Told by the tensor layer how to bring a gradient to an input's layout, and how to note the forward line."""
    global _fit_gradient, _note_line
    _fit_gradient, _note_line = fit, note


_note_line = None


def _note(node):
    _note_line(node)


def _fit(shapes, grads):
    return [g if s is None or g is None else _fit_gradient(g, s) for g, s in zip(grads, shapes, strict=True)]


def modified(tensor, version, node):
    """Raises PyTorch's error for a saved tensor that was written since."""
    kinds = {"float32": "FloatTensor", "float64": "DoubleTensor", "int64": "LongTensor", "float16": "HalfTensor"}
    kind = kinds.get(tensor.dtype.name, tensor.dtype.name.capitalize() + "Tensor")
    origin = f", which is output {tensor.output_nr} of {tensor.grad_fn.name()}," if tensor.grad_fn is not None else ""
    hint = (
        f"the operation that saved it was called\n  at {node.line}"
        if node.line
        else "enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True)."
    )
    raise RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[torch.{kind} {list(tensor.shape)}]{origin} is at version {tensor.storage.version}; expected version "
        f"{version} instead. Hint: {hint}"
    )
