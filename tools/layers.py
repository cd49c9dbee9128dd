"""The layer table of docs/design.md, read from the page itself, so that there is only one."""

import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = TOP / "flambeau"
PUBLIC = 8  # modules that only list public names: PyTorch's module paths, and flambeau itself


def levels() -> dict[str, int]:
    """The level of each package that the table names."""
    found: dict[str, int] = {}
    for line in (TOP / "docs" / "design.md").read_text(encoding="utf-8").splitlines():
        row = re.match(r"\|\s*((?:`\w+`(?:,\s*)?)+)\s*\|\s*(\d+)\s*\|", line)
        if row:
            found.update((name, int(row[2])) for name in re.findall(r"\w+", row[1]))
    return found


def modules() -> list[pathlib.Path]:
    """All modules of the product; what stands for torch is a script, not a part of it."""
    shim = PACKAGE / "cli" / "shim"
    return sorted(path for path in PACKAGE.rglob("*.py") if shim not in path.parents)


def package_of(path: pathlib.Path) -> str:
    """The first folder below flambeau/, or the module's own name for files that lie there."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "cli" if first == "__main__" else first
