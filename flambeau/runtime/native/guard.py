"""Words: comparing what a program was captured with to what is there now."""

import sys

# How CPython lays out dictionaries, whose entries a guard compares where they lie. In versions that
# nobody has tried it looks them up.
_KNOWN = (3, 11) <= sys.version_info < (3, 14) and getattr(sys, "_is_gil_enabled", lambda: True)()
_VALUES_AT = 8 if sys.version_info >= (3, 13) else 0  # of the values of an object's attributes

GUARD_KINDS = ("item", "length", "element", "cell", "tensor", "slot", "keys")

GUARD = f"""
LAYOUT_KNOWN = {int(_KNOWN)}
VALUES_AT = {_VALUES_AT}
"""
GUARD += """
# A guard begins as a bytes object: rows of four words, the kind, the object, a key or number, and
# what is expected. Objects are compared by identity; nothing of the user's is called.
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

# A snapshot is a bytes object: a word that says how many bytes of pairs follow, the pairs, then
# rows. A pair is the address of a word, and the word. What comes before a pair makes sure that its
# address is still that of what it was: dictionaries get other tables of keys when they grow.
MOST_KEYS = 256      # of a dictionary that are compared where they lie
USED = 16            # bytes to words of a dictionary: how many it has,
KEYS = 32            # its table of keys,
VALUES = 40          # and the values, where they are not in that
KEYS_KIND = 8        # and of that table: bits 8 to 15 the logarithm of the bytes before entries,
KEYS_COUNT = 24      # bits 16 to 23 their kind, 0 with hashes; and how many entries
KEYS_HEAD = 32

def py_unchanged(module: ptr, table: ptr) -> ptr:
    pair = table + BYTES_DATA + 8
    row = pair + (pair - 8)[0]
    end = table + BYTES_DATA + table[2]
    while pair < row:
        if (pair[0])[0] != pair[1]:
            return PyBool_FromLong(0)
        pair += 16
    while row < end:
        if not is_steady(row):
            return PyBool_FromLong(0)
        row += GUARD_BYTES
    return PyBool_FromLong(1)

# Each of these puts pairs at a place, and gives the place behind; the same one where it cannot.
def put_word(place, at):
    place[0] = at
    place[1] = at[0]
    return place + 16

def first_entry(keys):
    kind = keys[KEYS_KIND // 8]
    head = keys + KEYS_HEAD + (1 << ((kind >> 8) & 255))
    if ((kind >> 16) & 255) == 0:
        head += 8
    return head

def entry_bytes(keys):
    if ((keys[KEYS_KIND // 8] >> 16) & 255) == 0:
        return 24
    return 16

def put_table(place, dictionary, values):
    place = put_word(place, dictionary + KEYS)
    if values:
        return put_word(place, dictionary + VALUES)
    return place

# Tables that objects of a class share only get longer: there keys need no comparison.
def put_item(place, dictionary, key, expected, known):
    keys = slot(dictionary, KEYS)
    values = slot(dictionary, VALUES)
    entry = first_entry(keys)
    step = entry_bytes(keys)
    for k in range(slot(keys, KEYS_COUNT)):
        if entry[0] == key:
            value = entry + 8
            if values:
                value = values + VALUES_AT + k * 8
            if expected == 0 or value[0] != expected:
                return place
            if not known:
                place = put_table(place, dictionary, values)
            if values == 0:
                place = put_word(place, entry)
            return put_word(place, value)
        entry += step
    return place

def put_keys(place, dictionary, count, with_values):
    if count == 0:
        return put_word(place, dictionary + USED)
    keys = slot(dictionary, KEYS)
    entries = slot(keys, KEYS_COUNT)
    if slot(dictionary, VALUES) or entries > MOST_KEYS:
        return place
    place = put_word(place, dictionary + KEYS)
    place = put_word(place, dictionary + USED)
    place = put_word(place, keys + KEYS_COUNT)
    entry = first_entry(keys)
    for k in range(entries):
        place = put_word(place, entry)
        if with_values:
            place = put_word(place, entry + 8)
        entry += entry_bytes(keys)
    return place

def put_row(place, row, known):
    kind = row[0]
    object = row[1]
    if kind == G_ITEM and LAYOUT_KNOWN:
        return put_item(place, object, row[2], row[3], known)
    if kind == G_KEYS and LAYOUT_KNOWN:
        return put_keys(place, object, row[2], (row[3])[2] > row[2])
    if kind == G_TENSOR:
        return put_word(put_word(place, object + T_LAYOUT), object + T_NODE)
    if kind == G_LENGTH:
        return put_word(place, object + SIZE * 8)
    if kind == G_ELEMENT:
        if not known:
            place = put_word(put_word(place, object + SIZE * 8), object + LIST_ITEMS * 8)
        return put_word(place, object[LIST_ITEMS] + row[2] * 8)
    if kind == G_CELL:
        return put_word(place, object + 16)
    if kind == G_SLOT:
        return put_word(place, object + row[2])
    return place

def copy_words(place, words, count):
    for k in range(count):
        place[k] = words[k]
    return place + count * 8

def most_pairs(row, end):
    count = 0
    while row < end:
        count += 4
        if row[0] == G_KEYS:
            count += 2 * MOST_KEYS
        row += GUARD_BYTES
    return count

# snapshot(rows): what is there now, where it is what the rows expect.
def py_snapshot(module: ptr, table: ptr) -> ptr:
    row = table + BYTES_DATA
    end = row + table[2]
    room = 8 + most_pairs(row, end) * 16
    made = malloc(room + table[2])
    if made == 0:
        return PyErr_NoMemory()
    place = made + 8
    left = made + room
    latest = 0                       # the dictionary, or list, of the row before
    while row < end:
        following = place
        if is_steady(row):
            following = put_row(place, row, latest == row[1])
        latest = 0
        if following != place and (row[0] == G_ITEM or row[0] == G_ELEMENT):
            latest = row[1]
        if following == place:
            left = copy_words(left, row, GUARD_BYTES // 8)
        place = following
        row += GUARD_BYTES
    made[0] = place - made - 8
    place = copy_words(place, made + room, (left - made - room) // 8)
    result = PyBytes_FromStringAndSize(made, place - made)
    free(made)
    return result

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

# Copies between the memory of a tuple of storages, one after the other, and a place.
def copy_contents(storages, place, back):
    for k in range(storages[2]):
        storage = (storages + TUPLE_ITEMS * 8)[k]
        if back:
            copy(storage[S_PTR], place, storage[S_NBYTES])
        else:
            copy(place, storage[S_PTR], storage[S_NBYTES])
        place += storage[S_NBYTES]

# contents(storages): the bytes of all.
def py_contents(module: ptr, storages: ptr) -> ptr:
    count = 0
    for k in range(storages[2]):
        count += ((storages + TUPLE_ITEMS * 8)[k])[S_NBYTES]
    made = PyBytes_FromStringAndSize(0, count)
    if made:
        copy_contents(storages, made + BYTES_DATA, 0)
    return made

# restore(storages, contents): gives them these bytes again.
def py_restore(module: ptr, arguments: ptr, count: i64) -> ptr:
    copy_contents(arguments[0], arguments[1] + BYTES_DATA, 1)
    return new_none()
"""
