#!/usr/bin/env python3
"""Times flambeau, alone or in turns with another library that has the same API.

    ./dev bench                        every workload
    ./dev bench tiny_add mlp_step      these
    ./dev bench --against torch        also on PyTorch, and how many times faster flambeau is
    ./dev bench --json FILE            for scripts

Each library runs in a process of its own, with the same number of threads. Rounds alternate
between them, so that a change of the machine's speed meets both; figures are medians of rounds.
Import time is that of a fresh process, less the bare interpreter's.
"""

import argparse
import importlib
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

import places  # noqa: F401  adds its workloads
from workloads import WORKLOADS

TOP = pathlib.Path(__file__).resolve().parent.parent
ROUND_SECONDS = 0.05


def work(library: str, name: str, threads: int) -> None:
    """The child process: builds a workload; for each number on stdin, times so many steps."""
    module = importlib.import_module(library)
    module.set_num_threads(threads)
    module.manual_seed(0)
    begin = time.perf_counter()
    step = WORKLOADS[name](module)
    step()
    print(time.perf_counter() - begin, flush=True)
    for line in sys.stdin:
        count = int(line)
        begin = time.perf_counter()
        for _ in range(count):
            step()
        print(time.perf_counter() - begin, flush=True)


def environment(threads: int) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH")]))
    count = str(threads)
    return dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS=count, OPENBLAS_NUM_THREADS=count)


class Child:
    """A workload in a process of its own."""

    def __init__(self, library: str, name: str, threads: int):
        command = [sys.executable, __file__, "--child", library, name, "--threads", str(threads)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(threads),
        )
        self.first = self.answer()
        self.count = 1
        while (seconds := self.time(self.count)) < ROUND_SECONDS:
            self.count = max(self.count * 2, math.ceil(self.count * ROUND_SECONDS / seconds))

    def answer(self) -> float:
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError((self.process.stderr.read().strip() or "it died").splitlines()[-1])
        return float(line)

    def time(self, count: int) -> float:
        assert self.process.stdin is not None
        print(count, file=self.process.stdin, flush=True)
        return self.answer()

    def round(self) -> float:
        """Seconds per step."""
        return self.time(self.count) / self.count

    def close(self) -> None:
        self.process.communicate()


def measure(name: str, libraries: list[str], rounds: int, threads: int) -> dict[str, Any]:
    """Seconds per step of each library, or the error's text."""
    found: dict[str, Any] = {}
    children: dict[str, Child] = {}
    for library in libraries:
        try:
            children[library] = Child(library, name, threads)
        except RuntimeError as error:
            found[library] = str(error)
    times: dict[str, list[float]] = {library: [] for library in children}
    for _ in range(rounds):
        for library, child in children.items():
            times[library].append(child.round())
    for library, child in children.items():
        child.close()
        found[library] = statistics.median(times[library])
    return found


def import_times(libraries: list[str], rounds: int, threads: int) -> dict[str, Any]:
    """Seconds that importing takes, the first time left out: it reads the disk."""
    times: dict[str, list[float]] = {code: [] for code in ["pass", *libraries]}
    for _ in range(min(rounds, 7) + 1):
        for code, row in times.items():
            statement = code if code == "pass" else f"import {code}"
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], env=environment(threads), check=True)
            row.append(time.perf_counter() - begin)
    bare = statistics.median(times["pass"][1:])
    return {library: statistics.median(times[library][1:]) - bare for library in libraries}


def shown(value: Any) -> str:
    """Seconds with three digits, in the unit that suits them."""
    if not isinstance(value, float):
        return "fails"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def ratio(row: dict[str, Any], other: str) -> float | None:
    mine, theirs = row["flambeau"], row[other]
    both = isinstance(mine, float) and isinstance(theirs, float)
    return theirs / mine if both else None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="workloads: import, " + ", ".join(WORKLOADS))
    parser.add_argument("--against", default="", help="another library, such as torch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", default="", help="also write the figures to this file")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        work(*arguments.child, arguments.threads)
        return 0
    names = arguments.names or ["import", *WORKLOADS]
    if unknown := [name for name in names if name != "import" and name not in WORKLOADS]:
        parser.error(f"no workload {unknown[0]!r}; there are import, {', '.join(WORKLOADS)}")

    other = arguments.against
    libraries = ["flambeau", *([other] if other else [])]
    print(f"{'workload':20} {'flambeau':>10}" + (f" {other:>10} {'faster':>8}" if other else ""))
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        if name == "import":
            row = import_times(libraries, arguments.rounds, arguments.threads)
        else:
            row = measure(name, libraries, arguments.rounds, arguments.threads)
        rows[name] = row
        line = f"{name:20} {shown(row['flambeau']):>10}"
        if other:
            faster = ratio(row, other)
            line += f" {shown(row[other]):>10} {f'{faster:.2f}' if faster else '':>8}"
        print(line, flush=True)
        for library, value in row.items():
            if not isinstance(value, float):
                print(f"    {library}: {value[:90]}")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    steps = [row for name, row in rows.items() if name != "import"]
    ratios = [value for row in steps if other and (value := ratio(row, other))]
    if ratios:
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        print(f"geometric mean, import apart, over {len(ratios)} of {len(steps)}: {mean:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
