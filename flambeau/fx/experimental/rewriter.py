"""Statements that no proxy could record, written as calls before a program is traced."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
import types
from typing import Any

from flambeau import nn

from .._symbolic_trace import Tracer
from ..annotate import annotate
from ..graph import Graph
from ..known import ASSERT

__all__ = ["AST_Rewriter", "RewritingTracer"]


class AST_Rewriter(ast.NodeTransformer):
    """Makes ``assert`` a call that is recorded, and ``x: T = v`` an annotation of the value."""

    def rewrite(self, fn: types.FunctionType) -> types.FunctionType:
        """The function with its statements rewritten. OSError where its text is not to be had."""
        tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
        definition: Any = self.visit(tree).body[0]
        definition.decorator_list = []
        if fn.__closure__:  # names from around stay free where a function around has them
            names = [ast.Name(name, ast.Store()) for name in fn.__code__.co_freevars]
            around = ast.parse("def around(): pass").body[0]
            assert isinstance(around, ast.FunctionDef)
            around.body = [ast.Assign([name], ast.Constant(None)) for name in names]
            around.body.append(definition)
            tree.body = [around]
        ast.increment_lineno(tree, fn.__code__.co_firstlineno - 1)
        module = compile(ast.fix_missing_locations(tree), fn.__code__.co_filename, "exec")
        code = _code_of(module, fn.__name__)
        space = fn.__globals__ | {_ASSERT: ASSERT, _ANNOTATE: annotate}
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        closure = tuple(cells[name] for name in code.co_freevars)
        made = types.FunctionType(code, space, fn.__name__, fn.__defaults__, closure)
        made.__kwdefaults__, made.__annotations__ = fn.__kwdefaults__, fn.__annotations__
        return made

    def visit_Assert(self, node: ast.Assert) -> Any:
        message = node.msg or ast.Constant("")
        called = ast.Call(ast.Name(_ASSERT, ast.Load()), [node.test, message], [])
        return ast.copy_location(ast.Expr(called), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return node
        arguments = [node.value, node.annotation]
        called = ast.Call(ast.Name(_ANNOTATE, ast.Load()), arguments, [])
        return ast.copy_location(ast.Assign([node.target], called), node)


_ASSERT, _ANNOTATE = "_fx_assert", "_fx_annotate"


def _code_of(code: types.CodeType, name: str) -> types.CodeType:
    """The code of the function `name` within compiled code."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            return constant if constant.co_name == name else _code_of(constant, name)
    raise ValueError(f"no function {name}")


class RewritingTracer(Tracer):
    """Traces a program whose functions were rewritten by `AST_Rewriter`."""

    def trace(
        self, root: Any, concrete_args: Any = None, example_inputs: tuple | None = None
    ) -> Graph:
        return super().trace(_rewrite(root), concrete_args, example_inputs)


def _rewrite(root: Any) -> Any:
    if not isinstance(root, nn.Module):
        return AST_Rewriter().rewrite(root)
    made = copy.copy(root)
    for name, child in list(root._modules.items()):
        if child is not None:
            setattr(made, name, _rewrite(child))
    if not type(root).__module__.startswith(("flambeau.", "torch.")):
        forward = AST_Rewriter().rewrite(inspect.unwrap(type(root).forward))
        name = type(root).__name__
        made.__class__ = type(name, (type(root),), {"forward": forward})
        made.__class__.__module__ = type(root).__module__
    return made
