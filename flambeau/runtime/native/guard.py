"""Words: comparing what a program was captured with to what is there now."""

GUARD_KINDS = ("item", "entries", "elements", "element", "cell", "tensor", "slot", "keys")

GUARD = """
# A guard is a bytes object: rows of four words, the kind, the object, a key or number, and what is
# expected. Objects are compared by identity; nothing of the user's is called.
G_ITEM = 0           # of a dictionary
G_ENTRIES = 1        # how many a dictionary has
G_ELEMENTS = 2       # how many a list has
G_ELEMENT = 3        # of a list
G_CELL = 4           # of a closure
G_TENSOR = 5         # a tensor's layout, and whether it has a node
G_SLOT = 6           # of an object, at so many bytes
G_KEYS = 7           # of a dictionary, all, in their order; behind them perhaps its values
GUARD_BYTES = 32

def PyDict_GetItem(dictionary: ptr, key: ptr) -> ptr: ...
def PyDict_Size(dictionary: ptr) -> i64: ...
def PyDict_Next(dictionary: ptr, position: ptr, key: ptr, value: ptr) -> i32: ...

def has_keys(dictionary, count, keys):
    if PyDict_Size(dictionary) != count:
        return 0
    place = stack(3)                 # the position, the key, the value
    place[0] = 0
    for k in range(count):
        PyDict_Next(dictionary, place, place + 8, place + 16)
        if place[1] != keys[3 + k]:
            return 0
        if keys[2] > count and place[2] != keys[3 + count + k]:
            return 0
    return 1

def is_steady(row):
    kind = row[0]
    object = row[1]
    if kind == G_ITEM:
        return PyDict_GetItem(object, row[2]) == row[3]
    if kind == G_TENSOR:
        return slot(object, T_LAYOUT) == row[3] and has_node(object) == row[2]
    if kind == G_ENTRIES:
        return PyDict_Size(object) == row[2]
    if kind == G_ELEMENTS:
        return PyList_Size(object) == row[2]
    if kind == G_ELEMENT:
        return PyList_Size(object) > row[2] and PyList_GetItem(object, row[2]) == row[3]
    if kind == G_KEYS:
        return has_keys(object, row[2], row[3])
    if kind == G_CELL:
        return object[2] == row[3]
    return slot(object, row[2]) == row[3]

def py_unchanged(module: ptr, table: ptr) -> ptr:
    row = table + BYTES_DATA
    end = row + table[2]
    while row < end:
        if not is_steady(row):
            return PyBool_FromLong(0)
        row += GUARD_BYTES
    return PyBool_FromLong(1)
"""
