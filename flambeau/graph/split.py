"""Functions of which a part cannot be captured: cut at their statements.

What stands before and after the statement that broke the capture becomes functions of the local
variables, each compiled on its own. The statement itself runs as it is; the modules, optimizers and
functions that it calls are compiled by themselves. Code keeps the user's line numbers.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import linecache
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .names import (
    FUNCTIONS,
    GONE,
    Flow,
    blocks_of,
    heads_of,
    is_transparent,
    names_of,
    parameters_of,
)
from .state import CHANGING

# Functions that look at the variables of who calls them.
LOOKING = frozenset({"locals", "vars", "eval", "exec", "dir"})
# Functions that are through with a generator when they return.
CONSUMING = frozenset(
    {"sum", "any", "all", "min", "max", "tuple", "list", "set", "dict", "sorted", "frozenset"}
)
UNIT = "the unit of"  # no identifier of the user's


class Source(NamedTuple):
    """A function as statements, and where its names have their values."""

    function: Any
    arguments: ast.arguments
    body: list[ast.stmt]
    owner: str | None  # the class that its private names belong to

    @property
    def cells(self) -> dict[str, Any]:
        code = self.function.__code__
        return dict(zip(code.co_freevars, self.function.__closure__ or (), strict=True))


@functools.lru_cache(64)
def _parsed(filename: str, text: str) -> Any:
    return ast.parse(text, filename)


def source_of(function: types.FunctionType) -> Source | None:
    """The statements of a function, if its source can be had."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        return None
    try:
        tree = _parsed(code.co_filename, "".join(lines))
    except SyntaxError:
        return None
    found = _find(tree, code, None)
    if found is None:
        return None
    node, owner = found
    if isinstance(node, ast.Lambda):
        body: list[ast.stmt] = [ast.copy_location(ast.Return(node.body), node.body)]
    else:
        body = node.body
    return Source(function, node.args, body, owner)


def _find(node: ast.AST, code: types.CodeType, owner: str | None) -> Any:
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.ClassDef) else owner
        if isinstance(child, FUNCTIONS) and _is_code_of(child, code):
            return child, owner
        found = _find(child, code, inner)
        if found is not None:
            return found
    return None


def _is_code_of(node: Any, code: types.CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        places = [p for p in code.co_positions() if p[2] is not None and p[0] is not None]
        body = node.body
        inside = any(
            (body.lineno, body.col_offset) == (p[0], p[2])
            and (body.end_lineno, body.end_col_offset) == (p[1], p[3])
            for p in places
        )
        return code.co_name == "<lambda>" and inside
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return (node.name, first) == (code.co_name, code.co_firstlineno)


def blamed(source: Source, changed: Any, leaving: int | None) -> tuple[int, int] | None:
    """The place of the statement that changes what is called `changed`, or that binds the variable
    which a part gives as number `leaving`, or else returns.
    """
    simple = [
        n for s in source.body for n in _own_nodes(s)
        if isinstance(n, ast.stmt) and not blocks_of(n)
    ]  # fmt: skip
    if changed is not None:
        return next((place_of(s) for s in simple if _changes(s, changed)), None)
    last: Any = max(simple, key=place_of, default=None)
    if not isinstance(last, ast.Return):
        return None
    value: Any = last.value
    if isinstance(value, ast.Tuple) and len(value.elts) == 2:
        value = value.elts[1] if isinstance(value.elts[1], ast.Tuple) else value
    if leaving is not None and isinstance(value, ast.Tuple):
        name = getattr(value.elts[leaving], "id", None)
        binding = [place_of(s) for s in simple if name in names_of([s])[1]]
        if binding:
            return binding[-1]
    return place_of(last)


def reading(source: Source, parameters: Sequence[int]) -> tuple[int, int] | None:
    """The place of the first statement that reads one of the parameters with these numbers."""
    names = {parameters_of(source.arguments)[k] for k in parameters}
    statements = [n for s in source.body for n in _own_nodes(s) if isinstance(n, ast.stmt)]
    places = [place_of(s) for s in statements if names & names_of(heads_of(s))[0]]
    return min(places, default=None)


def _changes(statement: ast.stmt, name: Any) -> bool:
    """Whether a statement seems to set an attribute, item or variable of this name; or, where the
    name is no string, to change a container.
    """
    for node in ast.walk(statement):
        if not isinstance(name, str):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr in CHANGING:
                return True
        if not isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            continue
        if isinstance(node, ast.Subscript) and not isinstance(name, str):
            return True
        if name in (getattr(node, "attr", None), getattr(node, "id", None)):
            return True
        if isinstance(node, ast.Subscript) and getattr(node.slice, "value", None) == name:
            return True
        if name == "cell" and isinstance(node, ast.Name):
            return True
    return False


def split(
    source: Source,
    place: tuple[int, int] | None,
    compiled: Callable[[Any, Source], Any],
    unit: Callable[[Any], Any],
) -> types.FunctionType | None:
    """The function in parts, the statement at `place` on its own; without one, every statement.
    None where it cannot be cut. `compiled(function, source)` makes a part's callable, and `unit` is
    what calls go through that belong to no part.
    """
    if source.function.__code__.co_flags & 0x2A0:  # generators and coroutines
        return None
    reads, _ = names_of(source.body)
    nested = [x for s in source.body for x in _own_nodes(s) if x not in source.body]
    if reads & LOOKING or any(isinstance(x, ast.Global | ast.Nonlocal) for x in nested):
        return None
    cutter = _Cutter(source, place, compiled, unit)
    body = cutter.block(source.body, set(cutter.parameters), cutter.inner)
    if not cutter.worth:
        return None
    made: Any = _made(source, source.arguments, body, cutter.cells, source.function.__name__)
    for name in ("__defaults__", "__kwdefaults__", "__qualname__"):
        setattr(made, name, getattr(source.function, name))
    return made


class _Cutter:
    """Cuts one function."""

    def __init__(self, source: Source, place: Any, compiled: Any, unit: Any):
        self._source, self._place, self._compiled = source, place, compiled
        self.parameters = parameters_of(source.arguments)
        self.cells = source.cells | {UNIT: types.CellType(unit)}
        self.worth = False
        self._caught: set[str] = set()  # names that are read where errors are caught, or behind
        self._outer = {
            name
            for statement in source.body
            for node in _own_nodes(statement)
            if isinstance(node, ast.Global | ast.Nonlocal)
            for name in node.names
        }
        self._locals = (set(self.parameters) | names_of(source.body)[1]) - self._outer
        self.inner = self._seen_inside()  # what functions defined inside see may always be read
        self._shared = self._bound_often() & self.inner  # and must then stay one variable

    def _seen_inside(self) -> set[str]:
        inner: set[str] = set()
        nodes = list(ast.walk(ast.Module(self._source.body, [])))
        consumed = {
            id(a) for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            and n.func.id in CONSUMING for a in n.args
        }  # fmt: skip
        for node in nodes:
            if id(node) in consumed:
                continue
            if isinstance(node, FUNCTIONS | ast.ClassDef | ast.GeneratorExp):
                inner |= names_of([node])[0]
                inner |= {n for x in ast.walk(node) if isinstance(x, ast.Nonlocal) for n in x.names}
        return inner & self._locals

    def _bound_often(self) -> set[str]:
        counts = dict.fromkeys(self.parameters, 1)
        for node in ast.walk(ast.Module(self._source.body, [])):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
                counts[node.id] = counts.get(node.id, 0) + 1
            elif isinstance(node, ast.Nonlocal):  # of a function inside, which binds it as well
                counts |= dict.fromkeys(node.names, 2)
            elif isinstance(node, ast.For | ast.While):
                counts |= dict.fromkeys(names_of([node])[1], 2)
        return {name for name in self._locals if counts.get(name, 2) > 1}

    # Blocks. `bound` are the names that have values for certain, `later` those that are read
    # behind the block.

    def block(self, statements: Sequence[Any], bound: Any, later: set[str]) -> list:
        """The statements, runs of those that may be compiled replaced by calls."""
        made: list[ast.stmt] = []
        k = 0
        while k < len(statements):
            end = k
            while end < len(statements) and self._movable(statements[end]):
                end += 1
            if bound is GONE:  # nobody comes here
                return made
            if end > k:
                run = list(statements[k:end])
                after = later | Flow.needed(statements[end:])
                made += self._part(run, bound, after) or self._plainly(run, bound, after)
                bound, k = Flow().through(run, bound), end
                continue
            after = later | Flow.needed(statements[k + 1 :])
            made += self._plainly([statements[k]], bound, after)
            bound = Flow().through([statements[k]], bound)
            k += 1
        return made

    def _movable(self, statement: Any) -> bool:
        """Whether a statement may be part of a compiled function."""
        if self._place is None or isinstance(
            statement,
            FUNCTIONS | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal
            | ast.Pass | ast.Raise | ast.Delete,
        ):  # fmt: skip
            return False
        if _contains(statement, self._place):
            return False
        if _leaves_loop(statement):
            return False
        return not (isinstance(statement, ast.Return) and statement.value is None)

    def _plainly(self, statements: list, bound: Any, later: set[str]) -> list:
        """Statements that run as they are, but for the blocks inside and the units they call."""
        made = []
        for k, statement in enumerate(statements):
            after = later | Flow.needed(statements[k + 1 :])
            made.append(self._plain(statement, bound, after))
            bound = Flow().through([statement], bound)
        return made

    def _plain(self, statement: Any, bound: Any, later: set[str]) -> Any:
        inside = blocks_of(statement)
        if isinstance(statement, FUNCTIONS | ast.ClassDef):
            return statement
        if not inside:
            units = _Units()
            made = units.visit(copy.deepcopy(statement))
            self.worth |= units.found
            return made
        made = copy.copy(statement)
        is_loop = isinstance(statement, ast.For | ast.While)
        around = later | (Flow.needed([statement]) if is_loop else set())
        caught = self._caught
        if isinstance(statement, ast.Try):
            around |= names_of(b for block in inside for b in block)[0]
        if isinstance(statement, ast.Try) or (
            isinstance(statement, ast.With) and not all(map(is_transparent, statement.items))
        ):
            self._caught = caught | around
        start = bound if bound is not GONE else set()
        if isinstance(statement, ast.For):
            start = start | names_of([statement.target])[1]
        if isinstance(statement, ast.With):
            start = start | names_of(statement.items)[1]
        self._replace_blocks(made, start, around)
        self._caught = caught
        self._replace_heads(made)
        return made

    def _replace_blocks(self, made: Any, start: set[str], around: set[str]) -> None:
        for name in ("body", "orelse", "finalbody"):
            block = getattr(made, name, None)
            if block:
                setattr(made, name, self.block(block, start, around) or [ast.Pass()])
        for name in ("handlers", "cases"):
            if getattr(made, name, None):
                parts = [copy.copy(part) for part in getattr(made, name)]
                for part in parts:
                    bound = start | names_of([part])[1] if name == "cases" else start
                    part.body = self._plainly(part.body, bound, around)
                setattr(made, name, parts)

    def _replace_heads(self, made: Any) -> None:
        units = _Units()
        for name in ("test", "iter", "items", "subject"):
            head = getattr(made, name, None)
            if isinstance(head, list):
                setattr(made, name, [units.visit(copy.deepcopy(h)) for h in head])
            elif head is not None:
                setattr(made, name, units.visit(copy.deepcopy(head)))
        self.worth |= units.found

    # Parts.

    def _part(self, run: list, bound: set[str], later: set[str]) -> list | None:
        """Statements that call a function of these statements; None where that cannot be."""
        if not any(isinstance(n, ast.Call | ast.BinOp | ast.Subscript | ast.AugAssign)
                   for s in run for n in ast.walk(s)):  # fmt: skip
            return None
        binds = names_of(run)[1] & self._locals
        leaving = sorted(binds & later)
        flow = Flow()
        after = flow.through(run, set())
        ends = after is GONE
        needs = flow.needs & self._locals
        if not ends:
            needs |= {name for name in leaving if name not in after}
        if binds & self._caught and not (len(run) == 1 and isinstance(run[0], ast.Assign)):
            return None  # an error in between leaves those bound that were bound before it
        if not needs <= bound or (self._shared & needs) or (self.inner & binds):
            return None
        order = [name for name in self.parameters if name in needs]
        if self.parameters and "super" in names_of(run)[0]:
            order = list(dict.fromkeys([self.parameters[0], *order]))
        given = [*order, *sorted(needs - set(order))]
        returns = [n for s in run for n in _own_nodes(s) if isinstance(n, ast.Return)]
        whole = ends and isinstance(run[-1], ast.Return)
        flagged = bool(returns) and not whole
        self.worth = True
        return self._call(run, given, leaving, whole, flagged)

    def _call(self, run: list, given: list, leaving: list, whole: bool, flagged: bool) -> list:
        """The part's function, in a cell; and the call that takes its place."""
        place = run[0]
        body = [s for s in self._source.body if isinstance(s, ast.Global | ast.Nonlocal)] + run
        if flagged:
            body = [_Flagged().visit(copy.deepcopy(s)) for s in body]
        if not whole:
            names = ast.Tuple([_load(n) for n in leaving], ast.Load())
            value = ast.Tuple([ast.Constant(False), names], ast.Load()) if flagged else names
            body.append(_at(ast.Return(value), run[-1]))
        name = f"part {len(self.cells)}"
        label = f"{self._source.function.__code__.co_name}, line {place.lineno}"
        arguments = ast.arguments([], [ast.arg(n) for n in given], None, [], [], None, [])
        part = _made(self._source, arguments, body, self._source.cells, label)
        inner = Source(part, arguments, body, self._source.owner)
        self.cells[name] = types.CellType(self._compiled(part, inner))
        call = ast.Call(_load(name), [_load(n) for n in given], [])
        if whole:
            return [_at(ast.Return(call), run[-1])]
        taken = ast.Tuple([_store(n) for n in leaving], ast.Store())
        if not flagged:
            lone: ast.stmt = ast.Assign([taken], call) if leaving else ast.Expr(call)
            return [_at(lone, place)]
        done, given_back = f"{name} is done", f"{name} gives"
        pair = ast.Tuple([_store(done), _store(given_back)], ast.Store())
        leave = ast.If(_load(done), [ast.Return(_load(given_back))], [])
        made: list[ast.stmt] = [ast.Assign([pair], call), leave]
        if leaving:
            made.append(ast.Assign([taken], _load(given_back)))
        return [_at(s, place) for s in made]


def _made(source: Source, arguments: ast.arguments, body: list, cells: dict, name: str) -> Any:
    """A function of these statements with the names of `source`."""
    plain = copy.deepcopy(arguments)
    plain.defaults, plain.kw_defaults = [], [None] * len(plain.kwonlyargs)
    for a in (*plain.posonlyargs, *plain.args, *plain.kwonlyargs, plain.vararg, plain.kwarg):
        if a is not None:
            a.annotation = None
    inner: Any = ast.FunctionDef("made", plain, body, [], None)
    if sys.version_info >= (3, 12):
        inner.type_params = []
    if source.owner is not None:
        inner = ast.ClassDef(source.owner, [], [], [inner], [])
        if sys.version_info >= (3, 12):
            inner.type_params = []
    free = [ast.arg(n) for n in cells]
    outer: Any = ast.FunctionDef(
        "outer", ast.arguments([], free, None, [], [], None, []), [inner], [], None
    )
    if sys.version_info >= (3, 12):
        outer.type_params = []
    first = body[0]
    for node in (outer, inner):
        _at(node, first)
    tree = ast.fix_missing_locations(ast.Module([outer], []))
    code: Any = compile(tree, source.function.__code__.co_filename, "exec", dont_inherit=True)
    while code.co_name != "made":
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType))
    code = code.replace(co_name=source.function.__code__.co_name)
    made = types.FunctionType(
        code, source.function.__globals__, name, None, tuple(cells[n] for n in code.co_freevars)
    )
    made.__qualname__ = name
    made.__module__ = source.function.__module__
    return made


def _own_nodes(statement: Any):
    """All nodes of a statement but those of functions and classes defined in it."""
    todo = [statement]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, FUNCTIONS | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(node))


def place_of(node: Any) -> tuple[int, int]:
    """Where a statement starts."""
    return node.lineno, node.col_offset


def _contains(node: Any, place: tuple[int, int]) -> bool:
    """Whether a place is in a statement; that of a line without columns is in all on the line."""
    if place[1] < 0:
        return node.lineno <= place[0] <= node.end_lineno
    return place_of(node) <= place < (node.end_lineno, node.end_col_offset)


def _leaves_loop(statement: Any) -> bool:
    """Whether it has a `break` or `continue` of a loop around it."""
    if isinstance(statement, ast.Break | ast.Continue):
        return True
    if isinstance(statement, ast.For | ast.While):
        return any(map(_leaves_loop, statement.orelse))
    return any(_leaves_loop(s) for block in blocks_of(statement) for s in block)


class _Flagged(ast.NodeTransformer):
    """Returns of a part: the caller returns too."""

    def visit_Return(self, node: ast.Return) -> Any:
        value = node.value or ast.Constant(None)
        return _at(ast.Return(ast.Tuple([ast.Constant(True), value], ast.Load())), node)

    def visit_FunctionDef(self, node: Any) -> Any:
        return node

    visit_AsyncFunctionDef = visit_Lambda = visit_ClassDef = visit_FunctionDef


class _Units(ast.NodeTransformer):
    """Calls go through the unit of what they call."""

    def __init__(self) -> None:
        self.found = False

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and hasattr(builtins, node.func.id):
            return node
        self.found = True
        node.func = _at(ast.Call(_load(UNIT), [node.func], []), node.func)
        return node

    def visit_FunctionDef(self, node: Any) -> Any:
        return node

    visit_AsyncFunctionDef = visit_Lambda = visit_ClassDef = visit_FunctionDef


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _store(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def _at(node: Any, place: Any) -> Any:
    ast.copy_location(node, place)
    return ast.fix_missing_locations(node)
