"""What programs cost, and where they run."""

from .compare import Colorize, Compare
from .environment import SystemEnv, get_env_info, get_pretty_env_info, main, pretty_str
from .flops import FlopCounterMode, register_flop_formula
from .measurement import Measurement, TaskSpec, select_unit, unit_to_english
from .timer import Timer, set_torch_threads

__all__ = [
    "Colorize",
    "Compare",
    "FlopCounterMode",
    "Measurement",
    "SystemEnv",
    "TaskSpec",
    "Timer",
    "get_env_info",
    "get_pretty_env_info",
    "main",
    "pretty_str",
    "register_flop_formula",
    "select_unit",
    "set_torch_threads",
    "unit_to_english",
]
