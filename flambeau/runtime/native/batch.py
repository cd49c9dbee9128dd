"""Words: products of batches of small matrices, by the kernels that `compiler.products` makes.

Each call packs one right matrix after the other into memory of its own.
"""

BATCH = """
# The description, in words. Then for out, a and b the bytes from one row of the batch to the next,
# and from one matrix to the next.
T_PACK = 0           # the kernel that packs
T_SLIVERS = 1        # its range
T_PACK_DIMS = 2      # offset in bytes
T_PRODUCT = 3        # the kernel that multiplies, alike
T_TASKS = 4
T_PRODUCT_DIMS = 5
T_BYTES = 6          # of a packed matrix
T_INNER = 7          # the batch is rows of so many products
T_STEPS = 8

def matrix_at(data, steps, row, place):
    return data + row * steps[0] + place * steps[1]

def run_batch(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    slab = malloc(dims[T_BYTES] + 64)
    if slab == 0:
        return NO_SCRATCH
    packed = (slab + 63) // 64 * 64
    given = stack(4)
    given[0] = packed
    pair = stack(2)
    pair[0] = packed
    steps = dims + T_STEPS * 8
    code = 0
    while low < high and code == 0:
        row = low // dims[T_INNER]
        place = low % dims[T_INNER]
        pair[1] = matrix_at(data[2], steps + 32, row, place)
        code = invoke(dims[T_PACK], pair, dims + dims[T_PACK_DIMS], scalars, 0, dims[T_SLIVERS])
        given[1] = matrix_at(data[1], steps + 16, row, place)
        given[2] = matrix_at(data[0], steps, row, place)
        given[3] = given[2]
        if code == 0:
            code = invoke(
                dims[T_PRODUCT], given, dims + dims[T_PRODUCT_DIMS], scalars, 0, dims[T_TASKS]
            )
        low += 1
    free(slab)
    return code
"""
