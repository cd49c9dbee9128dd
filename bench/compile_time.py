"""How long `compile` takes, by the number of ops: a chain of ops that depend on each other, and as
many parameters under an optimizer. Linear means: the time per op does not grow.

    python bench/compile_time.py [--most 10000]
"""

import argparse
import time

import flambeau
from flambeau.graph import execute, passes, recorder, variant
from flambeau.runtime import jit


def chain(count):
    """`count` ops, each on what the one before gave; every eighth is a sum, which ends a loop."""
    x = flambeau.randn(64)

    def step():
        y = x
        for k in range(count):
            y = y - y.sum() if k % 8 == 7 else y * 0.5 + y
        return y

    return step


def update(count):
    """A step of AdamW over parameters: `count` ops, their backward included."""
    sizes = range(max(1, count // 4))
    parameters = [flambeau.nn.Parameter(flambeau.randn(8)) for _ in sizes]
    optimizer = flambeau.optim.AdamW(parameters, lr=1e-3)

    def step():
        optimizer.zero_grad()
        total = sum((p * p).sum() for p in parameters)
        total.backward()
        optimizer.step()
        return total

    return step


def measured(make, count):
    """Seconds: of an eager call, and of capture, passes, making ready and LLVM."""
    spent = {"capture": 0.0, "passes": 0.0, "ready": 0.0}

    def timed(name, function):
        def run(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - started

        return run

    step = make(count)
    step()
    started = time.perf_counter()
    step()
    spent["eager"] = time.perf_counter() - started
    before = jit.statistics().seconds
    whole = (recorder.Recorder.run, variant.optimize, execute.Executable.__init__)
    recorder.Recorder.run = timed("capture", whole[0])
    variant.optimize = timed("passes", whole[1])
    execute.Executable.__init__ = timed("ready", whole[2])
    try:
        made = flambeau.compile(step, fullgraph=True)
        made()
        made()
    finally:
        recorder.Recorder.run, variant.optimize, execute.Executable.__init__ = whole
    spent["LLVM"] = jit.statistics().seconds - before
    spent["ready"] -= spent["LLVM"]
    started = time.perf_counter()
    made()
    spent["program"] = time.perf_counter() - started
    return spent


def main() -> None:
    """Prints a line for each number of ops."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10_000)
    most = parser.parse_args().most
    assert passes.PASSES
    for make in (chain, update):
        print(make.__name__)
        count = 10
        while count <= most:
            spent = measured(make, count)
            each = 1e6 * (sum(spent.values()) - spent["eager"] - spent["program"]) / count
            parts = "  ".join(f"{name} {value:.4f}" for name, value in spent.items())
            print(f"  {count:6d} ops: {each:7.1f} us an op;  {parts}", flush=True)
            count *= 10


if __name__ == "__main__":
    main()
