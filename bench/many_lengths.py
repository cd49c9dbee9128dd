"""What each new length costs `compile`: milliseconds of a call that is captured, by what is done.

python bench/many_lengths.py [--lengths 20] [--profile]
"""

import argparse
import contextlib
import cProfile
import functools
import pstats
import statistics
import time

import sequences

import flambeau as torch
from flambeau import compiler
from flambeau.graph import execute, joint, recorder, variant


def forward():
    """The language model's loss, which is differentiated outside."""
    loss, _, inputs = sequences.gpt(torch)
    return loss, inputs


PHASES = (
    ("record", recorder.Recorder, "run"),
    ("guard", recorder.Recorder, "variant"),
    ("passes", variant, "optimize"),
    ("passes", joint, "optimize"),
    ("ready", execute.Executable, "__init__"),
    ("memory", execute, "plan_memory"),
    ("link", compiler, "link"),
)


@contextlib.contextmanager
def timed(spent):
    """A with block in which `spent` takes the seconds of each phase."""
    whole = [(owner, name, getattr(owner, name)) for _, owner, name in PHASES]

    def around(label, function):
        def run(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[label] = spent.get(label, 0.0) + time.perf_counter() - started

        return run

    for label, owner, name in PHASES:
        setattr(owner, name, around(label, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, function in whole:
            setattr(owner, name, function)


def measured(make, lengths, profile):
    """For each length: milliseconds of its first, second and third call, and of the phases."""
    torch.manual_seed(0)
    step, inputs = make()
    compiled = torch.compile(step)
    rows = []
    for k, length in enumerate(lengths):
        given = inputs(length)
        if profile and k == len(lengths) // 2:
            profile.enable()
        spent, calls = {}, []
        with timed(spent) if not profile else contextlib.nullcontext():
            for _ in range(4):
                started = time.perf_counter()
                compiled(*given)
                calls.append(time.perf_counter() - started)
        rows.append((length, calls, spent))
    if profile:
        profile.disable()
    return rows


def main() -> None:
    """Prints the first lengths, and the median of those behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("names", nargs="*", default=["mlp", "gpt", "lstm", "forward"])
    given = parser.parse_args()
    makers = {n: functools.partial(sequences.trained, torch, m)
              for n, m in sequences.NETWORKS.items()}  # fmt: skip
    makers["forward"] = forward
    for name in given.names:
        profile = cProfile.Profile() if given.profile else None
        rows = measured(makers[name], range(20, 20 + given.lengths), profile)
        print(f"{name}: milliseconds of calls 1 to 4 of a length")
        late = rows[len(rows) // 2 :]
        phases = {p: statistics.median(s.get(p, 0.0) for _, _, s in late) for p in late[0][2]}
        calls = [statistics.median(c[k] for _, c, _ in late) for k in range(4)]
        for label, c, s in (*rows[:3], ("later", calls, phases)):
            parts = "  ".join(f"{p} {1e3 * v:.2f}" for p, v in s.items())
            print(f"  {label!s:>5}: {' '.join(f'{1e3 * v:8.2f}' for v in c)};  {parts}", flush=True)
        if profile:
            pstats.Stats(profile).sort_stats("cumtime").print_stats(60)


if __name__ == "__main__":
    main()
