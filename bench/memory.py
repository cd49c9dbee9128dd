#!/usr/bin/env python3
"""The memory that a workload takes while it runs, beside another library's. Linux only.

    ./dev bench --memory                                    our own workloads
    ./dev bench --memory --against torch --workloads FILE   those of another file, PyTorch's beside

Each library runs each workload in a process of its own, eager and compiled. The figure is the
highest resident size during three steps, less the size before the workload was built: model, data,
gradients, state of the optimizer, temporary blocks, what the allocator keeps. The library's code
and threads are warm before, so that they do not count. Nor does compiling: compiled steps run a few
times before, and of two runs the second counts, whose kernels come from the cache on disk.
"""

import argparse
import ctypes
import gc
import importlib
import pathlib
import subprocess
import sys

from run import environment, workloads_of

STATUS = pathlib.Path("/proc/self/status")
MEGABYTE = 1024  # the kernel counts in KiB


def resident(field: str) -> int:
    """A figure of this process in KiB: VmRSS is the size now, VmHWM the highest so far."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1])


def warm(torch) -> None:
    """Loads the parts of the library that any training step needs."""
    nn = torch.nn
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters())
    nn.functional.cross_entropy(model(torch.randn(2, 1, 4, 4)), torch.tensor([0, 1])).backward()
    optimizer.step()


def give_back(library: str) -> None:
    """Unused blocks go back to the system, where the library, or the C library, has kept them."""
    if library == "flambeau":
        importlib.import_module("flambeau.runtime").empty_cache()
    ctypes.CDLL(None).malloc_trim(0)


def child(side: str, path: str, name: str, threads: int) -> None:
    library, _, compiled = side.partition(" ")
    torch = importlib.import_module(library)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warm(torch)
    if compiled:  # the compiler itself is no part of a step's memory
        torch.compile(lambda x: (x + 1).sum())(torch.ones(4))
    give_back(library)  # else what the warming left would hold a part of the workload, uncounted
    before = resident("VmRSS")
    step = workloads_of(path)[name](torch)
    if compiled:
        step = torch.compile(step)
        for _ in range(3):
            step()
        gc.collect()
        give_back(library)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the highest size starts anew
    for _ in range(3):
        step()
    print(resident("VmHWM") - before)


def measure(side: str, path: str, name: str, threads: int) -> float | None:
    """Megabytes; None where the workload fails."""
    command = [sys.executable, __file__, "--child", side, name, "--threads", str(threads)]
    command += ["--workloads", path]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env=environment(threads))
    return int(done.stdout) / MEGABYTE if done.returncode == 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--against", default="", help="another library, such as torch")
    parser.add_argument("--workloads", default="", help="a file of workloads")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, name = arguments.child
        child(side, arguments.workloads, name, arguments.threads)
        return 0
    path = arguments.workloads
    libraries = ["flambeau", *([arguments.against] if arguments.against else [])]
    modes = ("", " compiled")
    each = "".join(f"{library:>12}" for library in libraries) + (" share" * (len(libraries) > 1))
    print(f"{'':21}{'eager':>{len(each)}}{'compiled':>{len(each)}}\n{'workload':21}{each}{each}")
    for name in arguments.names or workloads_of(path):
        line = f"{name:21}"
        for mode in modes:
            found = [
                measure(library + mode, path, name, arguments.threads) for library in libraries
            ]
            line += "".join(f"{'fails':>12}" if x is None else f"{x:9.1f} MB" for x in found)
            if len(found) > 1:
                line += f"{found[0] / found[1]:6.2f}" if all(found) else f"{'':6}"
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
