"""Lines of code per layer: what remains without blank lines, comments and docstrings."""

import ast
import collections
import io
import tokenize

from layers import PUBLIC, TOP, levels, modules, package_of

SKIPPED = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def docstring_lines(tree: ast.AST) -> set[int]:
    """The lines that docstrings take."""
    lines: set[int] = set()
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, owners) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            lines.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


def code_lines(source: str) -> int:
    """How many lines hold code."""
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED:
            used.update(range(token.start[0], token.end[0] + 1))
    return len(used - docstring_lines(ast.parse(source)))


def main() -> None:
    level_of = levels()
    counts: dict[tuple[int, str], list[int]] = collections.defaultdict(lambda: [0, 0, 0])
    for path in modules():
        source = path.read_text(encoding="utf-8")
        package = package_of(path)
        key = (level_of[package], package) if package in level_of else (PUBLIC, "public names")
        row = counts[key]
        row[0] += 1
        row[1] += code_lines(source)
        row[2] += source.count("\n")
    print(f"{'level':5}  {'package':14} {'files':>5} {'code':>7} {'lines':>7}")
    for (level, package), (files, code, lines) in sorted(counts.items()):
        print(f"{level:5}  {package:14} {files:5} {code:7} {lines:7}")
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    print(f"{'':5}  {'total':14} {totals[0]:5} {totals[1]:7} {totals[2]:7}")
    for folder in ("tests", "tools", "bench", "examples"):
        texts = [p.read_text(encoding="utf-8") for p in (TOP / folder).rglob("*.py")]
        code, lines = sum(map(code_lines, texts)), sum(text.count("\n") for text in texts)
        print(f"{'':5}  {folder:14} {len(texts):5} {code:7} {lines:7}")


if __name__ == "__main__":
    main()
