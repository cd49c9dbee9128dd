"""Graphs printed as Python: the text is PyTorch's."""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from flambeau.tensor import Tensor
from flambeau.types import Device, pytree
from flambeau.types import pytree as _pytree_module

from . import _pytree as fx_pytree
from .names import public_name, qualified_name, type_text
from .names import torch as torch_module
from .node import Node

if TYPE_CHECKING:
    from .graph import Namespace

magic_methods = {
    "eq": "{} == {}",
    "ne": "{} != {}",
    "lt": "{} < {}",
    "gt": "{} > {}",
    "le": "{} <= {}",
    "ge": "{} >= {}",
    "pos": "+{}",
    "neg": "-{}",
    "invert": "~{}",
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "floordiv": "{} // {}",
    "truediv": "{} / {}",
    "div": "{} / {}",
    "mod": "{} % {}",
    "lshift": "{} << {}",
    "rshift": "{} >> {}",
    "and_": "{} & {}",
    "or_": "{} | {}",
    "xor": "{} ^ {}",
    "getitem": "{}[{}]",
    "matmul": "{} @ {}",
    "pow": "{} ** {}",
}
inplace_methods = {
    "iadd": "{} += {}",
    "iand": "{} &= {}",
    "ifloordiv": "{} //= {}",
    "ilshift": "{} <<= {}",
    "imod": "{} %= {}",
    "imul": "{} *= {}",
    "imatmul": "{} @= {}",
    "ior": "{} |= {}",
    "ipow": "{} **= {}",
    "irshift": "{} >>= {}",
    "isub": "{} -= {}",
    "itruediv": "{} /= {}",
    "ixor": "{} ^= {}",
    "setitem": "{}[{}] = {}",
}
# What annotations such as list[int] print as.
_TYPING = {
    list: typing.List,  # noqa: UP006
    dict: typing.Dict,  # noqa: UP006
    set: typing.Set,  # noqa: UP006
    frozenset: typing.FrozenSet,  # noqa: UP006
    tuple: typing.Tuple,  # noqa: UP006
}
NO_TRACE = "# No stacktrace found for following nodes"


class _CustomBuiltin(NamedTuple):
    """A name that printed programs may use without naming where it comes from."""

    import_str: str
    obj: Any


_custom_builtins: dict[str, _CustomBuiltin] = {
    "inf": _CustomBuiltin("from math import inf", math.inf),
    "nan": _CustomBuiltin("from math import nan", math.nan),
    "NoneType": _CustomBuiltin("NoneType = type(None)", types.NoneType),
    "torch": _CustomBuiltin("import torch", torch_module()),
    "device": _CustomBuiltin("from torch import device", Device),
    "fx_pytree": _CustomBuiltin("import torch.fx._pytree as fx_pytree", fx_pytree),
    "pytree": _CustomBuiltin("import torch.utils._pytree as pytree", _pytree_module),
}


class PythonCode(NamedTuple):
    """A program as text, and what its global names stand for."""

    src: str
    globals: dict[str, Any]
    lines: tuple[str, ...] = ()  # of the body
    ends: tuple[int, ...] = ()  # where in `lines` the text of each node ends
    start: int = 0  # the line of `src` that is the first of the body

    @property
    def lineno_map(self) -> dict[int, int]:
        """For each line of `src` the position of its node in the graph."""
        found: dict[int, int] = {}
        line, begin = self.start, 0
        for place, end in enumerate(self.ends):
            count = sum(text.count("\n") for text in self.lines[begin:end])
            found |= dict.fromkeys(range(line, line + count), place)
            line, begin = line + count, end
        return found


class Style(NamedTuple):
    """How much a program's text says beside the program.

    With `verbose`, comments say which lines of the user recorded what, with `additional_meta` also
    these entries of ``node.meta``, and values have types such as ``"f32[2, 3]"`` where a pass has
    noted them, with strides and devices where they are wanted. `expanded_def` puts each parameter
    on a line of its own, `colored` adds a terminal's colours.
    """

    verbose: bool = False
    include_stride: bool = False
    include_device: bool = False
    colored: bool = False
    expanded_def: bool = False
    additional_meta: Sequence[str] = ()

    def paint(self, text: str, *codes: int) -> str:
        """`text` in the colours with these numbers of ECMA-48."""
        if not self.colored:
            return text
        return "".join(f"\x1b[{code}m" for code in codes) + text + "\x1b[0m"

    def value_type(self, node: Node) -> str:
        """The type of a value, as an annotation in quotes; "" where it is not known."""
        meta: Any = node.meta.get("val", node.meta.get("tensor_meta"))
        if not self.verbose or not (hasattr(meta, "shape") and hasattr(meta, "dtype")):
            return ""
        name = str(meta.dtype).removeprefix("torch.")
        name = _SHORT.get(name) or name.replace("float", "f").replace("uint", "u").replace(
            "int", "i"
        )
        if not isinstance(meta, Tensor):
            return f'"{name}{list(meta.shape)}"'
        stride = str(list(meta.stride())) if self.include_stride else ""
        device = str(meta.device) if self.include_device else ""
        text = self.paint(name, 31) + self.paint(str(list(meta.shape)), 34)
        return f'"{text}{self.paint(stride, 2, 34)}{self.paint(device, 2, 32)}"'


_SHORT = {"bfloat16": "bf16", "bool": "b8", "complex32": "c32", "complex64": "c64"} | {
    "complex128": "c128"
}


def format_target(base: str, target: str) -> str:
    """The attribute at a dotted path of `base`, as an expression."""
    for part in target.split("."):
        base = f"{base}.{part}" if part.isidentifier() else f'getattr({base}, "{part}")'
    return base


class CodeGen:
    """Turns a graph into a function's text. Subclasses change the signature and what is returned:

    `gen_fn_def` makes the head, `generate_output` the return statement, `process_inputs` and
    `process_outputs` do the same to the values of an interpreter, `additional_globals` names more
    global values.
    """

    def __init__(self) -> None:
        self._body_transformer: Callable[[list[str]], list[str]] | None = None
        self._func_name = "forward"

    def gen_fn_def(
        self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False
    ) -> str:
        """The line that begins the function, and what stands directly below it."""
        if not free_vars or free_vars[0] != "self":
            free_vars.insert(0, "self")
        parameters = ", ".join(free_vars)
        if expanded_def:
            parameters = "".join(["\n", *(f"    {name},\n" for name in free_vars)])
        return f"def {self._func_name}({parameters}){maybe_return_annotation}:"

    def generate_output(
        self,
        output_args: Any,
        *,
        descs: Sequence[str] | None = None,
        repr_fn: Callable[[Any], str] | None = None,
    ) -> str:
        """The return statement. `repr_fn` writes values, `descs` are comments, one for each."""
        write = repr_fn or _repr
        if descs is not None and isinstance(output_args, list | tuple):
            values = zip(output_args, descs, strict=True)
            lines = "".join(f"    {write(value)},  # {text}\n" for value, text in values)
            return f"return (\n{lines})"
        return f"return {write(output_args)}"

    def process_inputs(self, *args: Any) -> Any:
        """The values of the placeholders, for the function's arguments."""
        return args

    def process_outputs(self, outputs: Any) -> Any:
        """What the function returns, for the value of the output node."""
        return outputs

    def additional_globals(self) -> list[tuple[str, Any]]:
        """More names that the text uses, with their values."""
        return []

    def _gen_python_code(
        self,
        nodes: Iterable[Node],
        root_module: str,
        namespace: Namespace,
        **options: Any,
    ) -> PythonCode:
        nodes, style = list(nodes), Style(**options)
        body = _Body(self, root_module, namespace, last_uses(nodes), style)
        lines: list[str] = []
        ends: list[int] = []
        trace: str | None = None
        for node in nodes:
            if style.verbose:
                trace = _say_where(node, trace, lines, style)
            body.emit(node, lines)
            ends.append(len(lines))
        if not lines:
            lines.append("pass\n")
        if self._body_transformer is not None:
            lines = self._body_transformer(lines)
        for name, value in self.additional_globals():
            body.add_global(name, value)
        expanded = {"expanded_def": True} if style.expanded_def else {}
        prologue = self.gen_fn_def(body.free_vars, body.returns, **expanded)
        wrapped = ""
        if body.wrapped:
            wrap = body.add_global("wrap", body.wrap_function())
            wrapped = "\n".join(f'{wrap}("{name}")' for name in body.wrapped)
        text = "".join(lines).lstrip("\n")
        indented = "\n".join("    " + line for line in text.split("\n"))
        source = f"\n{wrapped}\n\n{prologue}\n{indented}"
        start = source.count("\n", 0, len(source) - len(indented)) + 1
        return PythonCode(source, body.globals, tuple(lines), tuple(ends), start)


def last_uses(nodes: list[Node]) -> dict[Node, list[Node]]:
    """For each node, those that nobody reads after it: they may be forgotten then."""
    seen: set[Node] = set()
    found: dict[Node, list[Node]] = {}
    for node in reversed(nodes):
        ending = [each for each in node._input_nodes if each not in seen]
        if ending:
            seen.update(ending)
            found[node] = ending
    return found


def _say_where(node: Node, before: str | None, lines: list[str], style: Style) -> str | None:
    """Adds a comment that says which line of the user recorded the node, where that changes."""
    if node.op in ("placeholder", "output"):
        return before
    place = ""
    if node.stack_trace:
        found = parse_stack_trace(node.stack_trace)
        place = f"# {found.get_summary_str()}" if found is not None else ""
    place = place or NO_TRACE
    notes = ", ".join(f"{k}: {node.meta[k]}" for k in style.additional_meta if k in node.meta)
    place = f"# {notes} {place}" if notes else place
    if place != before:
        lines.append(f"\n{style.paint(place, 2)}\n")
    return place


class _ParsedStackTrace(NamedTuple):
    """One line of a stack trace."""

    file: str
    lineno: str
    name: str
    code: str

    def get_summary_str(self) -> str:
        return f"File: {self.file}:{self.lineno} in {self.name}, code: {self.code}"


def parse_stack_trace(text: str) -> _ParsedStackTrace | None:
    """The innermost line of a stack trace; None where it is in another form."""
    lines = [line.strip() for line in text.strip().split("\n")]
    for place in range(len(lines) - 1, -1, -1):
        parts = lines[place].split(", ")
        if lines[place].startswith('File "') and len(parts) == 3:
            code = lines[place + 1] if place + 1 < len(lines) else ""
            return _ParsedStackTrace(
                parts[0][6:-1], parts[1].removeprefix("line "), parts[2].removeprefix("in "), code
            )
    return None


def _repr(arg: Any) -> str:
    return _Values({}, None).text(arg)


class _Values:
    """Expressions for values, and the global names that they need."""

    def __init__(
        self, known: dict[str, Any], namespace: Namespace | None, style: Style | None = None
    ):
        self.globals, self.namespace, self.style = known, namespace, style or Style()

    def add_global(self, hint: str, obj: Any) -> str:
        """The name by which the text calls `obj`."""
        name = public_name(obj)
        if name is not None and obj is not Device:
            return name
        name = hint.replace(".", "_")
        if self.globals.get(name) is obj or self.namespace is None:
            return name
        name = self.namespace.create_name(name, obj)
        self.globals[name] = obj
        return name

    def text(self, arg: Any) -> str:
        kind = type(arg)
        if kind is Node:
            return repr(arg)
        if kind is str or kind is int or kind is bool:
            return self.style.paint(repr(arg), 34)
        if issubclass(kind, tuple):
            if hasattr(kind, "_fields"):
                return f"{self.add_global(qualified_name(kind), kind)}{self.text(tuple(arg))}"
            inside = ", ".join(map(self.text, arg))
            return f"({inside},)" if len(arg) == 1 else f"({inside})"
        if issubclass(kind, list):
            return f"[{', '.join(map(self.text, arg))}]"
        if issubclass(kind, dict):
            return "{" + ", ".join(f"{k!r}: {self.text(v)}" for k, v in arg.items()) + "}"
        if kind is slice:
            return f"slice({self.text(arg.start)}, {self.text(arg.stop)}, {self.text(arg.step)})"
        if issubclass(kind, enum.Enum):
            return f"{self.add_global(kind.__name__, kind)}.{arg.name}"
        if callable(arg) and hasattr(arg, "__name__"):
            return self.add_global(qualified_name(arg), arg)
        if isinstance(arg, Device):
            self.add_global("device", Device)
        return self.style.paint(repr(arg), 34)

    def arguments(self, args: Iterable[Any], kwargs: dict[str, Any]) -> str:
        shown = [self.text(arg) for arg in args]
        shown += [f"{name} = {self.text(value)}" for name, value in kwargs.items()]
        return ", ".join(shown)

    def type_text(self, kind: Any) -> str:
        """A type annotation; its parts become globals."""
        if kind == ():
            return "()"
        origin = getattr(kind, "__origin__", None)
        arguments = getattr(kind, "__args__", ())
        if origin is None or not arguments:
            return self.add_global(type_text(kind), kind)
        origin = _TYPING.get(origin, origin)
        name = self.add_global(type_text(origin), origin)
        return f"{name}[{','.join(map(self.type_text, arguments))}]"


class _Body(_Values):
    """The statements of a function, node by node."""

    def __init__(
        self,
        codegen: CodeGen,
        root_module: str,
        namespace: Namespace,
        ending: dict[Node, list[Node]],
        style: Style,
    ):
        known = {name: each.obj for name, each in _custom_builtins.items()}
        super().__init__(known, namespace, style)
        self.codegen, self.root, self.ending = codegen, root_module, ending
        self.free_vars: list[str] = []
        self.wrapped: dict[str, Any] = {}
        self.returns = ""

    def wrap_function(self) -> Any:
        return torch_module().fx.wrap

    def emit(self, node: Node, lines: list[str]) -> None:
        """Adds the node's statement."""
        if node.op == "placeholder":
            self._placeholder(node, lines)
            return
        if node.op == "output":
            if node.type is not None:
                self.returns = f" -> {self.type_text(node.type)}"
            with_globals = self.codegen.generate_output(node.args[0])
            self.text(node.args[0])  # what the values need becomes global
            lines.append(f"{with_globals}\n")
            return
        name = repr(node)
        name += self._annotation(node)
        lines.append(self._statement(node, name))
        ending = self.ending.get(node, [])
        ending = ending if node.users else [*ending, node]
        if ending:
            forgotten = " = ".join([*map(repr, ending), "None"])
            lines.append(f";  {self.style.paint(forgotten, 2)}")
        lines.append("\n")

    def _annotation(self, node: Node) -> str:
        value_type = self.style.value_type(node)
        if value_type:
            return f": {value_type}"
        return f" : {self.type_text(node.type)}" if node.type is not None else ""

    def _placeholder(self, node: Node, lines: list[str]) -> None:
        default = f" = {self.text(node.args[0])}" if node.args else ""
        self.free_vars.append(f"{node.target}{self._annotation(node)}{default}")
        raw = node.target.replace("*", "")
        if raw != repr(node):
            lines.append(f"{node!r} = {raw}\n")

    def _statement(self, node: Node, name: str) -> str:
        if node.op == "call_function":
            return self._call(node, name)
        if node.op == "get_attr":
            return f"{name} = {format_target(self.root, node.target)}"
        if node.op == "call_method":
            called = format_target(self.text(node.args[0]), node.target)
            return f"{name} = {called}({self.arguments(node.args[1:], node.kwargs)})"
        called = format_target(self.root, node.target)
        return f"{name} = {called}({self.arguments(node.args, node.kwargs)})"

    def _call(self, node: Node, name: str) -> str:
        target, args = node.target, node.args
        own = getattr(target, "__name__", "")
        if getattr(target, "__module__", None) == "_operator" and not node.kwargs:
            if own in magic_methods:
                return f"{name} = {magic_methods[own].format(*map(self.text, args))}"
            # `y += 1` binds y anew: only where nobody reads the old value, which may be a number
            if own == "setitem" or (
                own in inplace_methods and args[0] in self.ending.get(node, ())
            ):
                done = inplace_methods[own].format(*map(self.text, args))
                return f"{done};  {name} = {self.text(args[0])}"
        called = self.add_global(qualified_name(target), target)
        if called == "getattr" and len(args) == 2 and not node.kwargs:
            attribute = args[1]
            if isinstance(attribute, str) and attribute.isidentifier():
                return f"{name} = {format_target(self.text(args[0]), attribute)}"
        if node.meta.get("is_wrapped", False):
            self.wrapped.setdefault(called)
        return f"{name} = {called}({self.arguments(args, node.kwargs)})"


class _PyTreeInfo(NamedTuple):
    """How the inputs and outputs of a program are trees: its parameters' names, and shapes."""

    orig_args: list[str]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec | None


class _PyTreeCodeGen(CodeGen):
    """Takes inputs apart into the placeholders, and puts the output together."""

    def __init__(self, pytree_info: _PyTreeInfo):
        super().__init__()
        self.pytree_info = pytree_info

    def process_inputs(self, *inputs: Any) -> Any:
        return pytree.tree_leaves(inputs)

    def process_outputs(self, out: Any) -> Any:
        if not isinstance(out, list | tuple):
            out = [out]
        assert self.pytree_info.out_spec is not None
        return pytree.tree_unflatten(out, self.pytree_info.out_spec)

    def gen_fn_def(
        self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False
    ) -> str:
        names = self.pytree_info.orig_args
        if not names:
            return super().gen_fn_def(free_vars, maybe_return_annotation, expanded_def=expanded_def)
        head = super().gen_fn_def(list(names), maybe_return_annotation, expanded_def=expanded_def)
        if not free_vars:
            return head
        # an annotation cannot stand among the targets of one assignment: it comes after
        plain = [name.split(":")[0].split("=")[0].strip() for name in free_vars]
        typed = [name.split(" = ")[0] + "\n" for name in free_vars if ":" in name]
        given = names[1:] if names[0] == "self" else names
        typed_lines = "    " + "    ".join(typed) if typed else ""
        return (
            f"{head}\n{typed_lines}    {', '.join(plain)}, = "
            f"fx_pytree.tree_flatten_spec([{', '.join(given)}], self._in_spec)"
        )

    def generate_output(
        self,
        output_args: Any,
        *,
        descs: Sequence[str] | None = None,
        repr_fn: Callable[[Any], str] | None = None,
    ) -> str:
        if self.pytree_info.out_spec is None:
            return super().generate_output(output_args, descs=descs, repr_fn=repr_fn)
        flat = super().generate_output(output_args, descs=descs, repr_fn=repr_fn)
        return f"return pytree.tree_unflatten({flat.removeprefix('return ')}, self._out_spec)"
