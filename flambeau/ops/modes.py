"""What surrounds an op: grad mode of this thread, the interpreters that want to see ops, the
default dtype.
"""

import threading

from flambeau import runtime
from flambeau.types import Device, DType, by_name, cpu


class _State(threading.local):
    grad = True
    inference = False
    anomaly = False
    saved_hooks: tuple = ()


state = _State()

# Interpreters, innermost last. Doors look only at whether the list is empty; `perform` asks which
# are this thread's.
interpreters: list = []


def grad_enabled() -> bool:
    return state.grad


def set_grad(on: bool) -> None:
    """Turns recording for backward on or off in this thread."""
    if state.grad != on:
        state.grad = on
        # Native code asks only while some thread deviates from the default.
        runtime.shift_special(-1 if on else 1)


class _Defaults:
    dtype: DType = by_name("float32")
    device: Device = cpu


defaults = _Defaults()
