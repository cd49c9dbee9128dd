"""Words: the Mersenne Twister on PyTorch's record of a generator, and what is drawn one by one.

A record has 5056 bytes: the seed; words left in the block (32 bits) and a flag (32 bits); the place
in the block; the block, a 64-bit word for each 32-bit word of the twister; then what belongs to
distributions.
"""

# The C library's functions are PyTorch's own; NumPy's differ from them in the last place.
FUNCTIONS = ("log", "log1p", "exp", "sin", "cos", "tan")

_APPLY = """
def NAME(x: f64) -> f64: ...

def apply_NAME(values: ptr, count: i64) -> None:
    for i in range(count):
        values[i] = NAME(values[i])

# A stage. data: the values.
def each_NAME(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    apply_NAME(data[0] + 8 * low, high - low)
    return 0
"""

TWISTER = """
LEFT = 1
NEXT = 2
KEY = 3
WORDS = 624
SHIFT = 397
LOW = 0x7FFFFFFF
HIGH = 0x80000000
ALL = 0xFFFFFFFF
SEEDED = 1 << 32

def start(record: ptr, seed: i64) -> None:
    key = record + 8 * KEY
    word = seed & ALL
    record[0] = seed
    record[LEFT] = 1 | SEEDED
    record[NEXT] = 0
    for i in range(WORDS):
        if i:
            word = (1812433253 * (word ^ (word >> 30)) + i) & ALL
        key[i] = word

def twisted(far, this, following):
    joined = (this & HIGH) | (following & LOW)
    return far ^ (joined >> 1) ^ ((0 - (joined & 1)) & 0x9908B0DF)

def twist(key):
    for i in range(WORDS - SHIFT):
        key[i] = twisted(key[i + SHIFT], key[i], key[i + 1])
    for i in range(WORDS - SHIFT, WORDS - 1):
        key[i] = twisted(key[i + SHIFT - WORDS], key[i], key[i + 1])
    key[WORDS - 1] = twisted(key[SHIFT - 1], key[WORDS - 1], key[0])

def tempered(word):
    word ^= word >> 11
    word ^= (word << 7) & 0x9D2C5680
    word ^= (word << 15) & 0xEFC60000
    return word ^ (word >> 18)

# Writes the next `count` words to `target`, 32 bits each.
def draw(record: ptr, target: ptr, count: i64) -> None:
    key = record + 8 * KEY
    place = WORDS + 1 - half_word(record + 8 * LEFT)
    while count > 0:
        if place == WORDS:
            twist(key)
            place = 0
        here = WORDS - place
        if here > count:
            here = count
        for i in range(here):
            set_half_word(target + 4 * i, tempered(key[place + i]))
        place += here
        target += 4 * here
        count -= here
        record[LEFT] = (WORDS + 1 - place) | SEEDED
        record[NEXT] = place

# A stage. data: a record, what the words are written to. dims: how many, from which byte on.
def draw_words(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    draw(data[0], data[1] + dims[1], dims[0])
    return 0

# A stage. data: a record, what is made: the numbers below dims[0] in random order.
def shuffle(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    order = data[1]
    count = dims[0]
    for i in range(count):
        order[i] = i
    permute(data[0], order, count)
    return 0

# Exchanges each of `count` elements of `order` with one from it on (Fisher and Yates; Durstenfeld,
# CACM 7(7), 1964). Large ranges take two words for each exchange, high half first.
def permute(record: ptr, order: ptr, count: i64) -> None:
    drawn = stack(WORDS // 2)
    wide = count >= ALL // 20
    last = count - 1
    i = 0
    while i < last:
        here = WORDS // 2
        if here > last - i:
            here = last - i
        draw(record, drawn, here << wide)
        for k in range(here):
            value = half_word(drawn + 4 * k)
            if wide:
                value = (half_word(drawn + 8 * k) << 32) | half_word(drawn + 8 * k + 4)
            partner = i + unsigned_remainder(value, count - i)
            moved = order[partner]
            order[partner] = order[i]
            order[i] = moved
            i += 1
"""
STAGES = ("draw_words", "shuffle", *(f"each_{name}" for name in FUNCTIONS))
TWISTER += "".join(_APPLY.replace("NAME", name) for name in FUNCTIONS)
