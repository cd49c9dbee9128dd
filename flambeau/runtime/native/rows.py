"""Words: several kernels over a block of rows, then over the next block.

What the kernels hand to each other is scratch memory for one block, which stays in the cache. Each
call has its own, so that threads share nothing.
"""

ROWS = """
# The description, in words. Then for each scratch block its offset in the slab and bytes of a row;
# then for each part the words below.
B_PARTS = 0
B_BLOCK = 1           # rows of a block
B_SLAB = 2            # bytes of scratch memory
B_GIVEN = 3           # pointers that come from the launcher; those of scratch blocks follow
B_SCRATCH = 4         # how many
B_MOST = 5            # the largest number of pointers of a part
B_HEAD = 6
P_KERNEL = 0
P_DIMS = 1            # offset in bytes, as is the next
P_PLACES = 2          # rows of two words: pointer, bytes added
P_COUNT = 3
P_EACH = 4            # iterations for each row
P_WORDS = 5
NO_SCRATCH = 1 << 40

def malloc(size: i64) -> ptr: ...

def run_parts(dims, pointers, scalars, low, high):
    part = dims + (B_HEAD + 2 * dims[B_SCRATCH]) * 8
    given = stack(dims[B_MOST])
    count = dims[B_PARTS]
    for p in range(count):
        place = dims + part[P_PLACES]
        used = part[P_COUNT]
        for k in range(used):
            given[k] = pointers[place[0]] + place[1]
            place += 16
        each = part[P_EACH]
        code = invoke(part[P_KERNEL], given, dims + part[P_DIMS], scalars, low * each, high * each)
        if unlikely(code):
            return code
        part += P_WORDS * 8
    return 0

def run_rows(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    slab = 0
    if dims[B_SLAB]:
        slab = malloc(dims[B_SLAB] + 64)
        if slab == 0:
            return NO_SCRATCH
    first = (slab + 63) // 64 * 64
    given = dims[B_GIVEN]
    scratch = dims[B_SCRATCH]
    pointers = stack(given + scratch)
    copy(pointers, data, given * 8)
    code = 0
    while low < high and code == 0:
        end = low + dims[B_BLOCK]
        if end > high:
            end = high
        row = dims + B_HEAD * 8
        for i in range(scratch):
            pointers[given + i] = first + row[0] - low * row[1]
            row += 16
        code = run_parts(dims, pointers, scalars, low, end)
        low = end
    free(slab)
    return code
"""
