"""LAPACK routines that NumPy does not offer, of the bundled OpenBLAS: for one matrix each, in
column-major order.
"""

from __future__ import annotations

import ctypes
from typing import Any

from flambeau._base import numpy

from .blas import library

_LETTERS = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}
_found: dict[str, Any] = {}

ROW_MAJOR, LEFT, RIGHT, UPPER, LOWER, NO_TRANS, NON_UNIT, UNIT = (
    101,
    141,
    142,
    121,
    122,
    111,
    131,
    132,
)  # CBLAS codes


def _routine(name: str) -> Any:
    if name not in _found:
        _found[name] = getattr(library(), f"scipy_{name}")
        _found[name].restype = None
    return _found[name]


def _letter(*dtypes: numpy.dtype) -> str:
    """The letter of the one dtype of a routine's matrices."""
    if len(set(dtypes)) > 1:
        names = " and ".join(d.name for d in dtypes)
        raise RuntimeError(f"expected matrices of one dtype, but got {names}")
    if dtypes[0].name not in _LETTERS:
        raise NotImplementedError(f"Low precision dtypes not supported. Got {dtypes[0].name}")
    return _LETTERS[dtypes[0].name]


def _square(matrix: numpy.ndarray) -> int:
    """The size of a square matrix: LAPACK believes what it is told, and reads past any other."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise RuntimeError(f"A must be a square matrix, but it has shape {list(matrix.shape)}")
    return matrix.shape[0]


def _check_pivots(pivots: numpy.ndarray, n: int) -> None:
    """Raises where exchanges reach outside n rows; 2 x 2 blocks have pairs of negative ones."""
    k, numbers = 0, pivots.tolist()
    while k < len(numbers):
        pair = numbers[k : k + 2] if numbers[k] < 0 else numbers[k : k + 1]
        broken = numbers[k] < 0 and (len(pair) < 2 or pair[1] >= 0)
        if broken or any(not 1 <= abs(p) <= n for p in pair):
            raise RuntimeError(f"pivots are out of range for a matrix of {n} rows")
        k += len(pair)
    if len(numbers) != n:
        raise RuntimeError(f"expected {n} pivots, but got {len(numbers)}")


def _call(name: str, dtype: numpy.dtype, *arguments: Any) -> int:
    """Calls a routine, its last argument `info` added, and returns that."""
    info = ctypes.c_int(0)
    passed: list[Any] = []
    lengths = 0
    for value in arguments:
        if isinstance(value, numpy.ndarray):
            passed.append(ctypes.c_void_p(value.ctypes.data))
        elif isinstance(value, str):
            passed.append(ctypes.c_char_p(value.encode()))
            lengths += 1
        else:
            passed.append(ctypes.byref(ctypes.c_int(value)))
    # Fortran compilers pass the length of each string behind all arguments.
    _routine(f"{_letter(dtype)}{name}_")(
        *passed, ctypes.byref(info), *[ctypes.c_size_t(1)] * lengths
    )
    return info.value


def lu(matrix: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray, int]:
    """(L and U in one, pivots counted from 1, info) of an m x n matrix; info k: the k-th pivot is
    zero.
    """
    m, n = matrix.shape
    packed = numpy.array(matrix, order="F")
    pivots = numpy.arange(1, min(m, n) + 1, dtype=numpy.int32)
    info = _call("getrf", packed.dtype, m, n, packed, max(m, 1), pivots) if packed.size else 0
    return packed, pivots, info


def cholesky(matrix: numpy.ndarray) -> tuple[numpy.ndarray, int]:
    """(L, info) of a square matrix, whose lower triangle is read; info k: the k-th leading minor is
    not positive.
    """
    n = _square(matrix)
    factor = numpy.array(matrix, order="F")
    info = _call("potrf", factor.dtype, "L", n, factor, max(n, 1)) if n else 0
    return numpy.tril(factor), info


def triangular(
    matrix: numpy.ndarray, right: numpy.ndarray, upper: bool, left: bool, unit: bool
) -> numpy.ndarray:
    """X with ``matrix @ X = right``, or ``X @ matrix = right`` where not `left`; only one triangle
    is read.
    """
    out = numpy.array(right, order="C")
    rows, columns = out.shape
    if not out.size:
        return out
    a = numpy.ascontiguousarray(matrix)
    letter = _letter(out.dtype, a.dtype)
    if _square(a) != (rows if left else columns):
        raise RuntimeError(
            f"a matrix of {len(a)} rows does not fit a right side of {[rows, columns]}"
        )
    one: Any = {"s": ctypes.c_float(1), "d": ctypes.c_double(1)}.get(letter)
    if one is None:  # complex numbers are passed by address
        held = numpy.ones(1, out.dtype)
        one = ctypes.c_void_p(held.ctypes.data)
    _routine(f"cblas_{letter}trsm")(
        ROW_MAJOR,
        LEFT if left else RIGHT,
        UPPER if upper else LOWER,
        NO_TRANS,
        UNIT if unit else NON_UNIT,
        rows,
        columns,
        one,
        ctypes.c_void_p(a.ctypes.data),
        max(a.shape[1], 1),
        ctypes.c_void_p(out.ctypes.data),
        max(columns, 1),
    )
    return out


def symmetric(matrix: numpy.ndarray, hermitian: bool) -> tuple[numpy.ndarray, numpy.ndarray, int]:
    """(factors in one, pivots, info) of L D L^T (`hermitian`: L D L^H); the lower triangle is
    read.
    """
    n = _square(matrix)
    packed = numpy.array(matrix, order="F")
    pivots = numpy.zeros(n, numpy.int32)
    if not n:
        return packed, pivots, 0
    work = numpy.zeros(max(64 * n, 1), packed.dtype)
    name = "hetrf" if hermitian and packed.dtype.kind == "c" else "sytrf"
    info = _call(name, packed.dtype, "L", n, packed, n, pivots, work, work.size)
    return packed, pivots, info


def symmetric_solve(
    packed: numpy.ndarray, pivots: numpy.ndarray, right: numpy.ndarray, hermitian: bool
) -> numpy.ndarray:
    """The solution of a linear system, from what `symmetric` gives.

    Raises RuntimeError for sizes or pivots that would lead LAPACK outside of the arrays.
    """
    factors, out = numpy.array(packed, order="F"), numpy.array(right, order="F")
    n, columns = out.shape
    if out.size:
        _letter(factors.dtype, out.dtype)
        if _square(factors) != n:
            raise RuntimeError(f"a matrix of {len(factors)} rows does not fit a right side of {n}")
        _check_pivots(pivots, n)
        name = "hetrs" if hermitian and factors.dtype.kind == "c" else "sytrs"
        held = numpy.ascontiguousarray(pivots, numpy.int32)
        _call(name, factors.dtype, "L", n, columns, factors, n, held, out, n)
    return out
