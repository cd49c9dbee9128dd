#!/usr/bin/env python3
"""Parity with PyTorch only ever grows: a ratchet over PyTorch's own operator database.

    python tools/ratchet.py                what passed before must pass; fails by name otherwise
    python tools/ratchet.py --update       records what passes now
    python tools/ratchet.py --ops abs,mm   only these ops
    python tools/ratchet.py --gap          every entry that does not pass, and why

The program that compares is parity.py, which feeds the same samples to PyTorch and to flambeau: all
that the database has, for the dtypes in RESULTS, and with gradients for those in GRADIENTS.
It lies at ../shared/parity/parity.py, or where FLAMBEAU_PARITY says. Without it there is nothing
to do, which is an error only where CI=true. The recorded lists are tests/parity/*.txt, and the
verdicts of the last run .cache/parity/*.json.

The ops are dealt to several processes at once. Where one of them dies or hangs, the op that it was
at counts as not passing, and the rest goes on in a new process.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
LISTS = TOP / "tests" / "parity"
REPORTS = TOP / ".cache" / "parity"
RESULTS = ("float32", "int64", "bool", "uint8", "float16", "bfloat16", "complex64")
GRADIENTS = ("float64", "complex128")
RUNS = {dtype: ["--limit", "0", "--dtypes", dtype] for dtype in RESULTS}
RUNS |= {f"grad-{dtype}": ["--limit", "0", "--grad", "--dtypes", dtype] for dtype in GRADIENTS}
VERDICT = re.compile(r"(ok|wrong|error|missing) +(\S.*\[\w+\]): (.*)")
STALLED_SECONDS = 300

# Lists the entries that parity.py takes when not told which, as "name<TAB>full name".
LIST_OPS = """
import sys
sys.path.insert(0, sys.argv[1])
import parity
from torch.testing._internal.common_methods_invocations import op_db
for op in op_db:
    if op.name not in parity.SKIP and not op.name.startswith(parity.SKIP_PREFIXES):
        full = op.name + ("." + op.variant_test_name if op.variant_test_name else "")
        print(op.name, full, sep="\\t")
"""


@dataclasses.dataclass
class Verdict:
    verdict: str  # ok, wrong, error, missing, died
    why: str


def environment() -> dict[str, str]:
    """One thread each, for there are several processes; and this checkout's flambeau."""
    path = [str(TOP), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(path),
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
    )


def all_ops(program: pathlib.Path) -> tuple[list[str], dict[str, str]]:
    """The op names in the database's order, and the op name of each entry's full name."""
    command = [sys.executable, "-W", "ignore", "-c", LIST_OPS, str(program.parent)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"parity: cannot read PyTorch's operator database:\n{done.stderr}")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return list(dict.fromkeys(row[0] for row in rows)), {row[1]: row[0] for row in rows}


class Shard:
    """One process over some of the ops, started anew behind an op that kills it."""

    def __init__(self, command: list[str], label: str, names: list[str], owners: dict[str, str]):
        self.command = [*command, "-v", *RUNS[label]]
        self.label, self.names, self.owners = label, names, owners
        self.verdicts: dict[str, Verdict] = {}
        self.log = REPORTS / f"{label}-{names[0].replace('/', '_')}.log"
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        self.read, self.changed = 0, time.monotonic()
        with open(self.log, "w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [*self.command, "--ops", ",".join(self.names)],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment(),
                cwd=TOP,
            )

    def poll(self) -> bool:
        """Takes in new verdicts; whether the shard still has work."""
        assert self.process is not None
        code = self.process.poll()
        self.collect()
        if code is None and time.monotonic() - self.changed > STALLED_SECONDS:
            self.process.kill()
            code = self.process.wait()
            self.resume(f"no verdict for {STALLED_SECONDS} s")
        elif code is not None and code < 0:
            self.resume(f"killed by {signal.Signals(-code).name}")
        elif code:
            text = self.log.read_text(encoding="utf-8", errors="replace")
            sys.exit(f"parity: the process ended with {code}:\n{text[-3000:]}")
        else:
            return code is None
        return self.process is not None

    def collect(self) -> None:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[self.read :]:
            if found := VERDICT.match(line):
                self.verdicts[found[2]] = Verdict(found[1], found[3])
        if len(lines) > self.read:
            self.read, self.changed = len(lines), time.monotonic()

    def resume(self, why: str) -> None:
        """Goes on behind the op that ended the process.

        Entries without usable samples leave no verdict, so the first name without one need not
        be the culprit; then the next attempt ends there too, and one more name is given up.
        """
        done = {self.owners.get(key.rpartition("[")[0], "") for key in self.verdicts}
        last = max((i for i, name in enumerate(self.names) if name in done), default=-1)
        if last + 1 < len(self.names):
            culprit = self.names[last + 1]
            self.verdicts[f"{culprit}[{self.label.rpartition('-')[2]}]"] = Verdict("died", why)
            print(f"parity: the process died at about {culprit}: {why}", flush=True)
        self.names = self.names[last + 2 :]
        self.process = None
        if self.names:
            self.start()


def judge(
    command: list[str], names: list[str], owners: dict[str, str], processes: int
) -> dict[str, dict[str, Verdict]]:
    """The verdicts of each run, by entry."""
    shares = [names[i::processes] for i in range(processes)]
    waiting = [(label, share) for label in RUNS for share in shares if share]
    running: list[Shard] = []
    found: dict[str, dict[str, Verdict]] = {label: {} for label in RUNS}
    told = time.monotonic()
    while waiting or running:
        while waiting and len(running) < processes:
            running.append(Shard(command, *waiting.pop(0), owners))
        time.sleep(0.5)
        for shard in list(running):
            if not shard.poll():
                running.remove(shard)
            found[shard.label].update(shard.verdicts)
        if time.monotonic() - told > 15:
            told = time.monotonic()
            counts = ", ".join(f"{label} {len(rows)}" for label, rows in found.items())
            print(f"parity: verdicts so far: {counts}, of about {len(owners)} each", flush=True)
    return found


def recorded(label: str) -> set[str]:
    path = LISTS / f"{label}.txt"
    return set(path.read_text(encoding="utf-8").split("\n")) - {""} if path.exists() else set()


def report(label: str, verdicts: dict[str, Verdict], gap: bool) -> None:
    tally = collections.Counter(row.verdict for row in verdicts.values())
    others = "  ".join(f"{name} {count}" for name, count in sorted(tally.items()) if name != "ok")
    print(f"parity: {label}: {tally['ok']}/{len(verdicts)} pass  {others}")
    if gap:
        for key, row in sorted(verdicts.items()):
            if row.verdict != "ok":
                print(f"  {row.verdict:8} {key}: {row.why}")


def compare(label: str, verdicts: dict[str, Verdict], partial: bool) -> list[str]:
    """The entries that passed before and do not now; prints those that newly pass."""
    passing = {key for key, row in verdicts.items() if row.verdict == "ok"}
    before = recorded(label)
    if partial:
        before &= set(verdicts)
    new = sorted(passing - before)
    if new:
        print(f"parity: {label}: {len(new)} newly pass; ./dev parity --update records them:")
        print("  " + " ".join(new[:40]) + (" …" if len(new) > 40 else ""))
    return sorted(before - passing)


def update(label: str, verdicts: dict[str, Verdict], partial: bool) -> None:
    passing = {key for key, row in verdicts.items() if row.verdict == "ok"}
    if partial:
        passing |= recorded(label) - set(verdicts)
    LISTS.mkdir(parents=True, exist_ok=True)
    text = "".join(key + "\n" for key in sorted(passing))
    (LISTS / f"{label}.txt").write_text(text, encoding="utf-8")
    print(f"parity: {label}: recorded {len(passing)} entries")


def save(label: str, verdicts: dict[str, Verdict], partial: bool) -> None:
    """Writes the verdicts for the page of parity; those of a partial run among the ones before."""
    path = REPORTS / f"{label}.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if partial and path.exists() else {}
    rows |= {key: [row.verdict, row.why] for key, row in verdicts.items()}
    path.write_text(json.dumps(dict(sorted(rows.items())), indent=1), encoding="utf-8")


def find_program() -> pathlib.Path | None:
    named = os.environ.get("FLAMBEAU_PARITY")
    path = pathlib.Path(named) if named else TOP.parent / "shared" / "parity" / "parity.py"
    if path.exists():
        return path.resolve()
    print(f"parity: {path} is not there, so nothing is compared (FLAMBEAU_PARITY names another)")
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev parity", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="record what passes now")
    parser.add_argument("--gap", action="store_true", help="print every entry that does not pass")
    parser.add_argument("--ops", default="", help="only these ops, comma-separated")
    parser.add_argument("--subject", default="flambeau", help="torch checks the program itself")
    parser.add_argument("--processes", type=int, default=min(4, os.cpu_count() or 1))
    arguments = parser.parse_args()
    program = find_program()
    if program is None:
        return 1 if os.environ.get("CI") == "true" else 0

    REPORTS.mkdir(parents=True, exist_ok=True)
    names, owners = all_ops(program)
    wanted = set(arguments.ops.split(",")) - {""}
    if wanted:
        owners = {full: owner for full, owner in owners.items() if {full, owner} & wanted}
        names = list(dict.fromkeys(owners.values()))
    command = [sys.executable, "-W", "ignore", str(program), "--subject", arguments.subject]
    verdicts_of = judge(command, names, owners, arguments.processes)

    lost: list[str] = []
    for label, verdicts in verdicts_of.items():
        save(label, verdicts, bool(wanted))
        report(label, verdicts, arguments.gap)
        if arguments.update:
            update(label, verdicts, bool(wanted))
            continue
        for key in compare(label, verdicts, bool(wanted)):
            row = verdicts.get(key, Verdict("absent", "the database has no such entry"))
            lost.append(f"{label}: {key}: {row.verdict}: {row.why}")
    if lost:
        print(f"parity: {len(lost)} entries passed before and no longer do:")
        print("\n".join("  " + line for line in lost))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
