"""Words: the caching allocator and the type `Storage`, run under the interpreter's lock."""

ALLOCATOR = """
# A Storage, in words: reference count, type, then
S_PTR = 2
S_NBYTES = 3
S_VERSION = 4
S_OWNER = 5          # an object, or 0
S_BLOCK = 6          # 1 if the block is the allocator's
S_WEAK = 7           # list of weak references
S_SERIAL = 8         # how many storages were made before
S_WORDS = 9
UNVERSIONED = -1 << 63 # the version of storages made in inference mode

CLASSES = 192
HUGE = 1 << 21       # blocks from this size on are made of huge pages, where the system has them
HUGE_PAGE = 1 << 21
MADV_HUGEPAGE = 14
SPARE_LIMIT = 1024

free_lists: words[CLASSES]
bytes_allocated: word = 0     # in use, as asked for
bytes_peak: word = 0
bytes_reserved: word = 0      # taken from the system
bytes_cached: word = 0        # of these, on the free lists
cache_limit: word = 1 << 62
reserve_limit: word = 1 << 62 # from here on, the cache is emptied before more is taken
allocations: word = 0
frees: word = 0
spare_storages: word = 0      # dead Storage objects, linked through S_PTR
spare_count: word = 0
storage_type: word = 0
storages: word = 0            # made so far

log_on: word = 0
log_data: word = 0
log_count: word = 0
log_room: word = 0

def posix_memalign(place: ptr, alignment: i64, size: i64) -> i32: ...
def free(block: ptr) -> None: ...
def realloc(block: ptr, size: i64) -> ptr: ...
def madvise(start: ptr, size: i64, advice: i32) -> i32: ...

# Size classes: multiples of 64 up to 512 bytes, from there four steps to each doubling.
def size_class(nbytes):
    if nbytes <= 512:
        return (nbytes + 63) >> 6
    power = 63 - leading_zeros(nbytes - 1)
    return 9 + ((power - 9) << 2) + (((nbytes - 1) >> (power - 2)) & 3)

def class_bytes(index):
    if index <= 8:
        return index << 6
    return (((index - 9) & 3) + 5) << (((index - 9) >> 2) + 7)

@cold
def drop_cache():
    for index in range(CLASSES):
        block = free_lists[index]
        free_lists[index] = 0
        while block:
            following = block[0]
            free(block)
            bytes_reserved -= class_bytes(index)
            block = following
    bytes_cached = 0

@cold
def system_block(size):
    place = stack(1)
    alignment = 64
    if size >= HUGE:
        alignment = HUGE_PAGE
    if bytes_reserved + size > reserve_limit:
        drop_cache()
    if posix_memalign(place, alignment, size) != 0:
        drop_cache()
        if posix_memalign(place, alignment, size) != 0:
            return 0
    if size >= HUGE:
        madvise(place[0], size, MADV_HUGEPAGE)
    bytes_reserved += size
    return place[0]

@cold
def no_memory(nbytes):
    PyErr_Format(
        pointee(address(PyExc_RuntimeError)),
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate %lld bytes. "
        "Error code 12 (Cannot allocate memory)",
        nbytes,
    )
    return 0

@cold
def log_event(nbytes, block):
    if log_count == log_room:
        room = log_room * 2 + 1024
        data = realloc(log_data, room * 16)
        if data == 0:
            return 0
        log_data = data
        log_room = room
    row = log_data + log_count * 16
    row[0] = nbytes
    row[1] = block
    log_count += 1

# A block of at least `nbytes` > 0 bytes; 0, and an exception, where there is no memory.
def take_block(nbytes):
    if unlikely(nbytes > 1 << 46):
        return no_memory(nbytes)
    index = size_class(nbytes)
    block = free_lists[index]
    if block:
        free_lists[index] = block[0]
        bytes_cached -= class_bytes(index)
    else:
        block = system_block(class_bytes(index))
        if block == 0:
            return no_memory(nbytes)
    allocations += 1
    bytes_allocated += nbytes
    if bytes_allocated > bytes_peak:
        bytes_peak = bytes_allocated
    if unlikely(log_on):
        log_event(nbytes, block)
    return block

@cold
def return_block(block, size):
    free(block)
    bytes_reserved -= size

def give_block(block, nbytes):
    frees += 1
    bytes_allocated -= nbytes
    if unlikely(log_on):
        log_event(-nbytes, block)
    index = size_class(nbytes)
    size = class_bytes(index)
    if unlikely(bytes_cached + size > cache_limit):
        if size > cache_limit:
            return return_block(block, size)
        # What waits may be of sizes that nobody asks for any more.
        drop_cache()
    block[0] = free_lists[index]
    free_lists[index] = block
    bytes_cached += size

# The version of a new storage; 1 with an exception.
@cold
def first_version():
    mode = inference_mode()
    if mode < 0:
        return 1
    return mode * UNVERSIONED

# A Storage around memory; takes over the reference to `owner`.
def new_storage(memory, nbytes, owner, ours):
    version = 0
    if unlikely(inference_switch[W_COUNT]):
        version = first_version()
        if version == 1:
            return 0
    self = spare_storages
    if self:
        spare_storages = self[S_PTR]
        spare_count -= 1
    else:
        self = PyObject_Malloc(S_WORDS * 8)
        if self == 0:
            return PyErr_NoMemory()
    PyObject_Init(self, storage_type)
    self[S_PTR] = memory
    self[S_NBYTES] = nbytes
    self[S_VERSION] = version
    self[S_OWNER] = owner
    self[S_BLOCK] = ours
    self[S_WEAK] = 0
    self[S_SERIAL] = storages
    storages += 1
    return self

# A Storage of fresh memory.
def fresh_storage(nbytes):
    block = 0
    if nbytes > 0:
        block = take_block(nbytes)
        if block == 0:
            return 0
    self = new_storage(block, nbytes, 0, block != 0)
    if self == 0 and block != 0:
        give_block(block, nbytes)
    return self

def storage_dealloc(self: ptr) -> None:
    if unlikely(self[S_WEAK]):
        PyObject_ClearWeakRefs(self)
    type = self[1]
    if self[S_BLOCK]:
        give_block(self[S_PTR], self[S_NBYTES])
    owner = self[S_OWNER]
    if spare_count < SPARE_LIMIT:
        self[S_PTR] = spare_storages
        spare_storages = self
        spare_count += 1
    else:
        PyObject_Free(self)
    decref(type)
    if owner:
        decref(owner)

def storage_buffer(self: ptr, view: ptr, flags: i32) -> i32:
    return PyBuffer_FillInfo(view, self, self[S_PTR], self[S_NBYTES], 0, flags)

def storage_repr(self: ptr) -> ptr:
    return PyUnicode_FromFormat("<Storage of %lld bytes at %p>", self[S_NBYTES], self[S_PTR])

T_LONGLONG = 17
T_OBJECT = 6
T_PYSSIZET = 19
READONLY = 1

storage_members: table = [
    ("ptr", T_LONGLONG, 8 * S_PTR, READONLY, "Address of the memory."),
    ("nbytes", T_LONGLONG, 8 * S_NBYTES, READONLY, "Bytes of the memory."),
    ("version", T_LONGLONG, 8 * S_VERSION, 0, "How often written in place; below 0: uncounted."),
    ("owner", T_OBJECT, 8 * S_OWNER, READONLY, "What keeps foreign memory alive, or None."),
    ("serial", T_LONGLONG, 8 * S_SERIAL, READONLY, "How many storages were made before it."),
    ("__weaklistoffset__", T_PYSSIZET, 8 * S_WEAK, READONLY, 0),
    (0, 0, 0, 0, 0),
]
# Numbers of slots: CPython's typeslots.h, part of its stable ABI.
storage_slots: table = [
    (1, storage_buffer),
    (52, storage_dealloc),
    (56, "A block of memory that tensors share."),
    (66, storage_repr),
    (72, storage_members),
    (0, 0),
]
# No instances from Python (bit 7), immutable (bit 8).
storage_spec: table = [
    ("flambeau.runtime.Storage", 8 * S_WORDS, (1 << 7) | (1 << 8), storage_slots),
]

def py_empty(module: ptr, size: ptr) -> ptr:
    nbytes = PyLong_AsLongLong(size)
    if nbytes < 0:
        if PyErr_Occurred():
            return 0
        return error(address(PyExc_RuntimeError), "a storage cannot have a negative size")
    return fresh_storage(nbytes)

def py_foreign(module: ptr, arguments: ptr, count: i64) -> ptr:
    if count != 3:
        return error(address(PyExc_TypeError), "foreign(ptr, nbytes, owner) takes three arguments")
    memory = PyLong_AsLongLong(arguments[0])
    nbytes = PyLong_AsLongLong(arguments[1])
    if PyErr_Occurred():
        return 0
    if nbytes < 0:
        return error(address(PyExc_ValueError), "a storage cannot have a negative size")
    owner = arguments[2]
    incref(owner)
    self = new_storage(memory, nbytes, owner, 0)
    if self == 0:
        decref(owner)
    return self

# Swaps the memory of two storages, with what keeps it alive.
def py_exchange(module: ptr, arguments: ptr, count: i64) -> ptr:
    if count != 2 or not is_storage(arguments[0]) or not is_storage(arguments[1]):
        return error(address(PyExc_TypeError), "exchange takes two Storages")
    a = arguments[0]
    b = arguments[1]
    for i in range(S_PTR, S_BLOCK + 1):
        if i != S_VERSION:
            word = a[i]
            a[i] = b[i]
            b[i] = word
    return new_none()

def py_memory(module: ptr, unused: ptr) -> ptr:
    values = PyTuple_New(6)
    if values == 0:
        return 0
    items = values + TUPLE_ITEMS * 8
    items[0] = PyLong_FromLongLong(bytes_allocated)
    items[1] = PyLong_FromLongLong(bytes_peak)
    items[2] = PyLong_FromLongLong(bytes_reserved)
    items[3] = PyLong_FromLongLong(bytes_cached)
    items[4] = PyLong_FromLongLong(allocations)
    items[5] = PyLong_FromLongLong(frees)
    return values

def py_reset_peak(module: ptr, unused: ptr) -> ptr:
    bytes_peak = bytes_allocated
    return new_none()

def py_empty_cache(module: ptr, unused: ptr) -> ptr:
    drop_cache()
    return new_none()

def py_set_cache_limit(module: ptr, limit: ptr) -> ptr:
    value = PyLong_AsLongLong(limit)
    if value == -1 and PyErr_Occurred():
        return 0
    cache_limit = value
    reserve_limit = value + (value >> 1)
    if bytes_cached > value:
        drop_cache()
    return new_none()

def py_log_events(module: ptr, on: ptr) -> ptr:
    truth = PyObject_IsTrue(on)
    if truth < 0:
        return 0
    log_on = truth
    return new_none()

def py_take_events(module: ptr, unused: ptr) -> ptr:
    events = PyBytes_FromStringAndSize(log_data, log_count * 16)
    if events:
        log_count = 0
    return events
"""
