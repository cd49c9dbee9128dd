"""Training on sequences of many lengths, from a process' start: seconds that the steps take, eager
and compiled, where each length is used a few times. What is compiled for PyTorch is the loss, as
its documentation has it, for dynamic shapes; for flambeau the whole step.

    python bench/length_totals.py [--lengths 100] [--uses 2,5] [--cold] [mlp gpt lstm]

With `--cold`, the caches on disk are empty at the start.
"""

import argparse
import importlib
import os
import random
import subprocess
import sys
import tempfile
import time

import sequences

WAYS = ("flambeau compiled", "flambeau eager", "torch compiled", "torch eager")


def steps(way, name, lengths, uses):
    """Prints the seconds of all steps, the import of the library not among them."""
    library, mode = way.split()
    torch = importlib.import_module(library)
    torch.manual_seed(0)
    torch.set_num_threads(2)
    make, compiled = sequences.NETWORKS[name], mode == "compiled"
    dynamic = compiled and library == "torch"
    started = time.perf_counter()
    step, inputs = sequences.trained(
        torch, make, (lambda f: torch.compile(f, dynamic=True)) if dynamic else None
    )
    if compiled and not dynamic:
        step = torch.compile(step)
    order = [n for n in range(20, 20 + lengths) for _ in range(uses)]
    random.Random(0).shuffle(order)
    for length in order:
        value = step(*inputs(length))
    print(time.perf_counter() - started, float(value.detach()))


def started(way, name, lengths, uses, cold):
    """The seconds that a process of its own prints."""
    with tempfile.TemporaryDirectory() as folder:
        empty = {"FLAMBEAU_CACHE": folder, "TORCHINDUCTOR_CACHE_DIR": folder} if cold else {}
        done = subprocess.run(
            [sys.executable, __file__, name, "--way", way, "--lengths", str(lengths),
             "--uses", str(uses)],
            env=os.environ | empty, capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{way}, {name}:\n{done.stderr}")
    return float(done.stdout.split()[0])


def main() -> None:
    """Prints a line for each network and number of uses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(sequences.NETWORKS))
    parser.add_argument("--lengths", type=int, default=100)
    parser.add_argument("--uses", default="2,5", help="how often each length comes, in any order")
    parser.add_argument("--cold", action="store_true", help="with empty caches")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        return steps(given.way, given.names[0], given.lengths, int(given.uses))
    for name in given.names:
        for uses in map(int, given.uses.split(",")):
            print(f"{name}, {given.lengths} lengths, each {uses} times:", end="", flush=True)
            for way in given.ways.split(","):
                spent = started(way, name, given.lengths, uses, given.cold)
                print(f"  {way} {spent:.2f} s", end="", flush=True)
            print()


if __name__ == "__main__":
    main()
