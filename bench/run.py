#!/usr/bin/env python3
"""Times flambeau, alone or in turns with another library that has the same API.

    ./dev bench                        every workload, eager and compiled
    ./dev bench tiny_add mlp_step      these
    ./dev bench --against torch        also on PyTorch, and how many times faster flambeau is
    ./dev bench --memory               peak memory of a step instead: see bench/memory.py
    ./dev bench --workloads FILE       those of another file
    ./dev bench --json FILE            for scripts

Each library runs in a process of its own, with the same number of threads. Rounds alternate
between them, so that a change of the machine's speed meets both; figures are medians of rounds.
Import time is that of a fresh process, less the bare interpreter's.

Beside the times stand shares of what the machine can do: of the rate at which it copies memory, for
the bytes that a step's kernels read and write (what stays in the cache may exceed it); and of the
rate at which it multiplies large float32 matrices, for all that the step computes. Divisions and
roots count as one operation and take as long as ten.
"""

import argparse
import importlib
import importlib.util
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent
ROUND_SECONDS = 0.05


def workloads_of(path: str) -> dict[str, Any]:
    """The workloads of a file; of our own, those of all our files."""
    if path == "":
        importlib.import_module("places")  # adds its workloads
        return importlib.import_module("workloads").WORKLOADS
    spec = importlib.util.spec_from_file_location("measured_workloads", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WORKLOADS


def work(side: str, name: str, threads: int, path: str) -> None:
    """The child process: builds a workload; for each number on stdin, times so many steps. Where
    the line says "count", it gives the bytes and operations of a step.
    """
    library, _, compiled = side.partition(" ")
    module = importlib.import_module(library)
    module.set_num_threads(threads)
    module.manual_seed(0)
    if name == "machine":
        print(json.dumps(importlib.import_module("machine").measured(module)), flush=True)
        return
    begin = time.perf_counter()
    plain = step = workloads_of(path)[name](module)
    if compiled:
        step = module.compile(plain)
    step()
    print(time.perf_counter() - begin, flush=True)
    for line in sys.stdin:
        if line.strip() == "count":
            print(json.dumps(counted(step, bool(compiled))), flush=True)
            continue
        count = int(line)
        begin = time.perf_counter()
        for _ in range(count):
            step()
        print(time.perf_counter() - begin, flush=True)


def counted(step: Any, compiled: bool) -> list[int | None]:
    """Bytes that a step moves; operations of its products, eager or compiled; other operations."""
    counts = importlib.import_module("counts")
    if not compiled:
        return list(counts.eager(step))
    nbytes, others = counts.compiled(step)
    return [nbytes, None, others]


def environment(threads: int) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH")]))
    count = str(threads)
    return dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS=count, OPENBLAS_NUM_THREADS=count)


class Child:
    """A workload in a process of its own; `side` is a library's name, with " compiled" or not."""

    def __init__(self, side: str, name: str, threads: int, path: str = ""):
        command = [sys.executable, __file__, "--child", side, name, "--threads", str(threads)]
        self.process = subprocess.Popen(
            [*command, "--workloads", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(threads),
        )
        self.first = json.loads(self.answer())
        self.count = 1

    def settle(self) -> None:
        """Warms up, and finds how many steps make a round."""
        for _ in range(3):  # a compiled step is captured in the second call
            self.time(1)
        while (seconds := self.time(self.count)) < ROUND_SECONDS:
            self.count = max(self.count * 2, math.ceil(self.count * ROUND_SECONDS / seconds))

    def answer(self) -> str:
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError((self.process.stderr.read().strip() or "it died").splitlines()[-1])
        return line

    def ask(self, line: str) -> Any:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)
        return json.loads(self.answer())

    def time(self, count: int) -> float:
        return self.ask(str(count))

    def round(self) -> float:
        """Seconds per step."""
        return self.time(self.count) / self.count

    def close(self) -> None:
        self.process.communicate()


def measure(name: str, sides: list[str], rounds: int, threads: int, path: str) -> dict[str, Any]:
    """Seconds per step of each side, or the error's text; and the counts of flambeau's."""
    found: dict[str, Any] = {}
    children: dict[str, Child] = {}
    for side in sides:
        try:
            children[side] = Child(side, name, threads, path)
            children[side].settle()
        except RuntimeError as error:
            children.pop(side, None)
            found[side] = str(error)
    times: dict[str, list[float]] = {side: [] for side in children}
    for _ in range(rounds):
        for side, child in children.items():
            times[side].append(child.round())
    for side, child in children.items():
        found[side] = statistics.median(times[side])
        if side.startswith("flambeau"):
            try:
                found[f"counts of {side}"] = child.ask("count")
            except RuntimeError as error:
                found[f"counts of {side}"] = str(error)
        child.close()
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
    if value is None:
        return ""
    if not isinstance(value, float):
        return "fails"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def ratio(row: dict[str, Any], side: str, other: str) -> float | None:
    mine, theirs = row.get(side), row.get(other)
    both = isinstance(mine, float) and isinstance(theirs, float)
    return theirs / mine if both else None


def share(part: float | None, seconds: Any, rate: float) -> str:
    """Which share of a rate was reached; nothing where it is below a hundredth."""
    if not part or not isinstance(seconds, float):
        return ""
    percent = 100 * part / seconds / rate
    return f"{percent:.0f} %" if percent >= 1 else ""


MODES = ("flambeau", "flambeau compiled")


def line_of(name: str, row: dict[str, Any], machine: list[float], other: str) -> str:
    """A row of the table: for each mode the time, and shares or how many times faster it is."""
    line = f"{name:21}"
    operations = row.get("counts of flambeau")
    for side in MODES:
        line += f" {shown(row.get(side)):>8}"
        if other:
            theirs = other + side.removeprefix("flambeau")
            faster = ratio(row, side, theirs)
            line += f" {shown(row.get(theirs)):>8} {f'{faster:.2f}' if faster else '':>7}"
        else:
            counts, seconds = row.get(f"counts of {side}"), row.get(side)
            known = isinstance(counts, list) and isinstance(operations, list)
            nbytes, made = (counts[0], operations[1] + counts[2]) if known else (None, None)
            line += f" {share(nbytes, seconds, machine[0]):>7}"
            line += f" {share(made, seconds, machine[1]):>9}"
    return line.rstrip()


def header(other: str) -> str:
    each = f" {'time':>8}" + (
        f" {other:>8} {'faster':>7}" if other else f" {'copying':>7} {'computing':>9}"
    )
    width = len(each)
    return f"{'':21}{'eager':>{width}}{'compiled':>{width}}\n{'workload':21}{each}{each}"


def means(rows: dict[str, dict[str, Any]], other: str) -> str:
    """The geometric means of how many times faster flambeau is."""
    texts = []
    for side in MODES:
        every = [ratio(row, side, other + side.removeprefix("flambeau")) for row in rows.values()]
        found = [value for value in every if value]
        if found:
            mean = math.exp(statistics.fmean(map(math.log, found)))
            texts.append(f"{mean:.2f} {side.partition(' ')[2] or 'eager'} (of {len(found)})")
    return f"geometric means, import apart: {', '.join(texts)}" if texts else ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="workloads, or import")
    parser.add_argument("--against", default="", help="another library, such as torch")
    parser.add_argument("--workloads", default="", help="a file of workloads")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", default="", help="also write the figures to this file")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    threads, path = arguments.threads, arguments.workloads
    if arguments.child:
        work(*arguments.child, threads, path)
        return 0
    known = workloads_of(path)
    names = arguments.names or ["import", *known]
    if unknown := [name for name in names if name != "import" and name not in known]:
        parser.error(f"no workload {unknown[0]!r}; there are import, {', '.join(known)}")

    other = arguments.against
    libraries = ["flambeau", *([other] if other else [])]
    sides = [library + mode for mode in ("", " compiled") for library in libraries]
    child = Child("flambeau", "machine", threads)
    machine = child.first
    child.close()
    print(f"{threads} threads copy {machine[0] / 1e9:.1f} GB/s (read and written), "
          f"multiply at {machine[1] / 1e9:.0f} GFLOP/s\n\n{header(other)}")  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        if name == "import":
            row = import_times(libraries, arguments.rounds, threads)
        else:
            row = measure(name, sides, arguments.rounds, threads, path)
        rows[name] = row
        print(line_of(name, row, machine, other), flush=True)
        for side, value in row.items():
            if isinstance(value, str):
                print(f"    {side}: {value[:90]}")
    if arguments.json:
        content = json.dumps({"machine": machine, **rows}, indent=1)
        pathlib.Path(arguments.json).write_text(content, encoding="utf-8")
    steps = {name: row for name, row in rows.items() if name != "import"}
    if other:
        print(means(steps, other))
    return 0


if __name__ == "__main__":
    sys.exit(main())
