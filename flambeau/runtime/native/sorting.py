"""Words: kernels that sort and select, line by line.

A line holds n words, which are compared as signed integers. Of keys up to 32 bits a word has the
key above and the element's number below, so that words differ and their order is a stable one. Keys
of 64 bits have a second line with the numbers; where those of a line are close enough to each other
they become such words as well. Sorting is by counting digits from the lowest on (LSD radix sort;
Knuth, The Art of Computer Programming 3, 5.2.5), selection by counting them from the highest on.
"""

SORTING = """
FEW = 24              # words that are sorted by insertion
SHORT = 2048          # words from which digits are wide
NARROW = 8            # bits of a digit
WIDE = 11
NUMBER = (1 << 32) - 1
FIXED = 0             # rules for the rank: k,
MIDDLE = 1            # the lower middle, or the first nan where there is one; else the lower middle
                      # of what is not nan

# The words of p in order.
def insert(p, n):
    for i in range(1, n):
        word = p[i]
        j = i
        while j > 0 and p[j - 1] > word:
            p[j] = p[j - 1]
            j -= 1
        p[j] = word

def is_sorted(p, n):
    for i in range(1, n):
        if p[i - 1] > p[i]:
            return 0
    return 1

def digit(word, shift, above, mask):
    return ((word >> shift) + above) & mask

# What is added to the highest digit, so that negative numbers come first.
def added(shift, bits):
    if shift + bits < 64:
        return 0
    return 1 << (63 - shift)

# counts[d] = how many words of p have digit d.
def tally(p, n, shift, above, mask, counts):
    for d in range(mask + 1):
        counts[d] = 0
    for i in range(n):
        d = digit(p[i], shift, above, mask)
        counts[d] = counts[d] + 1

# counts[d] = how many have a smaller digit.
def accumulate(counts, mask):
    sum = 0
    for d in range(mask + 1):
        size = counts[d]
        counts[d] = sum
        sum += size

# Sorts n words by their bits from `shift` up to `end`; `numbers` (or 0) go along. The other two are
# scratch.
def sort_line(words, scratch, numbers, other, n, shift, end):
    bits = NARROW
    if n >= SHORT:
        bits = WIDE
    mask = (1 << bits) - 1
    counts = stack(1 << WIDE)
    a = words
    b = scratch
    c = numbers
    d = other
    while shift < end:
        above = added(shift, bits)
        tally(a, n, shift, above, mask, counts)
        if counts[digit(a[0], shift, above, mask)] < n:
            accumulate(counts, mask)
            if c:
                for i in range(n):
                    k = digit(a[i], shift, above, mask)
                    place = counts[k]
                    counts[k] = place + 1
                    b[place] = a[i]
                    d[place] = c[i]
                swap = c
                c = d
                d = swap
            else:
                for i in range(n):
                    word = a[i]
                    k = digit(word, shift, above, mask)
                    place = counts[k]
                    counts[k] = place + 1
                    b[place] = word
            swap = a
            a = b
            b = swap
        shift += bits
    if a != words:
        copy(words, a, n * 8)
        if numbers:
            copy(numbers, c, n * 8)

# data: words, scratch. dims: n.
def sort_packed(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    n = dims[0]
    for line in range(low, high):
        words = data[0] + line * n * 8
        if n <= FEW:
            insert(words, n)
        elif not is_sorted(words, n):
            sort_line(words, data[1] + line * n * 8, 0, 0, n, 32, 64)
    return 0

# How many bits a number that is not negative has.
def bits_of(number):
    bits = 0
    while number:
        number = number >> 1
        bits += 1
    return bits

# Sorts n keys and fills in their numbers; the other two are scratch.
def sort_keys(keys, scratch, numbers, other, n):
    low = keys[0]
    high = low
    for i in range(n):
        key = keys[i]
        if key < low:
            low = key
        if key > high:
            high = key
    shift = bits_of(n - 1)
    span = high - low
    if span < 0 or span >> (63 - shift):
        for i in range(n):
            numbers[i] = i
        sort_line(keys, scratch, numbers, other, n, 0, 64)
    else:
        for i in range(n):
            keys[i] = ((keys[i] - low) << shift) | i
        sort_line(keys, scratch, 0, 0, n, shift, shift + bits_of(span))
        mask = (1 << shift) - 1
        for i in range(n):
            word = keys[i]
            numbers[i] = word & mask
            keys[i] = (word >> shift) + low

# data: words, scratch, numbers, scratch. dims: n. Fills in the numbers.
def sort_paired(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    n = dims[0]
    for line in range(low, high):
        start = line * n * 8
        words = data[0] + start
        numbers = data[2] + start
        if is_sorted(words, n):
            for i in range(n):
                numbers[i] = i
        else:
            sort_keys(words, data[1] + start, numbers, data[3] + start, n)
    return 0

# The word of rank k, counted from 0, of n words, which are all different; scratch has n words.
def select_word(words, scratch, n, k):
    shift = 64 - WIDE
    mask = (1 << WIDE) - 1
    counts = stack(1 << WIDE)
    while n > FEW:
        above = added(shift, WIDE)
        tally(words, n, shift, above, mask, counts)
        wanted = 0
        while k >= counts[wanted]:
            k -= counts[wanted]
            wanted += 1
        if counts[wanted] < n:
            kept = 0
            for i in range(n):
                word = words[i]
                scratch[kept] = word
                kept += digit(word, shift, above, mask) == wanted
            words = scratch
            n = kept
        shift -= WIDE
        if shift < 0:
            shift = 0
    if words != scratch:
        copy(scratch, words, n * 8)
    insert(scratch, n)
    return scratch[k]

# data: words, scratch (one word more for each line than the words), the first k in order.
# dims: n, k.
def first_packed(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    n = dims[0]
    k = dims[1]
    for line in range(low, high):
        words = data[0] + line * n * 8
        scratch = data[1] + line * (n + 1) * 8
        found = data[2] + line * k * 8
        limit = select_word(words, scratch, n, k - 1)
        kept = 0
        for i in range(n):
            word = words[i]
            scratch[kept] = word
            kept += word <= limit
        if k <= FEW:
            insert(scratch, k)
        else:
            sort_line(scratch, words, 0, 0, k, 32, 64)
        copy(found, scratch, k * 8)
    return 0

# The rank that a line of n words is asked for, of which `good` are below the bound: nan is above.
def rank_of(dims, good):
    n = dims[0]
    if dims[2] == FIXED:
        return dims[1]
    if dims[2] == MIDDLE:
        if good < n:
            return good
        return (n - 1) // 2
    if good == 0:
        return 0
    return (good - 1) // 2

def below(words, n, bound):
    count = 0
    for i in range(n):
        count += words[i] < bound
    return count

# data: words, scratch, the number of the element of the rank that is asked for. dims: n, k, rule,
# bound.
def rank_packed(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    n = dims[0]
    for line in range(low, high):
        start = line * n * 8
        words = data[0] + start
        found = data[2]
        rank = rank_of(dims, below(words, n, dims[3]))
        found[line] = select_word(words, data[1] + start, n, rank) & NUMBER
    return 0

# data: sorted keys, their numbers, the number of the element of the rank that is asked for. dims:
# n, k, rule, bound.
def rank_sorted(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    n = dims[0]
    for line in range(low, high):
        numbers = data[1] + line * n * 8
        found = data[2]
        found[line] = numbers[rank_of(dims, below(data[0] + line * n * 8, n, dims[3]))]
    return 0

# data: sorted words (or keys), their numbers (not of packed words), the number of the last element
# of the longest run of equal keys. dims: n, bits of a word below the key.
def longest_run(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    n = dims[0]
    shift = dims[1]
    for line in range(low, high):
        words = data[0] + line * n * 8
        start = 0
        longest = 0
        last = 0
        for i in range(n):
            if (words[i] >> shift) != (words[start] >> shift):
                start = i
            if i - start + 1 > longest:
                longest = i - start + 1
                last = i
        found = data[2]
        if shift:
            found[line] = words[last] & NUMBER
        else:
            numbers = data[1] + line * n * 8
            found[line] = numbers[last]
    return 0
# data: sorted lines, values, how many elements of its line are below a value. dims: n, values of a
# line, words from a line to the next, 1 where equal elements are below.
def search(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    each = dims[1]
    equal = dims[3]
    values = data[1]
    out = data[2]
    while low < high:
        lines = data[0] + (low // each) * dims[2] * 8
        count = 4                   # searches that run side by side
        if high - low < count:
            count = high - low
        if each - low % each < count:
            count = each - low % each
        v0 = values[low]
        v1 = values[low + (count > 1)]
        v2 = values[low + (count > 2) * 2]
        v3 = values[low + (count > 3) * 3]
        a = lines
        b = lines
        c = lines
        d = lines
        size = dims[0]
        while size > 1:
            half = size >> 1
            step = half * 8
            size -= half
            x = a[half - 1]
            a += ((x < v0) | ((x == v0) & equal)) * step
            x = b[half - 1]
            b += ((x < v1) | ((x == v1) & equal)) * step
            x = c[half - 1]
            c += ((x < v2) | ((x == v2) & equal)) * step
            x = d[half - 1]
            d += ((x < v3) | ((x == v3) & equal)) * step
        out[low] = behind(lines, a, v0, size, equal)
        if count > 1:
            out[low + 1] = behind(lines, b, v1, size, equal)
        if count > 2:
            out[low + 2] = behind(lines, c, v2, size, equal)
        if count > 3:
            out[low + 3] = behind(lines, d, v3, size, equal)
        low += count
    return 0

# How many elements are below, the one at `place` the last that is in question (if there is one).
def behind(line, place, value, size, equal):
    count = (place - line) >> 3
    if size:
        x = place[0]
        count += (x < value) | ((x == value) & equal)
    return count

# data: bytes that are 0 or 1, row-major; the coordinates of those that are 1. dims: rows, their
# size, rank, the sizes of the outer dimensions.
def places(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    marks = data[0]
    out = data[1]
    size = dims[1]
    rank = dims[2]
    outer = stack(64)
    block = stack(1)
    for d in range(rank):
        outer[d] = 0
    for row in range(dims[0]):
        i = 0
        while i < size:
            bytes = 8
            if size - i < 8:
                bytes = size - i
            block[0] = 0
            copy(block, marks + i, bytes)
            eight = block[0]
            j = i
            while eight:
                for d in range(rank - 1):
                    out[d] = outer[d]
                out[rank - 1] = j
                out += (eight & 1) * rank * 8
                eight = (eight >> 8) & ((1 << 56) - 1)
                j += 1
            i += 8
        marks += size
        d = rank - 2
        while d >= 0:
            outer[d] = outer[d] + 1
            if outer[d] < dims[3 + d]:
                break
            outer[d] = 0
            d -= 1
    return 0
"""
FIXED, MIDDLE, GOOD_MIDDLE = range(3)
KERNELS = (
    "sort_packed",
    "sort_paired",
    "first_packed",
    "rank_packed",
    "rank_sorted",
    "longest_run",
    "places",
    "search",
)
