"""Runs a page of documentation as a program, in the order in which it is read.

    python tools/run_page.py docs/tour.md

* ```python blocks with >>> prompts are run in one namespace, and what they print is compared
  with what the page shows (``...`` stands for anything, as in doctest);
* ```python file=NAME blocks are written to a file of that name in the working folder;
* ```console blocks are commands behind ``$ ``, each followed by what it prints. ``flambeau`` is
  this checkout's.

Everything happens in a new folder. The exit code is 1 where the page is wrong, and the difference
is printed with the page's line number.
"""

import doctest
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

TOP = pathlib.Path(__file__).resolve().parent.parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"```(\w+)(?: file=(\S+))?\n(.*?)\n```\n", re.S)


class Block(NamedTuple):
    """A fenced block: its language, the file that it is to be, its text, the line it starts in."""

    language: str
    file: str | None
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    for found in FENCE.finditer(page):
        line = page.count("\n", 0, found.start(3))
        yield Block(found[1], found[2], found[3] + "\n", line)


def run_python(block: Block, name: str, space: dict) -> int:
    """How many examples of the block print something else than it says."""
    test = doctest.DocTestParser().get_doctest(block.text, {}, name, name, block.line)
    test.globs = space  # one namespace for all blocks: get_doctest would copy it
    return doctest.DocTestRunner(optionflags=OPTIONS).run(test, clear_globs=False).failed


def run_console(block: Block, name: str) -> int:
    """The same for commands."""
    failed = 0
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, want = part.partition("\n")
        words = shlex.split(command)
        if words[0] == "flambeau":
            words[:1] = [sys.executable, "-W", "error", "-m", "flambeau"]
        path = os.pathsep.join([str(TOP), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            words, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=path)
        )
        got = done.stdout + done.stderr
        if not doctest.OutputChecker().check_output(want, got, OPTIONS):
            failed += 1
            print(f"{name}, line {block.line + 1}: $ {command}\nexpected:\n{want}\ngot:\n{got}")
    return failed


def run_page(path: pathlib.Path) -> int:
    """How many examples of the page fail."""
    space: dict = {"__name__": "__main__"}
    failed = 0
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.file is not None:
            pathlib.Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            failed += run_python(block, path.name, space)
        elif block.language == "console":
            failed += run_console(block, path.name)
    return failed


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    path = pathlib.Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(TOP))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        failed = run_page(path)
        os.chdir(TOP)
    print(f"{path.name}: {failed or 'no'} example{'s' * (failed != 1)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
