"""Words: kernels that sort, select and count, as stages. Compiled by their first use."""

from . import jit
from .core import words

_UNITS = ((words.SORTING, words.ORDER), (words.COUNTING, words.COUNTS))
_kernels: dict[str, int] = {}


def order_kernel(name: str) -> int:
    """Address of a stage kernel of `native/sorting.py` or `native/counting.py`, which say what data
    and dims it takes.
    """
    with jit.lock:
        if name not in _kernels:
            source, names = next(unit for unit in _UNITS if name in unit[1])
            found = jit.compile(
                source,
                list(names),
                translate=lambda text: words.translate(text, list(names)),
                optimize=True,
            )
            _kernels.update(zip(names, found, strict=True))
    return _kernels[name]
