"""Timers and tables of times: PyTorch's `torch.utils.benchmark`."""

from flambeau._base import missing
from flambeau.measure import (
    Colorize,
    Compare,
    Measurement,
    TaskSpec,
    Timer,
    select_unit,
    set_torch_threads,
    unit_to_english,
)

__getattr__ = missing(globals(), submodules=("utils",))
__all__ = [
    "Colorize",
    "Compare",
    "Measurement",
    "TaskSpec",
    "Timer",
    "select_unit",
    "set_torch_threads",
    "unit_to_english",
]
