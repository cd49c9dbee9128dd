"""Anomaly mode: which line of the user recorded the op whose backward goes wrong."""

import warnings

from flambeau._base import user_line
from flambeau.ops import extras, modes, watchers

state = modes.state


def note(node):
    """Remembers the user's line that records `node`."""
    extras(node).line = user_line()


def watched_run(node, grad, keep):
    """Runs a node; an error, or the first nan, names the line that recorded it."""
    try:
        results = node.run(grad, keep)
    except Exception as error:
        if node.line:
            error.add_note(f"  in the backward of {node.name()}, recorded at {node.line}")
        raise
    if not state.anomaly.check_nan:
        return results
    before = state.grad
    modes.set_grad(False)
    try:
        for i, result in enumerate(results):
            if (
                result is not None
                and result.layout.dtype.kind in "fc"
                and bool((result != result).any())
            ):
                where = f"\n  recorded at {node.line}" if node.line else ""
                raise RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {i}th output.{where}"
                )
    finally:
        modes.set_grad(before)
    return results


class _Mode:
    """What anomaly mode checks; false as long as it is off."""

    __slots__ = ("check_nan", "on")

    def __init__(self, on, check_nan):
        self.on, self.check_nan = on, check_nan

    def __bool__(self):
        return self.on


def _switch(on, check_nan):
    """Sets this thread's anomaly mode; what it was before."""
    before = state.anomaly
    if bool(before) != on:
        watchers.append("anomaly") if on else watchers.remove("anomaly")
    state.anomaly = _Mode(on, check_nan) if on else False
    return before


class set_detect_anomaly:
    """Turns anomaly mode of this thread on or off; as a context manager, until its end.

    In anomaly mode every recorded op remembers the user's line (tens of microseconds each); errors
    in its backward name it, and so does the error for the first nan that a backward makes (unless
    `check_nan` is false).
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _switch(bool(mode), check_nan)

    def __enter__(self):
        return None

    def __exit__(self, *exception):
        _switch(bool(self._before), getattr(self._before, "check_nan", True))


class detect_anomaly:
    """Anomaly mode inside a with block: see `set_detect_anomaly`."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._before: list = []
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self):
        self._before.append(_switch(True, self.check_nan))

    def __exit__(self, *exception):
        before = self._before.pop()
        _switch(bool(before), getattr(before, "check_nan", True))


def is_anomaly_enabled() -> bool:
    """Whether this thread is in anomaly mode."""
    return bool(state.anomaly)


def is_anomaly_check_nan_enabled() -> bool:
    """Whether this thread's anomaly mode looks for nan."""
    return bool(state.anomaly) and state.anomaly.check_nan
