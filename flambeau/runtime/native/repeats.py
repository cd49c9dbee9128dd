"""Words: rows that repeat, and stages that depend on how many do."""

REPEATS = """
ODD = 0x9E3779B97F4A7C15 - (1 << 64)

def memcmp(a: ptr, b: ptr, count: i64) -> i32: ...
def memset(target: ptr, byte: i32, count: i64) -> ptr: ...

def stirred(hash, word):
    hash = (hash ^ word) * ODD
    return hash ^ (hash >> 32)

# Four sums, so that they need not wait for each other.
def hash_row(row, size):
    a = size
    b = 1
    c = 2
    d = 3
    count = size // 32
    for i in range(count):
        a = stirred(a, row[0])
        b = stirred(b, row[1])
        c = stirred(c, row[2])
        d = stirred(d, row[3])
        row += 32
    left = size % 32 // 4
    for i in range(left):
        a = stirred(a, half_word(row + 4 * i))
    return stirred(stirred(stirred(a, b), c), d)

# data: rows; for each the number of its value; the values, zeros behind the last; how many there
# are, or one more than there may be: then nothing else is told; a table of words.
# dims: rows, bytes of a row, values that there may be, size of the table (a power of 2).
def find_repeats(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    row = data[0]
    numbers = data[1]
    values = data[2]
    found = data[3]
    table = data[4]
    rows = dims[0]
    size = dims[1]
    most = dims[2]
    mask = dims[3] - 1
    memset(table, 0, dims[3] * 8)
    count = 0
    for r in range(rows):
        place = hash_row(row, size) & mask
        number = table[place]
        while number != 0 and memcmp(row, values + (number - 1) * size, size) != 0:
            place = (place + 1) & mask
            number = table[place]
        if number == 0:
            count += 1
            if count > most:
                break
            copy(values + (count - 1) * size, row, size)
            table[place] = count
            number = count
        numbers[r] = number - 1
        row += size
    if count <= most:
        memset(values + count * size, 0, (most - count) * size)
    found[0] = count
    return 0

# data: a number, then what the stage is given. dims: the number up to which a stage runs, or above
# which (WANTED is 0), then the stage, with TOTAL 0 for a range that is the number, and its own.
U_MOST = 0
U_WANTED = 1
U_KERNEL = 2
U_TOTAL = 3
U_GRAIN = 4
U_HEAD = 5

def run_if(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    number = data[0]
    few = 0
    if number[0] <= dims[U_MOST]:
        few = 1
    if few != dims[U_WANTED]:
        return 0
    total = dims[U_TOTAL]
    if total == 0:
        total = number[0]
    own = dims + U_HEAD * 8
    return parallel_for(dims[U_KERNEL], data + 8, own, scalars, total, dims[U_GRAIN])
"""
