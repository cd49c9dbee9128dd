"""Words: kernels for matrix products, which call OpenBLAS by pointer.

OpenBLAS runs on one thread everywhere. A large product is cut into tiles of C that the pool shares out; a batch of small
ones is shared out by the launcher. So there is one pool, no nesting, and a sum's order does not depend on the threads.
"""

_TYPES = {
    "float32": ("sgemm", 4, "i32,i32,i32,i32,i32,i32,f32,ptr,i32,ptr,i32,f32,ptr,i32", False),
    "float64": ("dgemm", 8, "i32,i32,i32,i32,i32,i32,f64,ptr,i32,ptr,i32,f64,ptr,i32", False),
    "complex64": ("cgemm", 8, "i32,i32,i32,i32,i32,i32,ptr,ptr,i32,ptr,i32,ptr,ptr,i32", True),
    "complex128": ("zgemm", 16, "i32,i32,i32,i32,i32,i32,ptr,ptr,i32,ptr,i32,ptr,ptr,i32", True),
}
# Where the address of a routine goes in `routines`.
ROUTINES = {dtype: (index, row[0]) for index, (dtype, row) in enumerate(_TYPES.items())}

_SHARED = """
ROW_MAJOR = 101
TRANSPOSED = 112
CONJUGATE_TRANSPOSED = 113
WHOLE = 1 << 19       # multiplications from which a product is cut into tiles
ROUND = 32            # tiles are multiples of this, but for the last
LARGEST = (1 << 31) - 1
TOO_LARGE = 1

# A product's description, in words
G_TRANS_A = 0
G_TRANS_B = 1
G_M = 2
G_N = 3
G_K = 4
G_LDA = 5
G_LDB = 6
G_LDC = 7
G_STRIDE_A = 8
G_STRIDE_B = 9
G_STRIDE_C = 10
G_ADD = 11
G_TILE_M = 12         # the rest only where tiles are cut
G_TILE_N = 13
G_ACROSS = 14
G_WORDS = 15

routines: words[8]
pool: words[2]        # address of parallel_for, and of the number of threads

def is_transposed(code):
    return code == TRANSPOSED or code == CONJUGATE_TRANSPOSED

def fits(dims):
    for i in range(6):
        if dims[i + 2] > LARGEST:
            return 0
    return 1

def ceil_divide(a, b):
    return (a + b - 1) // b

def rounded_tile(size, parts):
    return ceil_divide(ceil_divide(size, parts), ROUND) * ROUND

# Chooses tiles for `threads`; how many there are. Tiles as square as they can be, C's longer side cut first.
def cut(dims, threads):
    down = 1
    across = 1
    while down * across < threads:
        if dims[G_M] // down >= dims[G_N] // across:
            down += 1
        else:
            across += 1
    dims[G_TILE_M] = rounded_tile(dims[G_M], down)
    dims[G_TILE_N] = rounded_tile(dims[G_N], across)
    dims[G_ACROSS] = ceil_divide(dims[G_N], dims[G_TILE_N])
    return ceil_divide(dims[G_M], dims[G_TILE_M]) * dims[G_ACROSS]

def smaller(a, b):
    if a < b:
        return a
    return b
"""

_REAL_CALL = """
def call_NAME(dims, c, a, b, m, n):
    beta = 0
    if dims[G_ADD]:
        beta = ONE
    call("void:SIGNATURE", routines[INDEX], ROW_MAJOR, dims[G_TRANS_A], dims[G_TRANS_B], m, n, dims[G_K], ONE, a, dims[G_LDA], b, dims[G_LDB], beta, c, dims[G_LDC])
"""
_COMPLEX_CALL = """
def call_NAME(dims, c, a, b, m, n):
    one = stack(2)
    one[0] = ONE
    one[1] = 0
    beta = stack(2)
    beta[0] = 0
    beta[1] = 0
    if dims[G_ADD]:
        beta[0] = ONE
    call("void:SIGNATURE", routines[INDEX], ROW_MAJOR, dims[G_TRANS_A], dims[G_TRANS_B], m, n, dims[G_K], one, a, dims[G_LDA], b, dims[G_LDB], beta, c, dims[G_LDC])
"""
_KERNEL = """
def tiles_NAME(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    for tile in range(low, high):
        i = tile // dims[G_ACROSS] * dims[G_TILE_M]
        j = tile % dims[G_ACROSS] * dims[G_TILE_N]
        row = i * dims[G_LDA]
        if is_transposed(dims[G_TRANS_A]):
            row = i
        column = j
        if is_transposed(dims[G_TRANS_B]):
            column = j * dims[G_LDB]
        m = smaller(dims[G_M] - i, dims[G_TILE_M])
        n = smaller(dims[G_N] - j, dims[G_TILE_N])
        c = data[0] + (i * dims[G_LDC] + j) * SIZE
        call_NAME(dims, c, data[1] + row * SIZE, data[2] + column * SIZE, m, n)
    return 0

def product_NAME(dims, c, a, b):
    threads = pointee(pool[1])
    if threads > 1 and dims[G_M] * dims[G_N] * dims[G_K] >= WHOLE:
        own = stack(G_WORDS)
        copy(own, dims, 8 * (G_ADD + 1))
        tiles = cut(own, threads)
        data = stack(3)
        data[0] = c
        data[1] = a
        data[2] = b
        return call("i64:ptr,ptr,ptr,ptr,i64,i64", pool[0], tiles_NAME, data, own, 0, tiles, 1)
    call_NAME(dims, c, a, b, dims[G_M], dims[G_N])
    return 0

def gemm_NAME(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    if not fits(dims):
        return TOO_LARGE
    if dims[G_M] == 0 or dims[G_N] == 0:
        return 0
    for index in range(low, high):
        c = data[0] + index * dims[G_STRIDE_C] * SIZE
        a = data[1] + index * dims[G_STRIDE_A] * SIZE
        b = data[2] + index * dims[G_STRIDE_B] * SIZE
        product_NAME(dims, c, a, b)
    return 0
"""


def _kernel(name: str) -> str:
    _, size, signature, is_complex = _TYPES[name]
    one = 0x3F800000 if name in ("float32", "complex64") else 0x3FF0000000000000
    text = (_COMPLEX_CALL if is_complex else _REAL_CALL) + _KERNEL
    replacements = {
        "NAME": name,
        "SIZE": str(size),
        "SIGNATURE": signature,
        "INDEX": str(ROUTINES[name][0]),
        "ONE": str(one),
    }
    for word, value in replacements.items():
        text = text.replace(word, value)
    return text


PRODUCTS = "def pointee(place):\n    return place[0]\n" + _SHARED + "".join(map(_kernel, _TYPES))
