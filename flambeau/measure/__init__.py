"""What programs cost, and where they run: timers, tables of times."""

from .compare import Colorize, Compare
from .measurement import Measurement, TaskSpec, select_unit, unit_to_english
from .timer import Timer, set_torch_threads

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
