"""Words: the launcher, the built-in function that an op's plan is.

Its `self` is a tuple whose first item is a bytes object, the descriptor; the other items keep alive
what the descriptor points to. The descriptor is a row of words (`L_…`) and tables at the byte
offsets that it gives.
"""

# Words of a descriptor's head; its maker in core.py uses the same names.
HEAD = (
    "ARGUMENTS",  # how many
    "OUTPUTS",  # how many, scratch blocks among them
    "RESULTS",  # how many outputs become tensors
    "STAGES",  # how many
    "RELEASE",  # 1: without the interpreter's lock; 2: kernels are in Python
    "RECORD",  # an object, or 0
    "RECORDING",  # where the node is described (record.py), or 0
    "FAIL",  # an object, or 0
    "WRITTEN",  # position of the first argument that is written, or -1
    "SCALARS",  # how many words of scalars
    "DATA",  # the largest number of data pointers of a stage
    "ARGUMENT_TABLE",  # rows of two words: kind, bytes of an element
    "OUTPUT_TABLE",  # rows of two words: layout or 0, bytes
    "STAGE_TABLE",  # rows of six words: kernel, dims, total, grain, count of data, and where rows
    # of two words lie: number of the pointer, bytes added to it
)
KINDS = "tmodic-"

_CONSTANTS = "\n".join(f"L_{name} = {index}" for index, name in enumerate(HEAD))

LAUNCH = (
    _CONSTANTS
    + """
K_WRITTEN = 1
K_OPTIONAL = 2
K_DOUBLE = 3
K_INTEGER = 4
K_COMPLEX = 5
K_IGNORED = 6
STAGE_BYTES = 48
SIGINT = 2
main_thread: word = 0                          # Python's, as the system names it
interrupted: word = 0                          # 1: SIGINT came while kernels in Python ran
watcher: word = 0                              # a callable that hears of all launches, or 0
MINUS_ONE = 0xBFF0000000000000 - (1 << 64)      # the double -1

@cold
def wrong_count(d, count):
    kind = pointee(address(PyExc_TypeError))
    PyErr_Format(kind, "expected %lld arguments, got %lld", d[L_ARGUMENTS], count)
    return 0

@cold
def is_absent(kind, object):
    return kind == K_OPTIONAL and object == none()

# The address of a tensor's first element in place[0]; 1, or 0 with an exception.
def locate(object, position, itemsize, place):
    if unlikely(not is_tensor(object)):
        return not_tensor(position, object)
    storage = slot(object, T_STORAGE)
    if unlikely(not is_storage(storage)):
        return no_storage(position)
    offset = slot(object, T_OFFSET)
    if offset == zero:
        place[0] = storage[S_PTR]
        return 1
    if unlikely(offset == 0):
        return no_storage(position)
    number = PyLong_AsLongLong(offset)
    if unlikely(number == -1) and PyErr_Occurred():
        return 0
    place[0] = storage[S_PTR] + number * itemsize
    return 1

# A number's words at place; 1, or 0 with an exception.
def place_number(kind, object, place):
    if kind == K_DOUBLE:
        if object[1] == address(PyFloat_Type):
            place[0] = object[2]
            return 1
        place[0] = PyFloat_AsDouble(object)
        return place[0] != MINUS_ONE or PyErr_Occurred() == 0
    if kind == K_INTEGER:
        overflow = stack(1)
        overflow[0] = 0
        place[0] = PyLong_AsLongLongAndOverflow(object, overflow)
        if unlikely(overflow[0] != 0):
            return error(
                address(PyExc_RuntimeError),
                "value cannot be converted to type int64_t without overflow",
            )
        return place[0] != -1 or PyErr_Occurred() == 0
    place[0] = PyComplex_RealAsDouble(object)
    if place[0] == MINUS_ONE and PyErr_Occurred():
        return 0
    place[1] = PyComplex_ImagAsDouble(object)
    return place[1] != MINUS_ONE or PyErr_Occurred() == 0

# Fills the pointers and scalars of all arguments: 0, 1 if a tensor has a node, -1 with an error.
def gather(d, arguments, pointers, scalars):
    count = d[L_ARGUMENTS]
    row = d + d[L_ARGUMENT_TABLE]
    graph = 0
    for i in range(count):
        kind = row[0]
        object = arguments[i]
        if kind <= K_OPTIONAL:
            if is_absent(kind, object):
                pointers[i] = 0
            else:
                if unlikely(not locate(object, i, row[1], pointers + i * 8)):
                    return -1
                if has_node(object):
                    graph = 1
        elif kind != K_IGNORED:
            if unlikely(not place_number(kind, object, scalars)):
                return -1
            scalars += 8
            if kind == K_COMPLEX:
                scalars += 8
        row += 16
    return graph

# Gives back the first `count` outputs, and what they hold.
@cold
def drop_outputs(d, blocks, count):
    row = d + d[L_OUTPUT_TABLE]
    for i in range(count):
        drop_output(row, blocks[i])
        row += 16

def drop_output(row, block):
    if row[0]:
        decref(block)
    elif block:
        give_block(block, row[1])

# Storages (or bare blocks, for scratch) of all outputs; 1, or 0 with an exception.
def make_outputs(d, blocks, pointers):
    row = d + d[L_OUTPUT_TABLE]
    count = d[L_OUTPUTS]
    for i in range(count):
        if row[0]:
            made = fresh_storage(row[1])
            if made == 0:
                drop_outputs(d, blocks, i)
                return 0
            blocks[i] = made
            pointers[i] = made[S_PTR]
        else:
            blocks[i] = 0
            if row[1] > 0:
                blocks[i] = take_block(row[1])
                if blocks[i] == 0:
                    drop_outputs(d, blocks, i)
                    return 0
            pointers[i] = blocks[i]
        row += 16
    return 1

def run_stages(d, pointers, scalars, data):
    stage = d + d[L_STAGE_TABLE]
    count = d[L_STAGES]
    for s in range(count):
        if stage[2] > 0:
            place = d + stage[5]
            used = stage[4]
            for k in range(used):
                data[k] = pointers[place[0]] + place[1]
                place += 16
            code = parallel_for(stage[0], data, d + stage[1], scalars, stage[2], stage[3])
            if unlikely(code):
                return code
        stage += STAGE_BYTES
    return 0

# The same without the interpreter's lock. Meanwhile other threads may give a tensor another
# storage: hold the present one.
@cold
def run_released(d, arguments, pointers, scalars, data):
    count = d[L_ARGUMENTS]
    held = stack(count)
    row = d + d[L_ARGUMENT_TABLE]
    for i in range(count):
        held[i] = 0
        if row[0] <= K_OPTIONAL and pointers[i] != 0:
            held[i] = slot(arguments[i], T_STORAGE)
            incref(held[i])
        row += 16
    state = PyEval_SaveThread()
    code = run_stages(d, pointers, scalars, data)
    PyEval_RestoreThread(state)
    for i in range(count):
        if held[i]:
            decref(held[i])
    return code

def note_interrupt(number: i32):
    interrupted = 1

# The same for kernels in Python. Between any two of their instructions Python would raise a
# KeyboardInterrupt in its main thread, which cannot pass through native code: it comes before them
# or behind them.
@cold
def run_python(d, arguments, pointers, scalars, data):
    if pthread_self() != main_thread:
        return run_released(d, arguments, pointers, scalars, data)
    before = PyOS_setsig(SIGINT, note_interrupt)
    code = -1
    if PyErr_CheckSignals() == 0:
        code = run_released(d, arguments, pointers, scalars, data)
    PyOS_setsig(SIGINT, before)
    if interrupted:
        interrupted = 0
        PyErr_SetInterrupt()
    return code

def py_set_main_thread(module: ptr, number: ptr) -> ptr:
    main_thread = PyLong_AsLongLong(number)
    return new_none()

# Before arguments are written, with 1: 1, or 0 with an exception. With -1 where a check failed and
# nothing was written.
@cold
def mark_written(d, arguments, step):
    count = d[L_ARGUMENTS]
    row = d + d[L_ARGUMENT_TABLE]
    for i in range(count):
        if row[0] == K_WRITTEN:
            storage = slot(arguments[i], T_STORAGE)
            if is_storage(storage):
                if storage[S_VERSION] >= 0:
                    storage[S_VERSION] += step
                elif not may_write_unversioned():
                    return 0
        row += 16
    return 1

# The tensor of an output; takes over `storage`.
def tensor_of(layout, storage):
    incref(layout)
    incref(zero)
    share_none(1)
    return new_tensor(storage, layout, zero, none())

# Several results, or none.
@cold
def other_results(d, arguments, blocks):
    if d[L_RESULTS] == 0:
        drop_outputs(d, blocks, d[L_OUTPUTS])
        if d[L_WRITTEN] < 0:
            return new_none()
        written = arguments[d[L_WRITTEN]]
        incref(written)
        return written
    row = d + d[L_OUTPUT_TABLE]
    result = PyTuple_New(d[L_RESULTS])
    position = TUPLE_ITEMS
    count = d[L_OUTPUTS]
    for i in range(count):
        if row[0] == 0 or result == 0:
            drop_output(row, blocks[i])
        else:
            made = tensor_of(row[0], blocks[i])
            if made:
                result[position] = made
                position += 1
            else:
                decref(result)
                result = 0
        row += 16
    return result

def results(d, arguments, blocks):
    if d[L_RESULTS] == 1 and d[L_OUTPUTS] == 1:
        row = d + d[L_OUTPUT_TABLE]
        return tensor_of(row[0], blocks[0])
    if d[L_RESULTS] == 1:
        return only_result(d, blocks)
    return other_results(d, arguments, blocks)

# One result beside scratch blocks.
def only_result(d, blocks):
    row = d + d[L_OUTPUT_TABLE]
    result = 0
    count = d[L_OUTPUTS]
    for i in range(count):
        if row[0]:
            result = tensor_of(row[0], blocks[i])
        elif blocks[i]:
            give_block(blocks[i], row[1])
        row += 16
    return result

# callable(first, *arguments): 1, or 0 with an exception.
def call_with(callable, first, arguments, count):
    given = stack(count + 1)
    given[0] = first
    for i in range(count):
        given[i + 1] = arguments[i]
    answer = PyObject_Vectorcall(callable, given, count + 1, 0)
    if answer == 0:
        return 0
    decref(answer)
    return 1

@cold
def report_failure(d, arguments, code):
    if PyErr_Occurred():
        return 0
    if d[L_FAIL]:
        number = PyLong_FromLongLong(code)
        if number == 0:
            return 0
        fine = call_with(d[L_FAIL], number, arguments, d[L_ARGUMENTS])
        decref(number)
        if not fine:
            return 0
    PyErr_Format(pointee(address(PyExc_RuntimeError)), "a kernel failed with code %lld", code)
    return 0

def record(d, result, arguments):
    if d[L_RECORDING] and N_SAVED:
        if PyList_Size(watchers) == 0:
            if make_node(d + d[L_RECORDING], result, arguments):
                return 1
            if PyErr_Occurred():
                return 0
    return call_with(d[L_RECORD], result, arguments, d[L_ARGUMENTS])

def recorded(d, result, arguments):
    mode = grad_mode()
    if mode == 0:
        return result
    if mode < 0 or not record(d, result, arguments):
        decref(result)
        return 0
    return result

# Tells the watcher: callable(self, result, *arguments).
@cold
def watched(self, result, arguments, count):
    given = stack(count + 2)
    given[0] = self
    given[1] = result
    for i in range(count):
        given[i + 2] = arguments[i]
    answer = PyObject_Vectorcall(watcher, given, count + 2, 0)
    if answer == 0:
        decref(result)
        return 0
    decref(answer)
    return result

# Sets the watcher, or none with None; the one before is given back.
def py_watch(module: ptr, callable: ptr) -> ptr:
    before = watcher
    watcher = 0
    if callable != none():
        incref(callable)
        watcher = callable
    if before == 0:
        return new_none()
    return before

def launch(self: ptr, arguments: ptr, count: i64) -> ptr:
    d = self[TUPLE_ITEMS] + BYTES_DATA
    if unlikely(count != d[L_ARGUMENTS]):
        return wrong_count(d, count)
    outputs = d[L_OUTPUTS]
    pointers = stack(count + outputs + outputs + d[L_SCALARS] + d[L_DATA])
    blocks = pointers + (count + outputs) * 8
    scalars = blocks + outputs * 8
    data = scalars + d[L_SCALARS] * 8
    graph = gather(d, arguments, pointers, scalars)
    if unlikely(graph < 0):
        return 0
    if d[L_WRITTEN] >= 0 and not mark_written(d, arguments, 1):
        return 0
    if unlikely(not make_outputs(d, blocks, pointers + count * 8)):
        return 0
    if d[L_RELEASE] == 2:
        code = run_python(d, arguments, pointers, scalars, data)
    elif d[L_RELEASE]:
        code = run_released(d, arguments, pointers, scalars, data)
    else:
        code = run_stages(d, pointers, scalars, data)
    if unlikely(code):
        drop_outputs(d, blocks, outputs)
        if d[L_WRITTEN] >= 0 and not mark_written(d, arguments, -1):
            return 0
        return report_failure(d, arguments, code)
    result = results(d, arguments, blocks)
    if unlikely(watcher) and result:
        result = watched(self, result, arguments, count)
    if graph and d[L_RECORD] and result:
        return recorded(d, result, arguments)
    return result

launch_method: table = [("launch", launch, METH_FASTCALL, 0)]

def py_make_launcher(module: ptr, kept: ptr) -> ptr:
    return PyCFunction_NewEx(launch_method, kept, 0)

methods: table = [
    ("empty", py_empty, METH_O, 0),
    ("foreign", py_foreign, METH_FASTCALL, 0),
    ("exchange", py_exchange, METH_FASTCALL, 0),
    ("memory", py_memory, METH_NOARGS, 0),
    ("reset_peak", py_reset_peak, METH_NOARGS, 0),
    ("empty_cache", py_empty_cache, METH_NOARGS, 0),
    ("set_cache_limit", py_set_cache_limit, METH_O, 0),
    ("log_events", py_log_events, METH_O, 0),
    ("take_events", py_take_events, METH_NOARGS, 0),
    ("configure", py_configure, METH_FASTCALL, 0),
    ("wrap", py_wrap, METH_FASTCALL, 0),
    ("alias", py_alias, METH_FASTCALL, 0),
    ("needs_grad", py_needs_grad, METH_FASTCALL, 0),
    ("shift_grad", py_shift_grad, METH_O, 0),
    ("shift_inference", py_shift_inference, METH_O, 0),
    ("configure_backward", py_configure_backward, METH_FASTCALL, 0),
    ("configure_nodes", py_configure_nodes, METH_FASTCALL, 0),
    ("next_order", py_next_order, METH_NOARGS, 0),
    ("chain", py_chain, METH_FASTCALL, 0),
    ("set_num_threads", py_set_num_threads, METH_O, 0),
    ("get_num_threads", py_get_num_threads, METH_NOARGS, 0),
    ("set_main_thread", py_set_main_thread, METH_O, 0),
    ("forget_workers", py_forget_workers, METH_NOARGS, 0),
    ("make_launcher", py_make_launcher, METH_O, 0),
    ("watch", py_watch, METH_O, 0),
    ("unchanged", py_unchanged, METH_O, 0),
    ("snapshot", py_snapshot, METH_O, 0),
    ("given", py_given, METH_FASTCALL, 0),
    ("contents", py_contents, METH_O, 0),
    ("restore", py_restore, METH_FASTCALL, 0),
    ("put", py_put, METH_FASTCALL, 0),
    (0, 0, 0, 0),
]

# A module object with the built-ins and the type Storage.
def initialize() -> ptr:
    storage_type = PyType_FromSpec(storage_spec)
    zero = PyLong_FromLongLong(0)
    module = PyModule_New("flambeau.runtime.native")
    if storage_type == 0 or zero == 0 or module == 0:
        return 0
    failed = PyModule_AddFunctions(module, methods)
    if failed == 0:
        failed = PyModule_AddObjectRef(module, "Storage", storage_type)
    if failed:
        decref(module)
        return 0
    return module
"""
)
