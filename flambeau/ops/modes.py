"""What surrounds an op: grad mode of this thread, the interpreters that want to see ops, the
default dtype.
"""

import threading
from typing import Any

from flambeau import runtime
from flambeau._base import explain
from flambeau.types import Device, DType, by_name, cpu


class _State(threading.local):
    grad: bool | None = True  # None, which is off, where inference mode turned it off
    inference = False
    asked_grad = False  # in inference mode, what the user set grad mode to
    anomaly: Any = False  # or the `detect_anomaly` that is in force
    overrides = True  # whether classes may take over ops: see `overrides`
    saved_hooks: tuple = ()
    stack: tuple = ()  # this thread's interpreters, innermost last


state = _State()

# Interpreters of all threads. As long as there are none, this is all that doors look at.
interpreters: list = []


class interpreting:
    """Hands what this thread performs inside a with block to `interpreter`.

    Its ``process(op, args, target)`` performs the op, or something else, and returns what the
    caller gets; what it performs itself goes one level down. `target` is None, `INPLACE` where the
    result is to be written into the first argument, or the value of ``out=``. It may have
    ``suffixes(tensor)``, what `repr` says of a tensor besides, and ``reads(tensor)``, which is
    called before Python sees elements.
    """

    __slots__ = ("interpreter", "outer")

    def __init__(self, interpreter):
        self.interpreter = interpreter

    def __enter__(self):
        self.outer = state.stack
        state.stack = (*self.outer, self.interpreter)
        interpreters.append(self.interpreter)
        return self.interpreter

    def __exit__(self, *exception):
        state.stack = self.outer
        interpreters.remove(self.interpreter)


def tell_read(tensor) -> None:
    """Tells this thread's interpreters that Python is about to see the elements of a tensor."""
    for interpreter in state.stack:
        reads = getattr(interpreter, "reads", None)
        if reads is not None:
            reads(tensor)


INPLACE = type("Inplace", (), {"__repr__": lambda self: "<in place>"})()


def grad_enabled() -> bool:
    return bool(state.grad)


def set_grad(on: bool) -> None:
    """Turns recording for backward on or off in this thread."""
    if bool(state.grad) != on:
        state.grad = on
        # Native code asks only while some thread deviates from the default.
        runtime.shift_grad(-1 if on else 1)


def inference_enabled() -> bool:
    return state.inference


def set_inference(on: bool) -> None:
    """Turns inference mode on or off in this thread, and grad mode off or on with it."""
    if state.inference != on:
        state.inference = on
        runtime.shift_inference(1 if on else -1)
    state.asked_grad = False
    set_grad(not on)
    if on:
        state.grad = None


def is_inference(storage) -> bool:
    """Whether the memory was made in inference mode: it has no version then."""
    return storage.version < 0


def check_unversioned(tensor) -> None:
    """Raises where an inference tensor would be written outside inference mode."""
    if is_inference(tensor._storage) and not state.inference:
        raise explain(RuntimeError, INPLACE_OUTSIDE)


INPLACE_OUTSIDE = (
    "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone "
    "to get a normal tensor before doing inplace update.See "
    "https://github.com/pytorch/rfcs/pull/17 for more details."
)


class _Defaults:
    dtype: DType = by_name("float32")
    device: Device = cpu


defaults = _Defaults()
