"""The rules about imports that docs/design.md sets, checked on the source of every module."""

import ast
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from layers import PACKAGE, PUBLIC, levels, modules, package_of

LEVELS = levels()
LISTING = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Delete, ast.For)
LOOKUPS = ("__getattr__", "__dir__")  # a list that is filled when asked


class Import(NamedTuple):
    line: int
    module: str  # in full: flambeau.ir.loop
    relative: bool
    deferred: bool  # inside a function


def imports(path: pathlib.Path, source: str) -> Iterator[Import]:
    """Every import of the module; ``from package import a`` counts as package.a where a is one."""
    folder = ["flambeau", *path.relative_to(PACKAGE).parts[:-1]]

    def named(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = folder[: len(folder) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            is_package = module == "flambeau" and is_module(f"flambeau.{alias.name}")
            yield f"{module}.{alias.name}" if is_package else module

    def walk(node: ast.AST, deferred: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                relative = isinstance(child, ast.ImportFrom) and child.level > 0
                for name in dict.fromkeys(named(child)):
                    yield Import(child.lineno, name, relative, deferred)
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, deferred or function)

    yield from walk(ast.parse(source), False)


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def fault(package: str, found: Import) -> str:
    """What is wrong with an import that stands in `package`; empty where it is right."""
    first, _, rest = found.module.partition(".")
    if first == "torch":
        return "flambeau contains no PyTorch"
    if first != "flambeau":
        return ""
    if found.deferred:
        return f"imports {found.module} inside a function"
    target = rest.partition(".")[0]
    level, target_level = LEVELS.get(package, PUBLIC), LEVELS.get(target, PUBLIC)
    if level == PUBLIC:  # lists names: of the layers below, and of other lists
        return "" if target_level <= PUBLIC else f"lists names of {target}, which stands above"
    if target == package:
        return "" if found.relative else f"imports its own package by its full name {found.module}"
    if found.relative:
        return f"reaches {found.module} relatively, from another package"
    if target_level >= level:
        return f"imports {found.module} of level {target_level} from level {level}"
    return f"imports {found.module}, not the package's root" if "." in rest else ""


def faults(path: pathlib.Path, source: str) -> list[str]:
    package = package_of(path)
    found = [(item.line, fault(package, item)) for item in imports(path, source)]
    if LEVELS.get(package, PUBLIC) == PUBLIC:
        found += [
            (node.lineno, f"defines something ({type(node).__name__}), and should only list names")
            for node in ast.parse(source).body
            if not isinstance(node, LISTING) and getattr(node, "name", "") not in LOOKUPS
        ]
    return [f"{path.relative_to(PACKAGE.parent)}:{line}: {text}" for line, text in found if text]


def test_every_module_keeps_the_rules():
    found = [text for path in modules() for text in faults(path, path.read_text(encoding="utf-8"))]
    assert not found, "\n" + "\n".join(found)


def test_the_table_names_packages_that_exist():
    assert LEVELS, "no table of layers in docs/design.md"
    assert [name for name in LEVELS if not (PACKAGE / name / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    "place, source",
    [
        ("ops/a.py", "import torch"),
        ("ops/a.py", "from torch.nn import Module"),
        ("ops/a.py", "def f():\n    from flambeau.types import DType"),
        ("ops/a.py", "class A:\n    def f(self):\n        from .b import g"),
        ("ops/a.py", "from flambeau.types.dtype import DType"),
        ("ops/a.py", "from flambeau.tensor import Tensor"),
        ("ops/a.py", "from flambeau import tensor"),
        ("ops/a.py", "from flambeau import relu"),
        ("ops/a.py", "import flambeau"),
        ("ops/a.py", "from flambeau.ops import door"),
        ("ops/deep/a.py", "from ...types import DType"),
        ("ir/a.py", "import flambeau.runtime"),
        ("__init__.py", "from flambeau.cli import main"),
        ("__init__.py", "def relu(x):\n    return x"),
    ],
)
def test_a_breach_is_found(place, source):
    assert faults(PACKAGE / place, source)


@pytest.mark.parametrize(
    "place, source",
    [
        ("ops/a.py", "import numpy\nfrom .door import perform\nfrom . import door"),
        ("ops/a.py", "from flambeau.types import DType\nfrom flambeau import ir"),
        ("ops/deep/a.py", "from ..door import perform"),
        ("ops/a.py", "def f():\n    import llvmlite"),
        ("__init__.py", "'''Names.'''\nfrom flambeau.nn import Module\n__all__ = ['Module']"),
        ("cli/a.py", "import flambeau\nfrom flambeau import ops"),
    ],
)
def test_what_the_rules_allow(place, source):
    assert faults(PACKAGE / place, source) == []
