"""Matrix products by OpenBLAS, as kernels for stages. The library is loaded by the first use."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from typing import Any

from . import jit
from . import native as words
from .core import pool_addresses

_PACKAGE = "scipy_openblas32"
_PREFIX = "scipy_"

_library: Any = None
_kernels: dict[str, int] = {}


def library() -> ctypes.CDLL:
    """OpenBLAS, set to one thread: its symbols carry the prefix `scipy_`.

    Raises ImportError where the package `scipy-openblas32` is not installed.
    """
    global _library
    with jit.lock:
        if _library is None:
            _library = _load()
        return _library


def _load() -> ctypes.CDLL:
    # Only the package's place is of interest: importing it takes as long as loading the library.
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ImportError("matrix products need the package scipy-openblas32")
    folder = os.path.join(found.submodule_search_locations[0], "lib")
    names = [name for name in os.listdir(folder) if name.startswith("libscipy_openblas")]
    if not names:
        raise ImportError(f"no OpenBLAS library in {folder}")
    # At one thread it starts none of its own while it is loaded.
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        loaded = ctypes.CDLL(os.path.join(folder, names[0]))
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before
    getattr(loaded, _PREFIX + "openblas_set_num_threads")(1)
    return loaded


def gemm_kernel(dtype: str) -> int:
    """Address of a stage kernel for C = A B, or C += A B, over a batch of row-major matrices.

    `dtype` is float32, float64, complex64 or complex128. The stage's data are [C, A, B], its dims
    the int64s [transA, transB, m, n, k, lda, ldb, ldc, strideA, strideB, strideC, add, inner, rowA,
    rowB, rowC], its total the size of the batch. Codes of `trans` are CBLAS': 111 as it is, 112
    transposed, 113 conjugate transposed, 114 conjugate. The batch is rows of `inner` matrices;
    strides are in elements from one matrix to the next, and from one row to the next. `add` is 1
    where the product is added to C. A code of 1 from the kernel means that a size exceeds
    2**31 - 1.
    """
    if dtype not in words.ROUTINES:
        raise ValueError(f"no matrix product for {dtype}")
    if not _kernels:
        _start()
    return _kernels[dtype]


def _start() -> None:
    loaded = library()
    names = [f"gemm_{dtype}" for dtype in words.ROUTINES]
    exports = ["routines", "pool", *names]
    with jit.lock:
        addresses = jit.compile(
            words.PRODUCTS,
            exports,
            translate=lambda text: words.translate(text, exports),
            optimize=True,
        )
        routines = (ctypes.c_int64 * (2 * len(words.ROUTINES))).from_address(addresses[0])
        for index, *pair in words.ROUTINES.values():
            for place, name in enumerate(pair, index):
                entry = getattr(loaded, f"{_PREFIX}cblas_{name}")
                routines[place] = ctypes.cast(entry, ctypes.c_void_p).value or 0
        pool = (ctypes.c_int64 * 2).from_address(addresses[1])
        pool[:] = list(pool_addresses())
        _kernels.update(zip(words.ROUTINES, addresses[2:], strict=True))
