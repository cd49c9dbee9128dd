"""Words: kernels over the rows of a step, then over those of the next step.

The rows of all steps lie behind each other, as in a packed sequence; or those of all sequences, and
then the kernels know how far apart the rows of a step are. Row r of a step follows row r of the
step before it in the order of work, if that has so many, else it is the first of its sequence. Rows
do not depend on each other: each thread runs all steps for its share of them.
"""

SEQUENCE = """
# The description, in words. Then for each step, in the order of work, its first row and how many;
# then for each part the words below.
Q_PARTS = 0
Q_STEPS = 1
Q_MOST = 2            # the largest number of pointers of a part
Q_ROWS = 3            # of the largest step
Q_HEAD = 4
E_KERNEL = 0
E_DIMS = 1            # offset in bytes, as is the next
E_PLACES = 2          # rows of the words below
E_COUNT = 3
E_WORDS = 4
M_POINTER = 0
M_ROW = 1             # bytes from a row to the next
M_MOVES = 2           # one of those below
M_FIRST = 3           # FOLLOWS: the pointer for the first row of a sequence, or -1 for null
M_START = 4           # and bytes behind it
M_WORDS = 5
STAYS = 0             # row 0 is that of the first sequence
MOVES = 1             # row 0 is that of the step
FOLLOWS = 2           # row 0 is that of the step before
SHARE = 4             # rows that are worth another thread

def place_pointer(place, pointers, start, before, follows):
    pointer = pointers[place[M_POINTER]]
    if place[M_MOVES] == STAYS:
        return pointer
    if place[M_MOVES] == MOVES:
        return pointer + start * place[M_ROW]
    if follows:
        return pointer + before * place[M_ROW]
    if place[M_FIRST] < 0:
        return 0
    return pointers[place[M_FIRST]] + place[M_START]

# One step for the rows [low, high), which all follow others, or none does.
def run_step(dims, pointers, start, before, follows, low, high):
    if low >= high:
        return 0
    part = dims + (Q_HEAD + 2 * dims[Q_STEPS]) * 8
    given = stack(dims[Q_MOST])
    parts = dims[Q_PARTS]
    for p in range(parts):
        place = dims + part[E_PLACES]
        count = part[E_COUNT]
        for k in range(count):
            given[k] = place_pointer(place, pointers, start, before, follows)
            place += M_WORDS * 8
        code = invoke(part[E_KERNEL], given, dims + part[E_DIMS], 0, low, high)
        if unlikely(code):
            return code
        part += E_WORDS * 8
    return 0

def run_share(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    shares = scalars[0]
    first = low * dims[Q_ROWS] // shares
    last = high * dims[Q_ROWS] // shares
    step = dims + Q_HEAD * 8
    steps = dims[Q_STEPS]
    before = 0
    known = 0
    for s in range(steps):
        start = step[0]
        end = last
        if end > step[1]:
            end = step[1]
        middle = known
        if middle > end:
            middle = end
        if middle < first:
            middle = first
        code = run_step(dims, data, start, before, 1, first, middle)
        if code == 0:
            code = run_step(dims, data, start, before, 0, middle, end)
        if unlikely(code):
            return code
        before = start
        known = step[1]
        step += 16
    return 0

def run_sequence(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    shares = stack(1)
    shares[0] = dims[Q_ROWS] // SHARE
    if shares[0] > pool_threads:
        shares[0] = pool_threads
    if shares[0] < 1:
        shares[0] = 1
    return parallel_for(run_share, data, dims, shares, shares[0], 1)
"""
