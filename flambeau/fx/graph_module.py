"""`GraphModule`: a module whose forward function is printed from a graph."""

from __future__ import annotations

import copy
import itertools
import linecache
import pathlib
import sys
import warnings
import weakref
from typing import Any

from flambeau import nn
from flambeau._base import missing
from flambeau.tensor import Tensor

from .codegen import PythonCode, _custom_builtins
from .graph import Graph, _PyTreeCodeGen
from .names import PACKAGE, qualified_name
from .names import torch as torch_module

__getattr__ = missing(globals(), later={"reduce_graph_module": f"{PACKAGE}.fx.foreign"})
__all__ = ["GraphModule", "restore_graph_module"]

_numbers = itertools.count()
AROUND = 3  # lines that an error shows before the line where it happened


class _Forward:
    """A class's `forward` until somebody looks at it: only then the text is compiled."""

    def __init__(self, code: PythonCode):
        self.code = code
        self.filename = f"<eval_with_key>.{next(_numbers)}"

    def __get__(self, instance: Any, owner: Any) -> Any:
        code, filename = self.code, self.filename
        lines = [line + "\n" for line in code.src.split("\n")]
        linecache.cache[filename] = (len(code.src), None, lines, filename)
        space = dict(code.globals)
        exec(compile(code.src, filename, "exec"), space)
        own = next(each for each in owner.__mro__ if each.__dict__.get("forward") is self)
        own.forward = function = space["forward"]
        return function if instance is None else function.__get__(instance, owner)


def _copy_attr(source: nn.Module, target: nn.Module, path: str) -> None:
    """Puts what stands at a dotted path of `source` at the same path of `target`."""
    *prefix, field = path.split(".")
    for part in prefix:
        below, made = getattr(source, part), getattr(target, part, None)
        if below is made:  # a whole module that was put there before
            return
        if made is None:
            made = nn.Module()
            setattr(target, part, made)
        source, target = below, made
    _assign(target, field, getattr(source, field))


def _assign(module: nn.Module, field: str, value: Any) -> None:
    if isinstance(value, nn.Module):
        module._modules[field] = value
    elif isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        module.register_buffer(field, value)
    else:
        setattr(module, field, value)


def _assign_attr(value: Any, module: nn.Module, path: str) -> None:
    """Puts `value` at a dotted path, through empty modules where there are none."""
    *prefix, field = path.split(".")
    for part in prefix:
        below = getattr(module, part, None)
        if below is None:
            below = nn.Module()
            setattr(module, part, below)
        module = below
    _assign(module, field, value)


class GraphModule(nn.Module):
    """Runs a `Graph`. Every instance has a class of its own, whose `forward` is `code`.

    `root` is the module that has what the graph's nodes refer to, or a dict from dotted paths to
    these values. Assign `graph`, or change it and call `recompile()`.
    """

    _graph: Graph

    def __new__(cls, *args: Any, **kwargs: Any) -> GraphModule:
        base = next(each for each in cls.__mro__ if not each.__dict__.get("_own_class", False))

        class GraphModuleImpl(base):  # type: ignore[misc, valid-type]
            _own_class = True

        return super().__new__(GraphModuleImpl)

    def __init__(self, root: Any, graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__()
        type(self).__name__ = class_name
        if isinstance(root, nn.Module):
            self.training = getattr(root, "training", True)
            for node in graph.nodes:
                if node.op in ("get_attr", "call_module"):
                    _copy_attr(root, self, node.target)
        elif isinstance(root, dict):
            self._take(root, graph)
        else:
            raise RuntimeError(f"Unsupported type {root} passed for root!")
        self.meta: dict[str, Any] = {}
        self.graph = graph

    def _take(self, values: dict[str, Any], graph: Graph) -> None:
        targets = {}
        for node in graph.nodes:
            if node.op in ("get_attr", "call_module"):
                if node.target not in values:
                    raise RuntimeError(
                        f"Node {node} referenced target {node.target} but that target was not "
                        "provided in ``root``!"
                    )
                targets[node.target] = values[node.target]
        for path in sorted(targets, key=lambda path: path.count(".")):
            _assign_attr(targets[path], self, path)

    # --- the program ----------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """The program. Assigning compiles it."""
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        if not isinstance(graph, Graph):
            raise AssertionError(f"Expected a Graph instance, but got {type(graph)}")
        self.__dict__["_graph"] = graph
        graph.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The program as Python, as of the last `recompile`."""
        return type(self)._printed.src  # type: ignore[attr-defined]

    def recompile(self) -> PythonCode:
        """Prints the graph as Python again and makes that this module's `forward`."""
        own = type(self)
        codegen = self._graph._codegen
        if isinstance(codegen, _PyTreeCodeGen):
            self._in_spec = codegen.pytree_info.in_spec
            self._out_spec = codegen.pytree_info.out_spec
        code = self._graph.python_code("self")
        previous = own.__dict__.get("_filename")
        own.forward = made = _Forward(code)  # type: ignore[assignment, attr-defined]
        own._filename, own._printed = made.filename, code  # type: ignore[attr-defined]
        if previous is None:
            weakref.finalize(self, _forget, own)
        else:
            linecache.cache.pop(previous, None)
        return code

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:
            self._say_where(error)
            raise

    def _say_where(self, error: Exception) -> None:
        """Adds the line of the generated function, and the user's behind it, to an error."""
        trace = error.__traceback__
        line = None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == type(self)._filename:  # type: ignore[attr-defined]
                line = trace.tb_lineno
            trace = trace.tb_next
        if line is None:
            return
        lines = self.code.split("\n")
        shown = "\n".join([*lines[max(0, line - AROUND) : line], "~~~ <--- HERE"])
        note = (
            f"Call using an FX-traced Module, line {line} of the traced Module's generated "
            f"forward function:\n{shown}"
        )
        place = type(self)._printed.lineno_map.get(line)  # type: ignore[attr-defined]
        node = next(itertools.islice(self._graph.nodes, place, None), None) if place else None
        if node is not None and node.stack_trace:
            note += f"\nrecorded at\n  {node.stack_trace}"
        error.add_note(note)

    # --- submodules -----------------------------------------------------------------------------

    def add_submodule(self, target: str, m: nn.Module) -> bool:
        """Puts a module at a dotted path, through empty modules where there are none.

        False where something that is no module is in the way.
        """
        *prefix, field = target.split(".")
        module: nn.Module = self
        for part in prefix:
            below = getattr(module, part, None)
            if below is None:
                below = nn.Module()
                setattr(module, part, below)
            if not isinstance(below, nn.Module):
                return False
            module = below
        module.add_module(field, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Removes the module at a dotted path; False where there is none."""
        *prefix, field = target.split(".")
        module: Any = self
        for part in prefix:
            module = getattr(module, part, None)
            if not isinstance(module, nn.Module):
                return False
        if not isinstance(getattr(module, field, None), nn.Module):
            return False
        delattr(module, field)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Removes all modules that no node of the graph refers to."""
        used: set[str] = set()
        names = {name for name, _ in self.named_modules(remove_duplicate=False) if name}
        for node in self._graph.nodes:
            if node.op not in ("call_module", "get_attr"):
                continue
            parts = node.target.split(".")
            used.update(".".join(parts[:end]) for end in range(1, len(parts) + 1))
            if node.op == "call_module" and node.target in names:
                below = self.get_submodule(node.target)
                used.update(f"{node.target}.{name}" for name, _ in below.named_modules() if name)
        for name in names - used:
            self.delete_submodule(name)

    # --- text -----------------------------------------------------------------------------------

    def print_readable(
        self,
        print_output: bool = True,
        include_stride: bool = False,
        include_device: bool = False,
        colored: bool = False,
        *,
        fast_sympy_print: bool = False,
        expanded_def: bool = False,
        additional_meta: list[str] | None = None,
    ) -> str:
        """The program and those of its GraphModules, with the user's lines as comments.

        The options are those of `Graph.python_code`; there are no symbols that `fast_sympy_print`
        would hasten.
        """
        style = {
            "include_stride": include_stride,
            "include_device": include_device,
            "colored": colored,
            "expanded_def": expanded_def,
            "additional_meta": additional_meta,
        }
        text = self._readable(type(self).__name__, style)
        if print_output:
            print(text)
        return text

    def _readable(self, name: str, style: dict[str, Any]) -> str:
        code = self._graph.python_code("self", verbose=True, **style).src.lstrip("\n")
        text = _indented(f"class {name}(torch.nn.Module):\n{code}")
        parts = [
            child._readable(child_name, style)
            for child_name, child in self.named_children()
            if isinstance(child, GraphModule)
        ]
        return text + _indented("\n".join(["", *parts]))

    def __str__(self) -> str:
        hint = "To see more debug info, please use `graph_module.print_readable()`"
        return f"{super().__repr__()}\n{self.code}\n# {hint}"

    def __repr__(self) -> str:
        return super().__repr__()

    def to_folder(self, folder: Any, module_name: str = "FxModule") -> None:
        """Writes the module as a Python package: its code, its weights, and in pickles those
        submodules whose text does not make them again.
        """
        path = pathlib.Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        torch = torch_module()
        torch.save(self.state_dict(), path / "state_dict.pt")
        imports = "\n".join(each.import_str for each in _custom_builtins.values())
        lines, pickled = [], []
        for name, child in self.named_children():
            made = _constructor(child)
            if made is None:
                pickled.append(name)
                file = path / f"{name}.pt"
                torch.save(child, file)
                shown = repr(child).replace("\r", " ").replace("\n", " ")
                made = f"torch.load(r'{file}', weights_only=False)"
                lines.append(f"# {shown}")
            lines.append(f"setattr(self, '{name}', {made})")
        for kind, values in (("buffer", self._buffers), ("parameter", self._parameters)):
            lines += [_declaration(kind, name, value) for name, value in values.items()]
        lines.append(f"self.load_state_dict(torch.load(r'{path / 'state_dict.pt'}'))")
        body = "\n".join(f"        {line}" for line in lines)
        code = self.code.replace("\n", "\n    ")
        extra = _imports(type(self)._printed)  # type: ignore[attr-defined]
        text = (
            f"{imports}\n{extra}\nfrom torch.nn import *\n\n\nclass {module_name}(torch.nn.Module)"
            f":\n    def __init__(self):\n        super().__init__()\n{body}\n{code}\n"
        )
        (path / "module.py").write_text(text, encoding="utf-8")
        (path / "__init__.py").write_text("from .module import *\n", encoding="utf-8")
        if pickled:
            warnings.warn(
                "Was not able to save the following children modules as reprs -saved as pickled "
                f"files instead: {pickled}",
                stacklevel=2,
            )

    # --- copies ---------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict) -> GraphModule:
        made = GraphModule.__new__(type(self))
        memo[id(self)] = made
        state = {k: v for k, v in nn.Module.__getstate__(self).items() if k != "_graph"}
        nn.Module.__setstate__(made, copy.deepcopy(state, memo))
        type(made).__name__ = type(self).__name__
        made.graph = copy.deepcopy(self._graph, memo)
        return made

    def __copy__(self) -> GraphModule:
        made = GraphModule(self, copy.deepcopy(self._graph), type(self).__name__)
        made.meta = dict(self.meta)
        return made

    def __reduce__(self) -> tuple:
        base = next(each for each in type(self).__mro__ if not each.__dict__.get("_own_class"))
        state = nn.Module.__getstate__(self)
        graph = state.pop("_graph")
        return restore_graph_module, (base, type(self).__name__, state, graph)


def restore_graph_module(
    base: type[GraphModule], name: str, state: dict[str, Any], graph: Graph
) -> GraphModule:
    """The module of a pickle of ours, which holds the graph."""
    made = base.__new__(base)
    nn.Module.__setstate__(made, state)
    type(made).__name__ = name
    made.graph = graph
    return made


def _forget(cls: Any) -> None:
    linecache.cache.pop(cls._filename, None)


def _indented(text: str, spaces: int = 4) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * spaces + line if line.strip() else "" for line in rest)])


# Layers whose text, as they print themselves, makes them again.
_TEXT_IS_CODE = (
    "Linear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
)


def _constructor(module: nn.Module) -> str | None:
    known = any(type(module) is getattr(nn, name) for name in _TEXT_IS_CODE)
    return repr(module) if known else None


def _declaration(kind: str, name: str, value: Any) -> str:
    if value is None:
        return f"self.register_{kind}('{name}', None)"
    empty = f"torch.empty({list(value.shape)}, dtype={value.dtype})"
    made = f"torch.nn.Parameter({empty})" if kind == "parameter" else empty
    return f"self.register_{kind}('{name}', {made})"


def _imports(code: PythonCode) -> str:
    """Import lines for what the text uses besides the names that all texts may."""
    lines = []
    for name, value in code.globals.items():
        if name in _custom_builtins:
            continue
        home, _, own = qualified_name(value).rpartition(".")
        if home and sys.modules.get(home) is not None:
            lines.append(f"from {home} import {own} as {name}")
    return "\n".join(lines)
