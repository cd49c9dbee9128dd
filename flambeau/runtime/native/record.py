"""Words: nodes made natively, from what the rule of an op says about them."""

RECORD = """
# A recording, in words; its maker in core.py writes the same.
R_EDGES = 0          # how many
R_SAVES = 1          # how many saved values
R_VERSIONS = 2       # how many of them have a version
R_KIND = 3           # the class of the node
R_SHAPES = 4         # an object
R_ROWS = 5           # for each edge its argument's position, or -1; for each value four words:
V_WAY = 0            # one of the following
V_POSITION = 1       # of the argument
V_NEEDED = 2         # bits of the edges that need it
V_VERSION = 3        # whether it has a version
WAY_PLAIN = 0        # the argument
WAY_TENSOR = 1       # the argument, where needed
WAY_RESULT = 2       # the result without history, where needed
WAY_LAYOUT = 3       # the argument's layout
WAY_OFFSET = 4       # the argument's offset

watchers: word = 0   # a list: not empty where recording does more than this
last_order: word = 0
N_EDGES: word = 0    # offsets of slots; N_SAVED is 0 until they are known
N_EXTRA: word = 0
N_ORDER: word = 0
N_SAVED: word = 0
N_SHAPES: word = 0

def PyList_Size(list: ptr) -> i64: ...

def py_configure_nodes(module: ptr, arguments: ptr, count: i64) -> ptr:
    if count != 6:
        return error(address(PyExc_TypeError), "configure_nodes takes a list and five members")
    incref(arguments[0])
    watchers = arguments[0]
    N_EDGES = slot_offset(arguments[1])
    N_EXTRA = slot_offset(arguments[2])
    N_ORDER = slot_offset(arguments[3])
    N_SAVED = slot_offset(arguments[4])
    N_SHAPES = slot_offset(arguments[5])
    return new_none()

# The next number in the order of all nodes.
def new_order():
    last_order += 1
    return PyLong_FromLongLong(last_order)

def py_next_order(module: ptr, unused: ptr) -> ptr:
    return new_order()

def version_of(tensor):
    storage = slot(tensor, T_STORAGE)
    if is_storage(storage):
        return storage[S_VERSION]
    return 0

# A tensor on the same memory, without history.
def bare(tensor):
    storage = slot(tensor, T_STORAGE)
    layout = slot(tensor, T_LAYOUT)
    offset = slot(tensor, T_OFFSET)
    incref(storage)
    incref(layout)
    incref(offset)
    share_none(1)
    return new_tensor(storage, layout, offset, none())

# A new reference to what is saved; 0 with an exception.
def saved_value(row, needed, result, arguments):
    way = row[V_WAY]
    value = arguments[row[V_POSITION]]
    if way == WAY_RESULT and needed:
        return bare(result)
    if (way == WAY_TENSOR or way == WAY_RESULT) and not needed:
        value = none()
    if way == WAY_LAYOUT:
        value = slot(value, T_LAYOUT)
    if way == WAY_OFFSET:
        value = slot(value, T_OFFSET)
    incref(value)
    return value

# Fills the tuple `saved`: 1, or 0, with an exception or where a value is an inference tensor.
def save(recording, saved, edges, result, arguments):
    count = recording[R_SAVES]
    row = recording + (R_ROWS + recording[R_EDGES]) * 8
    place = saved + TUPLE_ITEMS * 8
    versions = place + count * 8
    for i in range(count):
        needed = (edges & row[V_NEEDED]) != 0
        value = saved_value(row, needed, result, arguments)
        if value == 0:
            return 0
        place[i] = value
        if row[V_VERSION]:
            version = 0
            if row[V_WAY] == WAY_RESULT:
                version = version_of(result)
            elif needed:
                version = version_of(value)
            if unlikely(version < 0):
                return 0
            number = PyLong_FromLongLong(version)
            if number == 0:
                return 0
            versions[0] = number
            versions += 8
        row += 32
    return 1

# Fills the tuple `edges`, and gives the bits of those that are not None.
def gather_edges(recording, edges, arguments):
    present = 0
    count = recording[R_EDGES]
    for i in range(count):
        position = recording[R_ROWS + i]
        edge = none()
        if position >= 0 and has_node(arguments[position]):
            edge = slot(arguments[position], T_NODE)
            present = present | (1 << i)
        incref(edge)
        edges[TUPLE_ITEMS + i] = edge
    return present

# Hangs a new node on the result: 1, or 0, with an exception or where a value that would be saved
# is an inference tensor.
def make_node(recording, result, arguments):
    node = PyType_GenericAlloc(recording[R_KIND], 0)
    if node == 0:
        return 0
    shapes = recording[R_SHAPES]
    incref(shapes)
    share_none(1)
    fill_slot(node, N_SHAPES, shapes)
    fill_slot(node, N_EXTRA, none())
    edges = PyTuple_New(recording[R_EDGES])
    saved = PyTuple_New(recording[R_SAVES] + recording[R_VERSIONS])
    order = new_order()
    fill_slot(node, N_EDGES, edges)
    fill_slot(node, N_SAVED, saved)
    fill_slot(node, N_ORDER, order)
    fine = edges != 0 and saved != 0 and order != 0
    if fine:
        fine = save(recording, saved, gather_edges(recording, edges, arguments), result, arguments)
    if fine == 0:
        decref(node)
        return 0
    before = slot(result, T_NODE)
    fill_slot(result, T_NODE, node)
    if before:
        decref(before)
    return 1
"""
