"""Which line of the user called this. Costs tens of microseconds: meant for errors and reports."""

import linecache
import os
import sys
from types import FrameType

PACKAGE = __name__.partition(".")[0]


def is_ours(frame: FrameType) -> bool:
    """Whether flambeau runs in this frame: its modules, and what it generates ("<flambeau …>")."""
    name = frame.f_globals.get("__name__") or ""
    if name == PACKAGE or name.startswith(PACKAGE + "."):
        return True
    filename = frame.f_code.co_filename
    return filename.startswith(("<flambeau", "<frozen "))


def user_frame() -> FrameType | None:
    """The innermost frame outside flambeau; None where flambeau was started by no Python code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame):
        frame = frame.f_back
    return frame


def user_line() -> str:
    """The user's line that led here, as "train.py:41  logits = model.head(h)".

    Files below the current folder are named relative to it, others by their full path. Where
    the source is not to be had (``python -c``), only the place is given; without a user's frame
    the text is empty.
    """
    frame = user_frame()
    if frame is None:
        return ""
    filename = frame.f_code.co_filename
    source = linecache.getline(filename, frame.f_lineno, frame.f_globals).strip()
    place = f"{_shown(filename)}:{frame.f_lineno}"
    return f"{place}  {source}" if source else place


def _shown(filename: str) -> str:
    """The path as a reader wants it: relative where it lies below the current folder."""
    try:
        here = os.getcwd() + os.sep
    except OSError:  # the current folder was removed
        return filename
    return filename.removeprefix(here)
