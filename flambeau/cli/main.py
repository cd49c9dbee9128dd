"""The commands of ``flambeau``."""

import os
import platform
import sys
import textwrap
from collections.abc import Callable, Sequence

import flambeau
import flambeau_launch
from flambeau import ops
from flambeau._base import DECLARATIONS, knobs, nearest

USAGE = """\
flambeau run SCRIPT [ARGS]      run a PyTorch program on flambeau
flambeau run -m MODULE [ARGS]   the same for a module; -c CODE for a line of code
flambeau explain OP             all that flambeau knows about an op, such as aten::softplus
flambeau info                   version, machine, folders, knobs
flambeau --version

python -m flambeau SCRIPT [ARGS] is short for flambeau run."""
HELP = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, by default that of the command line; the result is its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in HELP:
        print(USAGE, file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    command = COMMANDS.get(words[0])
    if command is not None and words[1:2] and words[1] in HELP:
        print(USAGE)
        return 0
    if command in (info, version) and len(words) > 1:
        print(f"flambeau {words[0]} takes no arguments", file=sys.stderr)
        return 2
    if command is not None:
        return command(words[1:])
    if words[0] in ("-m", "-c", "-") or os.path.exists(words[0]):
        return run(words)
    guess = nearest(words[0], COMMANDS)
    hint = f" Did you mean {guess!r}?" if guess else ""
    print(f"flambeau: {words[0]!r} is neither a command nor a file.{hint}", file=sys.stderr)
    print(USAGE, file=sys.stderr)
    return 2


def run(words: Sequence[str]) -> int:
    """Runs a script; where it can, this process becomes the script's and does not come back."""
    if not words:
        print("flambeau run: which script?\n" + USAGE, file=sys.stderr)
        return 2
    return flambeau_launch.run(words)


def explain(words: Sequence[str]) -> int:
    """Prints what an op's declaration says."""
    if len(words) != 1:
        print("flambeau explain OP, for example: flambeau explain aten::softplus", file=sys.stderr)
        return 2
    try:
        print(ops.explain(words[0]))
    except KeyError:
        guess = nearest(words[0].removeprefix("aten::"), ops.registry)
        hint = f"; the nearest is {guess!r}" if guess else ""
        print(f"flambeau explain: no op is called {words[0]!r}{hint}", file=sys.stderr)
        return 1
    return 0


def info(_: Sequence[str] = ()) -> int:
    """Prints what a report of a fault should contain."""
    rows = [
        ("flambeau", f"{flambeau.__version__} in {os.path.dirname(flambeau.__file__)}"),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("system", platform.platform()),
        ("processor", f"{_processor()}, {len(_processors())} threads to use"),
        ("cache", knobs.cache or "none on disk"),
    ]
    for label, value in rows:
        print(f"{label:10} {value}")
    known = {declaration.variable for declaration in DECLARATIONS}
    for name in sorted(name for name in os.environ if name.startswith("FLAMBEAU_")):
        print(f"set        {name}={os.environ[name]}" + ("" if name in known else ": no such knob"))
    print("\nknobs")
    for declaration in DECLARATIONS:
        words_or_kind = "|".join(declaration.words) or declaration.kind
        print(f"  {declaration.variable}={words_or_kind}")
        print(
            textwrap.fill(declaration.doc, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
        )
    return 0


def _processor() -> str:
    """The processor's name as its system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _processors() -> Sequence[int]:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def version(_: Sequence[str] = ()) -> int:
    print(f"flambeau {flambeau.__version__}")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": run,
    "explain": explain,
    "info": info,
    "--version": version,
}
