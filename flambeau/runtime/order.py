"""Kernels that sort and select words, as stages. Compiled by their first use."""

from . import jit
from .core import words

_kernels: dict[str, int] = {}


def order_kernel(name: str) -> int:
    """Address of a stage kernel of `native/sorting.py`, which says what data and dims it takes; its
    total is the number of lines.
    """
    with jit.lock:
        if not _kernels:
            names = list(words.ORDER)
            found = jit.compile(
                words.SORTING,
                names,
                translate=lambda text: words.translate(text, names),
                optimize=True,
            )
            _kernels.update(zip(names, found, strict=True))
    return _kernels[name]
