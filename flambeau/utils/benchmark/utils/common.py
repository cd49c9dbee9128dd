"""PyTorch's path to measurements."""

from flambeau.measure import Measurement, TaskSpec, select_unit, set_torch_threads, unit_to_english

__all__ = ["Measurement", "TaskSpec", "select_unit", "set_torch_threads", "unit_to_english"]
