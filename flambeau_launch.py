"""What the command `flambeau` starts.

It stands outside the package so that ``flambeau run`` need not import the package twice: once
here and once in the interpreter that it gives way to. All other commands are in flambeau.cli.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

SHIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "flambeau", "cli", "shim")


def main() -> int:
    """Runs the command line; the result is the exit code."""
    if sys.argv[1:2] == ["run"] and sys.argv[2:3] not in ([], ["-h"], ["--help"]):
        return run(sys.argv[2:])
    from flambeau.cli import main as command_line  # only where it is needed: see above

    return command_line()


def run(words: Sequence[str]) -> int:
    """Gives way to Python running `words`, in a world where torch means flambeau.

    Being the interpreter itself, it has a script's semantics by construction: ``sys.argv``,
    ``__main__``, tracebacks, signals, exit codes. And what makes torch flambeau, a folder on
    PYTHONPATH, reaches the processes that the program starts.
    """
    before = [folder for folder in (os.environ.get("PYTHONPATH"),) if folder]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([SHIM, *before]))
    command = [sys.executable, *_interpreter_flags(), *words]
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, command, environment)
    return _wait(subprocess.Popen(command, env=environment))


def _interpreter_flags() -> list[str]:
    """The flags that this interpreter was given, less those that would hide PYTHONPATH."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [flag for flag in flags if flag not in ("-I", "-E")]


def _wait(child: "subprocess.Popen[bytes]") -> int:
    """The child's exit code. Ctrl-C reaches the child too, and how it ends is its own affair."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main())
