"""Words: comparing what a program was captured with to what is there now."""

GUARD_KINDS = ("item", "length", "element", "cell", "tensor", "slot", "keys")

GUARD = """
# A guard is a bytes object: rows of four words, the kind, the object, a key or number, and what is
# expected. Objects are compared by identity; nothing of the user's is called.
G_ITEM = 0           # of a dictionary
G_LENGTH = 1         # how many a dictionary or a list has
G_ELEMENT = 2        # of a list
G_CELL = 3           # of a closure
G_TENSOR = 4         # a tensor's layout, and whether it has a node
G_SLOT = 5           # of an object, at so many bytes
G_KEYS = 6           # of a dictionary, all, in their order; behind them perhaps its values
GUARD_BYTES = 32
SIZE = 2             # the word of a dictionary, or a list, that says how many it has
LIST_ITEMS = 3       # the word of a list that says where its items are

def PyDict_GetItemWithError(dictionary: ptr, key: ptr) -> ptr: ...
def PyDict_Next(dictionary: ptr, position: ptr, key: ptr, value: ptr) -> i32: ...

def has_keys(dictionary, count, keys):
    if dictionary[SIZE] != count:
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

# Whether a look-up that found nothing did not fail instead.
@cold
def is_absent_key():
    failed = PyErr_Occurred()
    PyErr_Clear()
    return failed == 0

def is_steady(row):
    kind = row[0]
    object = row[1]
    if kind == G_ITEM:
        found = PyDict_GetItemWithError(object, row[2])
        return found == row[3] and (found or is_absent_key())
    if kind == G_TENSOR:
        return slot(object, T_LAYOUT) == row[3] and has_node(object) == row[2]
    if kind == G_LENGTH:
        return object[SIZE] == row[2]
    if kind == G_ELEMENT:
        return object[SIZE] > row[2] and (object[LIST_ITEMS])[row[2]] == row[3]
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

# Gradients that a program is given: a bytes object of rows of three words, the address of
# the slot that it is in, its layout, and whether it has a node.
GIVEN_BYTES = 24

def PyList_New(count: i64) -> ptr: ...
def PyList_Append(list: ptr, item: ptr) -> i32: ...

# Adds an object to a set, `size` words (a power of two) of which most are 0: whether it is new.
def add_new(places, size, object):
    k = (object >> 4) & (size - 1)
    while places[k] != 0:
        if places[k] == object:
            return 0
        k = (k + 1) & (size - 1)
    places[k] = object
    return 1

def is_given(tensor, row):
    return is_tensor(tensor) and slot(tensor, T_LAYOUT) == row[1] and has_node(tensor) == row[2]

# put(table, values, start): the values of a tuple from `start` on go to the slots whose addresses
# are in a bytes object; None to all of them where `values` is None.
def py_put(module: ptr, arguments: ptr, count: i64) -> ptr:
    table = arguments[0]
    values = arguments[1]
    slots = table[2] // 8
    value = values + (TUPLE_ITEMS + PyLong_AsLongLong(arguments[2])) * 8
    for k in range(slots):
        place = (table + BYTES_DATA)[k]
        before = place[0]
        if values == none():
            place[0] = new_none()
        else:
            incref(value[k])
            place[0] = value[k]
        if before:
            decref(before)
    return new_none()

# The gradients at the end of the list; whether all are what is expected, in memory of their own.
def append_given(list, row, end, places, size):
    count = PyList_Size(list)
    for k in range(count):
        add_new(places, size, slot(PyList_GetItem(list, k), T_STORAGE))
    while row < end:
        tensor = pointee(row[0])
        if tensor == 0 or not is_given(tensor, row):
            return 0
        if not add_new(places, size, slot(tensor, T_STORAGE)):
            return 0
        if PyList_Append(list, tensor) < 0:
            return 0
        row += GIVEN_BYTES
    return 1

# given(list, table): whether all gradients of the table could be appended to the list.
def py_given(module: ptr, arguments: ptr, count: i64) -> ptr:
    list = arguments[0]
    row = arguments[1] + BYTES_DATA
    end = row + (arguments[1])[2]
    most = PyList_Size(list) + (end - row) // GIVEN_BYTES
    size = 4
    while size < 2 * most:
        size *= 2
    places = calloc(size, 8)
    if places == 0:
        return PyErr_NoMemory()
    fine = append_given(list, row, end, places, size)
    free(places)
    if PyErr_Occurred():
        return 0
    return PyBool_FromLong(fine)
"""
