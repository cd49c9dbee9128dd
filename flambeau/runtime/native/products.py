"""Words: kernels for matrix products, which call OpenBLAS by pointer.

OpenBLAS runs on one thread everywhere. A large product is cut into tiles of C that the pool shares
out; a batch of small ones is shared out by the launcher. So there is one pool, no nesting, and a
sum's order does not depend on the threads.
"""

_REAL = "i32,i32,i32,i32,i32,i32,{0},ptr,i32,ptr,i32,{0},ptr,i32"
_REAL_VECTOR = "i32,i32,i32,i32,{0},ptr,i32,ptr,i32,{0},ptr,i32"
# Letter of the routines, bytes of an element, and how alpha and beta are passed.
_TYPES = {
    "float32": ("s", 4, "f32"),
    "float64": ("d", 8, "f64"),
    "complex64": ("c", 8, "ptr"),
    "complex128": ("z", 16, "ptr"),
}
# Where the addresses of a type's two routines go in `routines`: the matrix product's, then the
# matrix-vector product's.
ROUTINES = {
    dtype: (2 * index, f"{letter}gemm", f"{letter}gemv")
    for index, (dtype, (letter, _, _)) in enumerate(_TYPES.items())
}

_SHARED = """
ROW_MAJOR = 101
AS_IT_IS = 111
TRANSPOSED = 112
CONJUGATE_TRANSPOSED = 113
CONJUGATE = 114
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
G_INNER = 12          # the batch is rows of so many products, with steps of their own between rows
G_ROW_A = 13
G_ROW_B = 14
G_ROW_C = 15
G_TILE_M = 16         # the rest only where tiles are cut
G_TILE_N = 17
G_ACROSS = 18
G_WORDS = 19

routines: words[8]
pool: words[2]        # address of parallel_for, and of the number of threads

def is_transposed(code):
    return code == TRANSPOSED or code == CONJUGATE_TRANSPOSED

def conjugates(code):
    return code == CONJUGATE_TRANSPOSED or code == CONJUGATE

# The code of the transposed matrix.
def flipped(code):
    if code == AS_IT_IS:
        return TRANSPOSED
    if code == TRANSPOSED:
        return AS_IT_IS
    if code == CONJUGATE:
        return CONJUGATE_TRANSPOSED
    return CONJUGATE

def fits(dims):
    for i in range(6):
        if dims[i + 2] > LARGEST:
            return 0
    return 1

def ceil_divide(a, b):
    return (a + b - 1) // b

def rounded_tile(size, parts):
    return ceil_divide(ceil_divide(size, parts), ROUND) * ROUND

# Chooses tiles for `threads`; how many there are. Tiles as square as they can be, C's longer side
# cut first.
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

_CALL = """
def call_NAME(dims, c, a, b, m, n):
SCALARS
    if n == 1 and dims[G_K] > 0 and CONJUGATE_B == 0:
        step = dims[G_LDB]
        if is_transposed(dims[G_TRANS_B]):
            step = 1
        rows = m
        columns = dims[G_K]
        if is_transposed(dims[G_TRANS_A]):
            rows = dims[G_K]
            columns = m
        call(
            "void:VECTOR", routines[INDEX + 1], ROW_MAJOR, dims[G_TRANS_A], rows, columns,
            ONE, a, dims[G_LDA], b, step, beta, c, dims[G_LDC],
        )
        return 0
    if m == 1 and dims[G_K] > 0 and CONJUGATE_A == 0:
        step = 1
        if is_transposed(dims[G_TRANS_A]):
            step = dims[G_LDA]
        rows = dims[G_K]
        columns = n
        if is_transposed(dims[G_TRANS_B]):
            rows = n
            columns = dims[G_K]
        call(
            "void:VECTOR", routines[INDEX + 1], ROW_MAJOR, flipped(dims[G_TRANS_B]), rows, columns,
            ONE, b, dims[G_LDB], a, step, beta, c, 1,
        )
        return 0
    call(
        "void:MATRIX", routines[INDEX], ROW_MAJOR, dims[G_TRANS_A], dims[G_TRANS_B], m, n,
        dims[G_K], ONE, a, dims[G_LDA], b, dims[G_LDB], beta, c, dims[G_LDC],
    )
"""
_REAL_SCALARS = """    beta = 0
    if dims[G_ADD]:
        beta = ONE"""
_COMPLEX_SCALARS = """    one = stack(2)
    one[0] = ONE
    one[1] = 0
    beta = stack(2)
    beta[0] = 0
    beta[1] = 0
    if dims[G_ADD]:
        beta[0] = ONE"""
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
        row = index // dims[G_INNER]
        place = index % dims[G_INNER]
        c = data[0] + (row * dims[G_ROW_C] + place * dims[G_STRIDE_C]) * SIZE
        a = data[1] + (row * dims[G_ROW_A] + place * dims[G_STRIDE_A]) * SIZE
        b = data[2] + (row * dims[G_ROW_B] + place * dims[G_STRIDE_B]) * SIZE
        product_NAME(dims, c, a, b)
    return 0
"""


def _kernel(name: str) -> str:
    _, size, scalar = _TYPES[name]
    one = 0x3F800000 if name in ("float32", "complex64") else 0x3FF0000000000000
    real = scalar != "ptr"
    replacements = {
        "SCALARS": _REAL_SCALARS if real else _COMPLEX_SCALARS.replace("ONE", str(one)),
        "MATRIX": _REAL.format(scalar),
        "VECTOR": _REAL_VECTOR.format(scalar),
        "CONJUGATE_A": "0" if real else "conjugates(dims[G_TRANS_A])",
        "CONJUGATE_B": "0" if real else "conjugates(dims[G_TRANS_B])",
        "NAME": name,
        "SIZE": str(size),
        "INDEX": str(ROUTINES[name][0]),
        "ONE": str(one) if real else "one",
    }
    text = _CALL + _KERNEL
    for word, value in replacements.items():
        text = text.replace(word, value)
    return text


PRODUCTS = "def pointee(place):\n    return place[0]\n" + _SHARED + "".join(map(_kernel, _TYPES))
