"""What surrounds an op: grad mode of this thread, the interpreters that want to see ops, the
default dtype.
"""

import threading

from flambeau import runtime
from flambeau.types import Device, DType, by_name, cpu


class _State(threading.local):
    interpreters: tuple = ()  # innermost last
    grad = True
    inference = False
    anomaly = False
    saved_hooks: tuple = ()


state = _State()

# The interpreters of all threads. Doors look whether there are any before they ask for their
# thread's.
interpreters: list = []


def watched() -> bool:
    """Whether an interpreter wants to see this thread's ops."""
    return bool(state.interpreters)


def enter(interpreter) -> None:
    """From now on this thread's ops go to `interpreter`."""
    interpreters.append(interpreter)
    state.interpreters += (interpreter,)


def leave():
    """Takes the innermost interpreter of this thread away and returns it."""
    *rest, interpreter = state.interpreters
    state.interpreters = tuple(rest)
    interpreters.remove(interpreter)
    return interpreter


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
