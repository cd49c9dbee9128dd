"""Which variables statements read and bind: what a part of a function needs, and what it leaves."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
# With blocks of these run their bodies to the end, or raise.
TRANSPARENT = frozenset(
    {"no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "autocast", "record_function",
     "profile", "device", "stream", "set_detect_anomaly", "detect_anomaly", "fork_rng"}
)  # fmt: skip
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
GONE: Any = None  # what is bound behind a statement that is never left at its end: everything


class _Names(ast.NodeVisitor):
    """Names that are read and bound where a node stands, not inside functions defined there."""

    def __init__(self) -> None:
        self.reads: set[str] = set()
        self.binds: set[str] = set()
        self._hidden: tuple[str, ...] = ()

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._hidden:
            return
        if not isinstance(node.ctx, ast.Store):
            self.reads.add(node.id)
        if not isinstance(node.ctx, ast.Load):
            self.binds.add(node.id)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.binds.add(node.target.id)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            self.reads.add(node.target.id)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.binds.add(node.name)
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        self.binds.add((node.asname or node.name).partition(".")[0])

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self.binds.add(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self.binds.add(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.binds.add(node.rest)
        self.generic_visit(node)

    def _inner(self, parameters: Iterable[str], parts: Iterable[ast.AST]) -> None:
        """What an inner scope reads of this one."""
        inner = _Names()
        for part in parts:
            inner.visit(part)
        bound = set(parameters) | inner.binds
        self.reads |= inner.reads - bound - set(self._hidden)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._defaults(node.args)
        self._inner(parameters_of(node.args), [node.body])

    def visit_FunctionDef(self, node: Any) -> None:
        self.binds.add(node.name)
        self._defaults(node.args)
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._inner(parameters_of(node.args), node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.binds.add(node.name)
        for part in (*node.bases, *node.keywords, *node.decorator_list):
            self.visit(part)
        self._inner((), node.body)

    def _defaults(self, arguments: ast.arguments) -> None:
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)

    def _comprehension(self, node: Any) -> None:
        targets = _Names()
        for generator in node.generators:
            targets.visit(generator.target)
        self.visit(node.generators[0].iter)  # is evaluated outside
        outer, self._hidden = self._hidden, (*self._hidden, *targets.binds)
        self.generic_visit(node)
        self._hidden = outer

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


def names_of(nodes: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """(names read, names bound) by nodes of one scope."""
    found = _Names()
    for node in nodes:
        found.visit(node)
    return found.reads, found.binds


def parameters_of(arguments: ast.arguments) -> list[str]:
    """The names of a function's parameters, in order."""
    stars = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    plain = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return [a.arg for a in (*plain, *stars)]


def blocks_of(statement: ast.stmt) -> list[list[Any]]:
    """The statements inside a compound one, block by block."""
    found = []
    for name in BLOCKS:
        block = getattr(statement, name, None) or []
        if name in ("handlers", "cases"):
            found += [part.body for part in block]
        elif block and not isinstance(statement, FUNCTIONS | ast.ClassDef):
            found.append(block)
    return found


def heads_of(statement: ast.stmt) -> list[ast.AST]:
    """The parts of a compound statement that stand in no block; the statement itself if simple."""
    if not blocks_of(statement):
        return [statement]
    found: list[ast.AST] = []
    for name, value in ast.iter_fields(statement):
        if name in ("handlers", "cases"):
            for part in value:
                found += [
                    v for n, v in ast.iter_fields(part) if n != "body" and isinstance(v, ast.AST)
                ]
        elif name not in BLOCKS:
            found += [v for v in (value if isinstance(value, list) else [value])
                      if isinstance(v, ast.AST)]  # fmt: skip
    return found


class Flow:
    """Follows statements: `needs` collects the names that are read where they may not be bound by
    the statements themselves.
    """

    def __init__(self) -> None:
        self.needs: set[str] = set()

    @classmethod
    def needed(cls, statements: Sequence[Any]) -> set[str]:
        """The names that must be bound before the statements."""
        flow = cls()
        flow.through(statements, set())
        return flow.needs

    def through(self, statements: Sequence[Any], bound: Any) -> Any:
        """The names that are bound for certain behind the statements, from those before."""
        for statement in statements:
            if bound is GONE:
                return GONE
            bound = self._one(statement, bound)
        return bound

    def _one(self, statement: Any, bound: set[str]) -> Any:
        reads, binds = names_of(heads_of(statement))
        self.needs |= reads - bound
        if isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break):
            return GONE
        if isinstance(statement, ast.If):
            ways = [self.through(b, bound) for b in (statement.body, statement.orelse)]
            return _both(*ways)
        if isinstance(statement, ast.For | ast.While | ast.AsyncFor):
            targets = names_of([statement.target])[1] if hasattr(statement, "target") else set()
            self.through(statement.body, bound | targets)
            self.through(statement.orelse, bound)
            return bound
        if isinstance(statement, ast.With) and all(map(is_transparent, statement.items)):
            return self.through(statement.body, bound | binds)
        if isinstance(statement, ast.Try) or blocks_of(statement):
            for block in blocks_of(statement):
                self.through(block, bound | (binds if isinstance(statement, ast.With) else set()))
            final = self.through(getattr(statement, "finalbody", ()), bound)
            return GONE if final is GONE else final
        if isinstance(statement, ast.Delete):
            return bound - binds
        walrus = {n.target.id for n in ast.walk(statement) if isinstance(n, ast.NamedExpr)}
        return bound | (binds - walrus)


def _both(one: Any, other: Any) -> Any:
    if one is GONE:
        return other
    return one if other is GONE else one & other


def is_transparent(item: ast.withitem) -> bool:
    """Whether a with block lets every error through."""
    call = item.context_expr
    function = call.func if isinstance(call, ast.Call) else call
    name = getattr(function, "attr", None) or getattr(function, "id", "")
    return name in TRANSPARENT
