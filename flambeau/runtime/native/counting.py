"""Words: kernels that count, and that make as many places as counts say.

Their results are as long as values say. So there are two launches: the first one counts, the second
one gets the length as its first number.
"""

COUNTING = """
NUMBER = (1 << 32) - 1
IN_WORD = 0          # where the number of an element is: in the lower half of its word,
LISTED = 1           # in a list beside,
IN_ORDER = 2         # or nowhere: elements are in their order

# data: words (their numbers beside), the number of the first element of each run of equal ones,
# how long each run is, the run of each element, how many runs. dims: n, bits of a word below the
# key, where numbers are, the bound from which words equal nothing, whether there is one, whether
# the run of each element is wanted.
def runs(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    n = dims[0]
    shift = dims[1]
    numbering = dims[2]
    words = data[0]
    numbers = data[1]
    first = data[2]
    length = data[3]
    member = data[4]
    run = -1
    start = 0
    key = 0
    number = 0
    for i in range(n):
        word = words[i]
        if numbering == IN_WORD:
            number = word & NUMBER
        elif numbering == LISTED:
            number = numbers[i]
        else:
            number = i
        if (i == 0) | ((word >> shift) != key) | (dims[4] & (word >= dims[3])):
            if i:
                length[run] = i - start
            run += 1
            start = i
            key = word >> shift
            first[run] = number
        if dims[5]:
            member[number] = run
    length[run] = n - start
    total = data[5]
    total[0] = run + 1
    return 0

# data: what is made, elements, numbers of those that are wanted. dims: bytes of an element.
def chosen(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    size = dims[0]
    out = data[0]
    source = data[1]
    numbers = data[2]
    count = scalars[0]
    if size == 8:
        for i in range(count):
            out[i] = source[numbers[i]]
    elif size == 4:
        for i in range(count):
            set_half_word(out + 4 * i, half_word(source + 4 * numbers[i]))
    else:
        for i in range(count):
            copy(out + i * size, source + numbers[i] * size, size)
    return 0

# data: what is made, words of which the first are wanted.
def leading(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    copy(data[0], data[1], scalars[0] * 8)
    return 0

# data: places, how often each occurs. dims: n, how many places there are (0: a number says it).
def tally(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    places = data[0]
    counts = data[1]
    size = dims[1]
    if size == 0:
        size = scalars[0]
    for k in range(size):
        counts[k] = 0
    for i in range(dims[0]):
        place = places[i]
        if (place < 0) | (place >= size):
            return 1
        counts[place] = counts[place] + 1
    return 0

# data: where bags start (and, where dims say so, the last one ends), the bag of each of n entries,
# the sizes of the bags. Entries behind the last bag have none: -1. dims: n, bags, whether there is
# a last end.
def bags(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    n = dims[0]
    count = dims[1]
    starts = data[0]
    member = data[1]
    sizes = data[2]
    i = 0
    for bag in range(count):
        end = n
        if bag + 1 < count + dims[2]:
            end = starts[bag + 1]
        if (starts[bag] != i) | (end < i) | (end > n):
            return 1
        sizes[bag] = end - i
        while i < end:
            member[i] = bag
            i += 1
    while i < n:
        member[i] = -1
        i += 1
    return 0

# data: how often each number is wanted, the numbers so often. dims: n.
def repeated(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    times = data[0]
    out = data[1]
    place = 0
    for i in range(dims[0]):
        for k in range(times[i]):
            out[place] = i
            place += 1
    return 0
"""
IN_WORD, LISTED, IN_ORDER = range(3)
KERNELS = ("runs", "chosen", "leading", "tally", "bags", "repeated")
