"""Words: backward's walk along a chain of nodes, and the arrival of gradients at leaves.

The Python loop in the engine knows all cases; this does the plain ones and hands over the rest.
"""

BACKWARD = """
node_type: word = 0
accumulate_type: word = 0
interpreters: word = 0       # the list of those that want to see ops
find_adder: word = 0         # (have, grad): the plan of have.add_(grad)
accumulate_slowly: word = 0  # (edge, grad)
run_name: word = 0           # the string "run"
one: word = 0                # the int 1
A_VARIABLE: word = 0         # offsets of slots
T_GRAD: word = 0

ADDERS = 256
adders: words[ADDERS * 3]    # rows of (layout, layout of the gradient, plan), by a hash

PyTuple_Type: external
PyList_Type: external
PyCFunction_Type: external

def PyUnicode_InternFromString(text: ptr) -> ptr: ...
def PyObject_VectorcallMethod(name: ptr, given: ptr, count: i64, names: ptr) -> ptr: ...
def PyNumber_Add(left: ptr, right: ptr) -> ptr: ...
def PyList_AsTuple(list: ptr) -> ptr: ...
def PyList_GetItem(list: ptr, index: i64) -> ptr: ...
def PyList_SetItem(list: ptr, index: i64, item: ptr) -> i32: ...

def py_configure_backward(module: ptr, arguments: ptr, count: i64) -> ptr:
    if count != 7:
        return error(address(PyExc_TypeError), "configure_backward takes seven arguments")
    one = PyLong_FromLongLong(1)
    run_name = PyUnicode_InternFromString("run")
    if one == 0 or run_name == 0:
        return 0
    for i in range(5):
        incref(arguments[i])
    node_type = arguments[0]
    accumulate_type = arguments[1]
    interpreters = arguments[2]
    find_adder = arguments[3]
    accumulate_slowly = arguments[4]
    A_VARIABLE = slot_offset(arguments[5])
    T_GRAD = slot_offset(arguments[6])
    return new_none()

# The low half of the count; the high half has other uses in later versions of CPython.
def is_alone(object):
    return half_word(object) == 1

# A callable on two objects: 1, or 0 with an exception.
@cold
def call_two(callable, first, second):
    given = stack(2)
    given[0] = first
    given[1] = second
    return PyObject_Vectorcall(callable, given, 2, 0)

@cold
def arrive_slowly(edge, grad):
    answer = call_two(accumulate_slowly, edge, grad)
    if answer == 0:
        return 0
    decref(answer)
    return 1

@cold
def other_adder(row, have, grad):
    plan = call_two(find_adder, have, grad)
    if plan == 0:
        return 0
    mine = row[0]
    theirs = row[1]
    before = row[2]
    row[0] = slot(have, T_LAYOUT)
    row[1] = slot(grad, T_LAYOUT)
    row[2] = plan
    incref(row[0])
    incref(row[1])
    incref(plan)
    if before:
        decref(mine)
        decref(theirs)
        decref(before)
    return plan

# The plan of have.add_(grad), a new reference; 0 with an exception.
def adder_of(have, grad):
    mine = slot(have, T_LAYOUT)
    theirs = slot(grad, T_LAYOUT)
    row = adders + (((mine >> 4) * 31 + (theirs >> 4)) & (ADDERS - 1)) * 24
    if row[0] == mine and row[1] == theirs:
        plan = row[2]
        incref(plan)
        return plan
    return other_adder(row, have, grad)

def add_to(have, grad):
    plan = adder_of(have, grad)
    if plan == 0:
        return 0
    given = stack(3)
    given[0] = have
    given[1] = grad
    given[2] = one
    incref(have)
    if plan[1] == address(PyCFunction_Type) and plan[2] == launch_method:
        answer = launch(plan[3], given, 3)
    else:
        answer = PyObject_Vectorcall(plan, given, 3, 0)
    decref(have)
    decref(plan)
    if answer == 0:
        return 0
    decref(answer)
    return 1

# Takes a first gradient as it is where nothing else refers to it and it lies as the leaf does.
def take_gradient(leaf, edge, grad):
    fits = slot(grad, T_BASE) == none() and slot(grad, T_LAYOUT) == slot(leaf, T_LAYOUT)
    if not fits or not is_alone(grad):
        return arrive_slowly(edge, grad)
    maker = slot(grad, T_NODE)
    before = slot(leaf, T_GRAD)
    incref(grad)
    share_none(1)
    fill_slot(grad, T_NODE, none())
    fill_slot(leaf, T_GRAD, grad)
    if maker:
        decref(maker)
    decref(before)
    return 1

def arrive_at(leaf, edge, grad):
    if unlikely(not is_tensor(leaf) or not is_tensor(grad) or PyList_Size(interpreters) != 0):
        return arrive_slowly(edge, grad)
    have = slot(leaf, T_GRAD)
    if have == none():
        return take_gradient(leaf, edge, grad)
    if unlikely(have == 0):
        return arrive_slowly(edge, grad)
    if unlikely(not is_tensor(have)):
        return arrive_slowly(edge, grad)
    return add_to(have, grad)

# 1, or 0 with an exception.
def accumulate(edge, grad):
    leaf = PyObject_CallNoArgs(slot(edge, A_VARIABLE))
    if leaf == 0:
        return 0
    done = 1
    if leaf != none():
        done = arrive_at(leaf, edge, grad)
    decref(leaf)
    return done

# A node that is run here: without hooks, with a tuple of edges.
def is_plain(node):
    if unlikely(not PyType_IsSubtype(node[1], node_type)):
        return 0
    if slot(node, N_EXTRA) != none():
        return 0
    edges = slot(node, N_EDGES)
    if edges == 0:
        return 0
    return edges[1] == address(PyTuple_Type)

# How many pairs of edge and result there are.
def pairs(edges, found):
    count = edges[TUPLE_ITEMS - 1]
    if found[TUPLE_ITEMS - 1] < count:
        count = found[TUPLE_ITEMS - 1]
    return count

HARD = -1

# The one node, apart from leaves, that gradients go to: 0 if there is none, HARD where the loop in
# Python is needed.
def following_of(edges, found, limit):
    single = 0
    count = pairs(edges, found)
    for i in range(count):
        edge = edges[TUPLE_ITEMS + i]
        if edge != none() and found[TUPLE_ITEMS + i] != none():
            if edge[1] == accumulate_type:
                if slot(edge, N_EXTRA) != none() or slot(edge, A_VARIABLE) == 0:
                    return HARD
            elif edge != single:
                if single != 0 or not PyType_IsSubtype(edge[1], node_type):
                    return HARD
                order = slot(edge, N_ORDER)
                if order == 0:
                    return HARD
                if PyLong_AsLongLong(order) <= limit:
                    PyErr_Clear()
                    return HARD
                single = edge
    return single

# Hands the gradients on: what `following` is to get (0 if there is none) in place[0]; 1, or 0 with
# an exception.
def hand_on(edges, found, place):
    place[0] = 0
    count = pairs(edges, found)
    for i in range(count):
        edge = edges[TUPLE_ITEMS + i]
        grad = found[TUPLE_ITEMS + i]
        if edge != none() and grad != none():
            if edge[1] == accumulate_type:
                if accumulate(edge, grad) == 0:
                    return 0
            elif place[0] == 0:
                incref(grad)
                place[0] = grad
            else:
                total = PyNumber_Add(place[0], grad)
                if total == 0:
                    return 0
                decref(place[0])
                place[0] = total
    return 1

# A tuple of three; takes over the references.
@cold
def three(first, second, third):
    made = PyTuple_New(3)
    if made == 0:
        decref(first)
        decref(second)
        decref(third)
        return 0
    made[TUPLE_ITEMS] = first
    made[TUPLE_ITEMS + 1] = second
    made[TUPLE_ITEMS + 2] = third
    return made

# Takes over the references to `node` and `grad`.
def walk(node, grad, keep, limit):
    given = stack(3)
    place = stack(1)
    while 1:
        if not is_plain(node):
            return three(node, grad, new_none())
        given[0] = node
        given[1] = grad
        given[2] = keep
        found = PyObject_VectorcallMethod(run_name, given, 3, 0)
        edges = slot(node, N_EDGES)
        incref(edges)
        decref(grad)
        decref(node)
        if found != 0 and found[1] == address(PyList_Type):
            listed = found
            found = PyList_AsTuple(listed)
            decref(listed)
        if found == 0:
            decref(edges)
            return 0
        if found[1] != address(PyTuple_Type):
            return three(new_none(), edges, found)
        node = following_of(edges, found, limit)
        if node == HARD:
            return three(new_none(), edges, found)
        fine = hand_on(edges, found, place)
        grad = place[0]
        if fine and node:
            incref(node)
        decref(edges)
        decref(found)
        if fine == 0:
            if grad:
                decref(grad)
            return 0
        if node == 0:
            return new_none()

# chain([node, grad], keep, limit) runs the node and those that follow it, as long as each hands
# gradients to leaves and one other node at most, whose order is above `limit`. It empties the list.
# None if all is done; (node, grad, None): go on by running that node; (None, edges, results): go on
# by handing these on.
def py_chain(module: ptr, arguments: ptr, count: i64) -> ptr:
    if count != 3 or node_type == 0 or N_SAVED == 0:
        return error(address(PyExc_TypeError), "chain takes a list, a bool and an int")
    held = arguments[0]
    limit = PyLong_AsLongLong(arguments[2])
    node = PyList_GetItem(held, 0)
    grad = PyList_GetItem(held, 1)
    if node == 0 or grad == 0:
        return 0
    incref(node)
    incref(grad)
    share_none(2)
    PyList_SetItem(held, 0, none())
    PyList_SetItem(held, 1, none())
    return walk(node, grad, arguments[1], limit)
"""
