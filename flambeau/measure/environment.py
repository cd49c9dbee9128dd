"""Where programs run, for reports of errors: PyTorch's `torch.utils.collect_env`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from typing import NamedTuple

from flambeau._base import TORCH_VERSION, VERSION
from flambeau.runtime import described
from flambeau.tensor import PUBLIC

# Packages of which errors may speak.
_RELEVANT = (
    "einops", "flambeau", "gpytorch", "kornia", "lightning", "llvmlite", "ml_dtypes", "mypy",
    "numpy", "onnx", "optree", "pyro-ppl", "safetensors", "scipy", "scipy-openblas32",
    "tensorboard", "timm", "torch", "torchmetrics", "torchvision", "transformers",
)  # fmt: skip


class SystemEnv(NamedTuple):
    """What a report says."""

    flambeau_version: str
    torch_version: str
    built_on: str
    os: str
    libc_version: str
    python_version: str
    python_platform: str
    is_cuda_available: str
    cpu_info: str
    threads: str
    settings: str
    pip_packages: str


def get_env_info() -> SystemEnv:
    """What flambeau, Python and the machine are."""
    bits = 64 if sys.maxsize > 2**32 else 32
    settings = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("FLAMBEAU_")]
    return SystemEnv(
        flambeau_version=VERSION,
        torch_version=str(TORCH_VERSION),
        built_on=", ".join(line.strip(" -") for line in described().splitlines()[1:] if line),
        os=_system(),
        libc_version="-".join(platform.libc_ver()) if sys.platform == "linux" else "N/A",
        python_version=f"{' '.join(sys.version.split())} ({bits}-bit runtime)",
        python_platform=platform.platform(),
        is_cuda_available="False",
        cpu_info=_processor(),
        threads=str(PUBLIC["get_num_threads"]()),
        settings=", ".join(settings) or "none",
        pip_packages="\n".join(_packages()) or "none",
    )


def _system() -> str:
    if sys.platform != "linux":
        return f"{platform.system()} {platform.release()} ({platform.machine()})"
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = "Linux"
    return f"{name} ({platform.machine()})"


def _processor() -> str:
    """The processor's name and how many there are."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.partition(":")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name.strip()}, {os.cpu_count()} processors"


def _packages() -> Iterator[str]:
    for name in _RELEVANT:
        try:
            yield f"{name}=={importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def pretty_str(envinfo: SystemEnv) -> str:
    """The report as text."""
    lines = []
    for name, value in envinfo._asdict().items():
        title = name.replace("_", " ")
        lines.append(
            f"{title}:\n  " + value.replace("\n", "\n  ") if "\n" in value else f"{title}: {value}"
        )
    return "\n".join(lines)


def get_pretty_env_info() -> str:
    """The report on this process as text."""
    return pretty_str(get_env_info())


def main() -> None:
    """Prints the report."""
    print("Collecting environment information...")
    print(get_pretty_env_info())


__all__ = ["SystemEnv", "get_env_info", "get_pretty_env_info", "main", "pretty_str"]
