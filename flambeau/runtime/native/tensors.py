"""Words: making tensors. The tensor class is Python's; its slots are filled at the offsets that its
members report."""

TENSORS = """
tensor_type: word = 0
grad_switch: words[3]        # see mode_of
inference_switch: words[3]
zero: word = 0               # the int 0
T_STORAGE: word = 0          # offsets of slots
T_LAYOUT: word = 0
T_OFFSET: word = 0
T_NODE: word = 0
T_BASE: word = 0
other_slots: words[64]       # offsets of the slots that start as None
other_count: word = 0

PyLong_Type: external

# PyMemberDescrObject: its member definition is the sixth word, whose third word is the offset.
def slot_offset(descriptor):
    member = descriptor[5]
    return member[2]

def py_configure(module: ptr, arguments: ptr, count: i64) -> ptr:
    if count < 8 or count > 72:
        return error(address(PyExc_TypeError), "a type, two callables and member descriptors")
    incref(arguments[0])
    incref(arguments[1])
    incref(arguments[2])
    T_STORAGE = slot_offset(arguments[3])
    T_LAYOUT = slot_offset(arguments[4])
    T_OFFSET = slot_offset(arguments[5])
    T_NODE = slot_offset(arguments[6])
    T_BASE = slot_offset(arguments[7])
    other_count = count - 8
    for i in range(count - 8):
        other_slots[i] = slot_offset(arguments[i + 8])
    grad_switch[W_ASK] = arguments[1]
    inference_switch[W_ASK] = arguments[2]
    tensor_type = arguments[0]
    return new_none()

def slot(self, offset):
    return (self + offset)[0]

def fill_slot(self, offset, value):
    (self + offset)[0] = value

# A tensor; takes over the references to `storage`, `layout`, `offset` and `base`, also when it
# fails.
def new_tensor(storage, layout, offset, base):
    self = PyType_GenericAlloc(tensor_type, 0)
    if self == 0:
        decref(storage)
        decref(layout)
        decref(offset)
        decref(base)
        return 0
    fill_slot(self, T_STORAGE, storage)
    fill_slot(self, T_LAYOUT, layout)
    fill_slot(self, T_OFFSET, offset)
    fill_slot(self, T_BASE, base)
    fill_slot(self, T_NODE, none())
    count = other_count
    for i in range(count):
        fill_slot(self, other_slots[i], none())
    share_none(count + 1)
    return self

def is_tensor(object):
    if object[1] == tensor_type:
        return 1
    return is_subclass_instance(object)

@cold
def is_subclass_instance(object):
    return tensor_type != 0 and PyType_IsSubtype(object[1], tensor_type)

def is_storage(object):
    return object != 0 and object[1] == storage_type

@cold
def not_tensor(position, object):
    type = object[1]
    kind = pointee(address(PyExc_TypeError))
    PyErr_Format(kind, "argument %lld must be a Tensor, not %.200s", position, type[3])
    return 0

@cold
def no_storage(position):
    kind = pointee(address(PyExc_TypeError))
    PyErr_Format(kind, "argument %lld is a Tensor without memory", position)
    return 0

# Py_TPFLAGS_LONG_SUBCLASS is bit 24 of the flags, the 22nd word of a type.
def is_int(object):
    if object == zero:
        return 1
    type = object[1]
    return (type[21] >> 24) & 1

def py_wrap(module: ptr, arguments: ptr, count: i64) -> ptr:
    if unlikely(count != 3 or tensor_type == 0):
        return error(address(PyExc_TypeError), "wrap takes a storage, a layout, an offset")
    storage = arguments[0]
    if unlikely(not is_storage(storage) or not is_int(arguments[2])):
        return error(address(PyExc_TypeError), "wrap takes a Storage, a layout and an int")
    incref(storage)
    incref(arguments[1])
    incref(arguments[2])
    share_none(1)
    return new_tensor(storage, arguments[1], arguments[2], none())

def py_alias(module: ptr, arguments: ptr, count: i64) -> ptr:
    if unlikely(count != 3 or tensor_type == 0):
        return error(address(PyExc_TypeError), "alias takes a tensor, a layout, an offset")
    tensor = arguments[0]
    if unlikely(not is_tensor(tensor)):
        return not_tensor(0, tensor)
    storage = slot(tensor, T_STORAGE)
    if unlikely(storage == 0):
        return no_storage(0)
    if unlikely(not is_int(arguments[2])):
        return error(address(PyExc_TypeError), "an offset is an int")
    base = slot(tensor, T_BASE)
    if base == 0 or base == none():
        base = tensor
    incref(storage)
    incref(arguments[1])
    incref(arguments[2])
    incref(base)
    return new_tensor(storage, arguments[1], arguments[2], base)

# A switch of a mode that threads have one by one.
W_COUNT = 0          # in how many threads it is not as usual
W_THREAD = 1         # the id of the one thread where it is not; 0 where that is not known
W_ASK = 2            # a callable: whether it is on in this thread

# 1 if the mode is on in this thread, 0 if it is off, -1 with an exception.
def mode_of(switch, usual):
    if switch[W_COUNT] == 0:
        return usual
    if switch[W_COUNT] == 1 and switch[W_THREAD] != 0:
        return (PyThreadState_GetID(PyThreadState_Get()) == switch[W_THREAD]) != usual
    return ask_mode(switch[W_ASK])

def grad_mode():
    return mode_of(grad_switch, 1)

def inference_mode():
    return mode_of(inference_switch, 0)

@cold
def ask_mode(callable):
    answer = PyObject_CallNoArgs(callable)
    if answer == 0:
        return -1
    truth = PyObject_IsTrue(answer)
    decref(answer)
    return truth

def has_node(tensor):
    node = slot(tensor, T_NODE)
    return node != 0 and node != none()

def py_needs_grad(module: ptr, arguments: ptr, count: i64) -> ptr:
    found = 0
    for i in range(count):
        if is_tensor(arguments[i]):
            if has_node(arguments[i]):
                found = 1
    if found:
        found = grad_mode()
        if found < 0:
            return 0
    return PyBool_FromLong(found)

# A thread is known where it is the only one, and was the first.
def shift(switch, number):
    change = PyLong_AsLongLong(number)
    if change == -1 and PyErr_Occurred():
        return 0
    value = switch[W_COUNT] + change
    switch[W_THREAD] = 0
    if value == 1 and change == 1:
        switch[W_THREAD] = PyThreadState_GetID(PyThreadState_Get())
    switch[W_COUNT] = value
    return new_none()

# Adds to the number of threads in which grad mode is off.
def py_shift_grad(module: ptr, number: ptr) -> ptr:
    return shift(grad_switch, number)

# Adds to the number of threads in which inference mode is on.
def py_shift_inference(module: ptr, number: ptr) -> ptr:
    return shift(inference_switch, number)

# Whether an inference tensor may be written; 0 with an exception.
@cold
def may_write_unversioned():
    mode = inference_mode()
    if mode == 0:
        return error(
            address(PyExc_RuntimeError),
            "Inplace update to inference tensor outside InferenceMode is not allowed.You can make "
            "a clone to get a normal tensor before doing inplace update.See "
            "https://github.com/pytorch/rfcs/pull/17 for more details.",
        )
    return mode > 0
"""
