#!/usr/bin/env python3
"""The memory that a workload takes while it runs, beside another library's. Linux only.

    python bench/memory.py --against torch                       our own workloads
    python bench/memory.py --against torch --workloads FILE.py   those of another file

Each library runs each workload in a process of its own. The figure is the highest resident size
during three steps, less the size before the workload was built: model, data, gradients, state of
the optimizer, temporary blocks, and what the allocator keeps. The library's code and threads are
warm before, so that they do not count; nor does the compiler, since of two runs the second counts,
whose kernels come from the cache on disk.
"""

import argparse
import importlib
import importlib.util
import pathlib
import subprocess
import sys

from run import environment

STATUS = pathlib.Path("/proc/self/status")
MEGABYTE = 1024  # the kernel counts in KiB


def resident(field: str) -> int:
    """A figure of this process in KiB: VmRSS is the size now, VmHWM the highest so far."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1])


def workloads_of(path: str) -> dict:
    spec = importlib.util.spec_from_file_location("measured_workloads", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WORKLOADS


def warm(torch) -> None:
    """Loads the parts of the library that any training step needs."""
    nn = torch.nn
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters())
    nn.functional.cross_entropy(model(torch.randn(2, 1, 4, 4)), torch.tensor([0, 1])).backward()
    optimizer.step()


def child(library: str, path: str, name: str, threads: int) -> None:
    torch = importlib.import_module(library)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warm(torch)
    before = resident("VmRSS")
    step = workloads_of(path)[name](torch)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the highest size starts anew
    for _ in range(3):
        step()
    print(resident("VmHWM") - before)


def measure(library: str, path: str, name: str, threads: int) -> float | None:
    """Megabytes; None where the workload fails."""
    command = [sys.executable, __file__, "--child", library, path, name, "--threads", str(threads)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env=environment(threads))
    return int(done.stdout) / MEGABYTE if done.returncode == 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--against", default="", help="another library, such as torch")
    parser.add_argument(
        "--workloads", default=str(pathlib.Path(__file__).with_name("workloads.py"))
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.threads)
        return 0
    path = arguments.workloads
    libraries = ["flambeau", *([arguments.against] if arguments.against else [])]
    print(f"{'workload':24}" + "".join(f"{library:>12}" for library in libraries) + "   share")
    for name in arguments.names or workloads_of(path):
        found = [measure(library, path, name, arguments.threads) for library in libraries]
        cells = "".join(f"{'fails':>12}" if x is None else f"{x:9.1f} MB" for x in found)
        share = found[0] / found[1] if len(found) > 1 and all(found) else None
        print(f"{name:24}{cells}" + (f"{share:8.2f}" if share else ""), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
