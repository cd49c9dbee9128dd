"""What an op leaves behind for backward: nodes, edges and saved values."""

import functools
import keyword
import weakref

from flambeau import runtime
from flambeau._base import RemovableHandle, explain

from .modes import interpreters, state


def next_order():
    """The next number in the order of all nodes."""
    return runtime.next_order()


FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you "
    "call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward "
    "through the graph a second time or if you need to access saved tensors after calling "
    "backward."
)

INFERENCE = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
    "inference mode in computation tracked by autograd. To work around this, you can make a clone "
    "to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
    "`torch.inference_mode()`."
)


def refuse_inference():
    """Raises for a tensor that was made in inference mode and would be saved."""
    raise explain(RuntimeError, INFERENCE)


# Not empty while any thread is in anomaly mode or has saved-tensor hooks: only then recording does
# more.
watchers: list = []


class Extra:
    """What few nodes have: hooks by kind, the user's metadata, the line that recorded the node."""

    __slots__ = ("hooks", "line", "meta")

    def __init__(self):
        self.hooks: dict = {}
        self.meta: dict | None = None
        self.line = None

    def of(self, kind):
        """The hooks of a kind, in the order of their registration."""
        table = self.hooks.get(kind)
        return list(table.values()) if table else ()


class Node:
    """One step of the graph that backward walks from results to inputs.

    `edges[i]` is the node of tensor input i (or an `Output` of a node with several results), None
    where no gradient is wanted. `saved` holds what the gradient formulas read: a tuple, a `Packed`,
    or None when it was freed. `order` grows as nodes are made, so whoever consumed a value comes
    behind its maker. Every op has a subclass of its own, whose `run` is generated.
    """

    __slots__ = ("__weakref__", "edges", "extra", "order", "saved", "shapes")
    extra: "Extra | None"
    results = 1
    rule = None

    def run(self, grad, keep):
        """Gradients for the edges, in order, from the gradient of the result (a list of them, if
        there are several).

        Without `keep`, the saved values are dropped, so that memory is free before the graph is.
        """
        raise NotImplementedError

    def __call__(self, *grads):
        found = self.run(grads[0] if self.results == 1 else list(grads), True)
        return found[0] if len(found) == 1 else tuple(found)

    def name(self) -> str:
        return type(self).__name__

    def __repr__(self):
        return f"<{self.name()} object at {id(self):#x}>"

    def __getattr__(self, name):
        """``_saved_NAME`` is the value that was saved under the schema's name."""
        if name.startswith("_saved_") and self.rule is not None:
            wanted = name.removeprefix("_saved_")
            if wanted in self.rule.saves:
                return self.rule.unpack(self)[self.rule.saves.index(wanted)]
            if wanted in self.rule.arguments:
                return None
        raise AttributeError(
            f"{self.name()!r} object has no attribute {name!r}", name=name, obj=self
        )

    @property
    def next_functions(self):
        """Pairs (node, index of its result) that this node's gradients go to, as in PyTorch."""
        return tuple(
            (e.node, e.index) if e.__class__ is Output else (e, 0) for e in self.edges or ()
        )

    @property
    def line(self) -> str | None:
        """Where the user recorded this node; known in anomaly mode only."""
        return None if self.extra is None else self.extra.line

    @property
    def metadata(self) -> dict:
        extra = extras(self)
        if extra.meta is None:
            extra.meta = {}
        return extra.meta

    def _sequence_nr(self) -> int:
        return self.order

    def register_hook(self, hook):
        """Calls ``hook(grad_inputs, grad_outputs)`` after this node ran; a returned tuple replaces
        grad_inputs.
        """
        return add_hook(self, "node", hook)

    def register_prehook(self, hook):
        """Calls ``hook(grad_outputs)`` before this node runs; a returned tuple replaces them."""
        return add_hook(self, "pre", hook)


class Output:
    """Result number `index` of a node that has several."""

    __slots__ = ("index", "node")

    def __init__(self, node, index):
        self.node, self.index = node, index


class AccumulateGrad(Node):
    """Where a leaf's gradient arrives. It refers to its tensor weakly, so that leaf and node form
    no cycle.
    """

    __slots__ = ("_variable",)

    def __init__(self, variable):
        # Before every op that reads the leaf: all contributions have arrived.
        self.order = next_order()
        self.extra = self.shapes = None
        self.edges, self.saved = (), ()
        self._variable = weakref.ref(variable)

    @property
    def variable(self):
        return self._variable()


class Table(dict):
    """A dictionary that handles may refer to weakly."""

    __slots__ = ("__weakref__",)


def extras(node: Node) -> Extra:
    """The node's `Extra`, made where it has none."""
    if node.extra is None:
        node.extra = Extra()
    return node.extra


def add_hook(node: Node, kind, hook) -> RemovableHandle:
    """Attaches `hook` to `node` under `kind` ("node", "pre", "retain", "post", or the index of a
    result).
    """
    table = extras(node).hooks.setdefault(kind, Table())
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


class Packed:
    """Saved values of which the user's hooks have packed the tensors."""

    __slots__ = ("unpack", "values")

    def __init__(self, values, pack, unpack):
        self.unpack = unpack
        self.values = tuple(self._pack(v, pack) for v in values)

    def _pack(self, value, pack):
        if hasattr(value, "_storage"):
            return Item(value, pack)
        if value.__class__ is tuple or value.__class__ is list:
            return tuple(self._pack(v, pack) for v in value)
        return value

    def opened(self, value):
        """`value` as it was before packing."""
        if value.__class__ is tuple:
            return tuple(self.opened(v) for v in value)
        return value.open(self.unpack) if value.__class__ is Item else value


class Item:
    """One packed tensor and its place in the graph."""

    __slots__ = ("node", "packed")

    def __init__(self, tensor, pack):
        bare = alone(tensor)
        version = bare._storage.version
        self.node, self.packed = tensor._node, pack(bare)
        if bare._storage.version != version:
            raise explain(
                RuntimeError,
                "A saved tensor pack hook is modifying its input in place. Tensors provided as "
                "input to pack hook cannot be modified by in-place operations as this can lead to "
                "unexpected side-effects. Please open an issue if you need to perform in-place "
                "operations on the input to a pack hook.",
            )

    def open(self, unpack):
        tensor = unpack(self.packed)
        if not hasattr(tensor, "_storage"):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(tensor).__name__}"
            )
        if self.node is None:
            return tensor
        again = alone(tensor)
        again._node = self.node
        return again


class Rule:
    """How one op's results are recorded, and its gradients computed. One for each (op, kinds of
    arguments).

    `gradients` maps argument names to functions whose parameter names say what they read: schema
    arguments, results (`result`, or the schema's names), `grad` (or `grad_NAME`, for several
    results), `ARGUMENT_layout` and `ARGUMENT_offset`, which keep no memory alive, and `needs`, a
    list of booleans. A function of an op with one result may carry `if_real`: an op that is called
    in its place, on the same values, where the gradient is real.
    """

    def __init__(self, name, arguments, tensors, lists, results, gradients):
        self.name, self.results, self.gradients = name, results, gradients
        self.tensors, self.lists = tensors, lists
        self.arguments = arguments
        self.differentiable = [a for a in arguments if a in tensors or a in lists]
        self.reads = {a: _parameters(f) for a, f in gradients.items()}
        wanted = {p for names in self.reads.values() for p in names}
        derived = [
            p for p in sorted(wanted) if p.endswith(("_layout", "_offset")) and p not in arguments
        ]
        self.saves = (
            [a for a in arguments if a in wanted] + derived + [r for r in results if r in wanted]
        )
        # Which saved values are tensors (their versions are checked), and which lists of them.
        self.watched = [s for s in self.saves if s in tensors or s in lists or s in results]
        self.kind = type(
            name,
            (Node,),
            {
                "__slots__": (),
                "__module__": "torch.autograd.graph",
                "rule": self,
                "results": len(results),
                "run": self._make_run(),
            },
        )
        self._recorder = self._make_recorder()

    def recorder(self, shapes):
        """record(result, *arguments), with a description from which native code makes the same
        node.
        """
        record = self._recorder(shapes)
        if not self.lists and len(self.results) == 1 and len(self.differentiable) < 60:
            start_recording()
            record.recording = self._recording(shapes)
        return record

    def _recording(self, shapes):
        """What `_make_recorder` says in Python."""
        saved = []
        for name in self.saves:
            users = [a for a in self.gradients if name in self.reads[a]]
            needed = sum(
                1 << self.differentiable.index(a) for a in users if a in self.differentiable
            )
            argument, _, what = name.rpartition("_")
            if name in self.results:
                saved.append(runtime.Saved("result", 0, needed, True))
            elif name in self.tensors:
                saved.append(runtime.Saved("tensor", self.arguments.index(name), needed, True))
            elif name in self.arguments:
                saved.append(runtime.Saved("plain", self.arguments.index(name)))
            else:
                saved.append(runtime.Saved(what, self.arguments.index(argument)))
        edges = [
            self.arguments.index(a) if a in self.gradients else -1 for a in self.differentiable
        ]
        return runtime.Recording(self.kind, shapes, len(self.arguments), tuple(edges), tuple(saved))

    def record(self, shapes, result, *arguments):
        """Makes the node and hangs it on the result. `shapes`: layouts that gradients are brought
        to.
        """
        return self._recorder(shapes)(result, *arguments)

    def _make_recorder(self):
        """recorder(shapes) gives record(result, *arguments)."""
        arguments = [_safe(a) for a in self.arguments]
        lines = [
            "def recorder(_shapes):",
            f" def record(_result, {', '.join(arguments)}):",
            "  _node = _Kind()",
        ]
        edges = []
        for a in self.differentiable:
            name = _safe(a)
            if a in self.lists:
                gathered = f"[None if t is None else t._node for t in {name} or ()]"
                if a not in self.gradients:
                    gathered = f"[None for t in {name} or ()]"
                lines.append(f"  _list_{a} = {gathered}")
                lines.append(
                    f"  _edge_{a} = True if any([e is not None for e in _list_{a}]) else None"
                )
                edges.append(f"*_list_{a}")
            else:
                lines.append(f"  _edge_{a} = {f'{name}._node' if a in self.gradients else 'None'}")
                edges.append(f"_edge_{a}")
        values, versions = [], []
        for name in self.saves:
            value, version = self._saved_source(name)
            values.append(value)
            versions += version
            lines += [f"  if {v}: _refuse()" for v in self._unsaveable(name)]
        lines += [
            "  _node.order = _next()",
            "  _node.extra = None",
            "  _node.shapes = _shapes",
            f"  _node.edges = ({''.join(e + ', ' for e in edges)})",
            f"  _node.saved = ({''.join(v + ', ' for v in values + versions)})",
            f"  if _watchers: _dress(_node, {len(values)})",
            "  _hang(_node, _result)" if len(self.results) > 1 else "  _result._node = _node",
            "  return _node",
            " return record",
        ]
        scope = {
            "_Kind": self.kind,
            "_next": runtime.next_order,
            "_alone": alone,
            "_watchers": watchers,
            "_dress": _dress,
            "_hang": hang,
            "_refuse": refuse_inference,
        }
        exec(compile("\n".join(lines), "<flambeau generated>", "exec"), scope)
        return scope["recorder"]

    def _unsaveable(self, name):
        """Source of whether a saved argument is an inference tensor, in a list."""
        if name not in self.tensors and name not in self.lists:
            return []
        local = _safe(name)
        below = "{}._storage.version < 0"
        if name in self.lists:
            return [f"any([t is not None and {below.format('t')} for t in {local} or ()])"]
        return [f"({self._needed(name)}) and {below.format(local)}"]

    def _needed(self, name):
        """Source of whether any edge needs a saved value."""
        users = [a for a in self.gradients if name in self.reads[a] and a in self.differentiable]
        return " or ".join(f"_edge_{a} is not None" for a in users) or "False"

    def _saved_source(self, name):
        """Source of a saved value, and of its version in a list (empty where it has none)."""
        need = self._needed(name)
        if name in self.results:
            source = "_result" if len(self.results) == 1 else f"_result[{self.results.index(name)}]"
            return f"(_alone({source}) if {need} else None)", [f"{source}._storage.version"]
        local = _safe(name)
        if name in self.tensors:
            return f"({local} if {need} else None)", [
                f"({local}._storage.version if {need} else 0)"
            ]
        if name in self.lists:
            listed = f"[None if t is None else t._storage.version for t in {local} or ()]"
            return f"({local} if {need} else None)", [listed]
        return (local if name in self.arguments else _derived(name, self.lists)), []

    def _make_run(self):
        """run(node, grad, keep): the gradients, aligned with the edges."""
        names = [_safe(n) for n in self.saves]
        lines = ["def run(_node, grad, keep):"]
        if names:
            versions = [f"_version_{n}" for n in self.watched]
            lines += [
                "    _saved = _node.saved",
                "    if _saved.__class__ is not tuple: _saved = _reopen(_node, _saved)",
                f"    {', '.join(names + versions)}, = _saved",
            ]
        for n in self.watched:
            check = "_check_list" if n in self.lists else "_modified"
            moved = "" if n in self.lists else f" and {_safe(n)}._storage.version != _version_{n}"
            lines.append(
                f"    if {_safe(n)} is not None{moved}: {check}({_safe(n)}, _version_{n}, _node)"
            )
        for i, r in enumerate(self.results):
            if r in self.saves:
                lines.append(
                    f"    if {r} is not None and (_state.grad or _interpreters):"
                    f" {r} = _attach(_node, {r}, {i})"
                )
        if self.watched:
            lines.append("    if not keep: _node.saved = None")
        if len(self.results) > 1:
            lines.append(f"    {', '.join(f'grad_{r}' for r in self.results)}, = grad")
        quick = {
            f"_if_real_{a}": f.if_real.door
            for a, f in self.gradients.items()
            if hasattr(f, "if_real")
        }
        if quick:
            lines.append("    _real = grad.layout.dtype.kind == 'f'")
        lines += self._calls_with_lists() if self.lists else self._calls()
        scope = (
            {f"_grad_of_{a}": f for a, f in self.gradients.items()}
            | {
                "_fit": _fit,
                "_reopen": _reopen,
                "_check_list": _check_list,
                "_modified": modified,
                "_state": state,
                "_interpreters": interpreters,
                "_attach": _attach,
            }
            | quick
        )
        exec(compile("\n".join(lines), "<flambeau generated>", "exec"), scope)
        return scope["run"]

    def _call(self, argument):
        function = self.gradients[argument]
        if function.__code__.co_code == _IDENTITY.co_code and self.reads[argument] == ("grad",):
            return "grad"
        reads = ", ".join(map(_safe, self.reads[argument]))
        call = f"_grad_of_{argument}({reads})"
        if hasattr(function, "if_real"):
            return f"(_if_real_{argument}({reads}) if _real else {call})"
        return call

    def _calls(self):
        edges = [f"_edge_{a}" for a in self.differentiable]
        lines = [f"    {', '.join(edges)}, = _node.edges"] if edges else []
        if any("needs" in r for r in self.reads.values()):
            lines.append("    needs = [e is not None for e in _node.edges]")
        found = [
            f"({self._call(a)} if _edge_{a} is not None else None)"
            if a in self.gradients
            else "None"
            for a in self.differentiable
        ]
        made = f"({''.join(f + ', ' for f in found)})"
        return [*lines, "    _shapes = _node.shapes", f"    if _shapes is None: return {made}",
                f"    return _fit(_shapes, {made})"]  # fmt: skip

    def _calls_with_lists(self):
        lines = ["    _edges, _start, _out = _node.edges, 0, []"]
        for a in self.differentiable:
            listed = a in self.lists
            size = "1"
            if listed:  # one list takes what the single tensors leave
                known = _safe(a) if a in self.saves else None
                size = (
                    f"len(_edges) - {len(self.differentiable) - 1}"
                    if len(self.lists) == 1
                    else f"len({known})"
                )
            call = (
                self._call(a) if a in self.gradients else ("[None] * _size" if listed else "None")
            )
            lines += [
                f"    _size = {size}",
                "    needs = [e is not None for e in _edges[_start:_start + _size]]",
                f"    _out += {call if listed else f'[{call}]'} if any(needs) else [None] * _size",
                "    _start += _size",
            ]
        return [*lines, "    return _out"]

    def unpack(self, node):
        """The saved values of a node; an error where they were freed or modified."""
        saved = node.saved
        if saved.__class__ is not tuple:
            saved = _reopen(node, saved)
        values = list(saved[: len(self.saves)])
        for name, version in zip(self.watched, saved[len(self.saves) :], strict=True):
            value = values[self.saves.index(name)]
            if value is None:
                continue
            if name in self.lists:
                _check_list(value, version, node)
            elif value._storage.version != version:
                modified(value, version, node)
        return values


@functools.cache
def start_recording():
    """Tells native code what nodes look like."""
    runtime.configure_nodes(watchers, Node.edges, Node.extra, Node.order, Node.saved, Node.shapes)


_IDENTITY = (lambda grad: grad).__code__


def _safe(name):
    """A schema's name as a Python identifier."""
    return name + "_" if keyword.iskeyword(name) else name


def _attach(node, tensor, index):
    """A saved result, again part of the graph: for double backward, and for interpreters that know
    it by its node.
    """
    again = alone(tensor)
    again._node = node if node.results == 1 else Output(node, index)
    return again


def hang(node, result):
    """Gives each differentiable result of a node with several its place."""
    for i, t in enumerate(result):
        if t is not None and t.layout.dtype.kind in "fc":
            t._node = Output(node, i)


def alone(tensor):
    """The tensor's memory in a tensor without history, so that a node may keep its own result
    without a cycle.
    """
    return runtime.wrap(tensor._storage, tensor.layout, tensor._offset)


def _derived(name, lists):
    """The source of a saved value: the layout or offset of an argument."""
    argument, _, what = name.rpartition("_")
    what = "_offset" if what == "offset" else what
    if argument in lists:
        return f"[t.{what} for t in {_safe(argument)}]"
    return f"{_safe(argument)}.{what}"


def _parameters(function):
    code = function.__code__
    return code.co_varnames[: code.co_argcount]


_fit_gradient = _note_line = None


def bind(fit, note):
    """Told by the tensor layer how to bring a gradient to an input's layout, and how to note the
    forward line.
    """
    global _fit_gradient, _note_line
    _fit_gradient, _note_line = fit, note


def _dress(node, values):
    """What anomaly mode and the user's saved-tensor hooks add to a new node, whose first `values`
    are no versions.
    """
    if state.anomaly:
        _note_line(node)
    if state.saved_hooks:
        pack, unpack = state.saved_hooks[-1]
        node.saved = Packed(node.saved[:values], pack, unpack)


def _reopen(node, saved):
    """The saved values of a node that has been freed (an error) or whose values were packed."""
    if saved is None:
        raise explain(RuntimeError, FREED)
    rule = node.rule
    values = [saved.opened(v) for v in saved.values]
    versions = []
    for name in rule.watched:  # packed values are the user's: their versions are not ours to check
        value = values[rule.saves.index(name)]
        if name in rule.lists:
            versions.append([None if t is None else t._storage.version for t in value or ()])
        else:
            versions.append(0 if value is None else value._storage.version)
    return (*values, *versions)


def _fit(shapes, grads):
    return [
        g if s is None or g is None else _fit_gradient(g, s)
        for g, s in zip(grads, shapes, strict=True)
    ]


def _check_list(tensors, versions, node):
    for t, v in zip(tensors, versions, strict=True):
        if t is not None and t._storage.version != v:
            modified(t, v, node)


def kind_of(tensor):
    """PyTorch's name for the type of a tensor: torch.FloatTensor."""
    return f"torch.{tensor.dtype.type_name}Tensor"


def modified(tensor, version, node=None):
    """Raises PyTorch's error for a saved tensor that was written since; `node` saved it."""
    made, origin = tensor._node, ""
    maker, index = (made.node, made.index) if made.__class__ is Output else (made, 0)
    if maker is None and node is not None and node.rule is not None and node.saved is not None:
        held = [v is tensor for v in node.saved[: len(node.rule.saves)]]
        if True in held and node.rule.saves[held.index(True)] in node.rule.results:
            maker, index = node, node.rule.results.index(node.rule.saves[held.index(True)])
    if maker is not None and maker.__class__ is not AccumulateGrad:
        label, _, overload = maker.name().rpartition("Backward")
        origin = f", which is output {index} of {label}{overload.strip('0')},"
    hint = (
        "the backtrace further above shows the operation that failed to compute its gradient: it "
        "was called\n"
        f"  at {node.line}"
        if node is not None and node.line
        else "enable anomaly detection to find the operation that failed to compute its gradient, "
        "with torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )
    raise explain(
        RuntimeError,
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [{kind_of(tensor)} {list(tensor.shape)}]{origin} is at version "
        f"{tensor._storage.version}; expected version {version} instead. Hint: {hint}",
    )
