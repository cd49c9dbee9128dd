"""Words: the thread pool.

A job is a kernel and a range [0, total). The caller opens the job, wakes whom it needs, and works;
every thread takes the next piece of the range until none is left. So a worker that wakes late costs
nothing: its pieces are done by then. The caller then closes the job and waits for those still
inside their last piece. One job runs at a time; who finds the pool taken (another Python thread, or
a kernel inside a kernel) runs the whole range alone, so nobody ever waits for the pool.
"""

import sys

_LINUX = sys.platform.startswith("linux")

POOL = (
    f"""
SIG_BLOCK = {0 if _LINUX else 1}
SIG_SETMASK = {2 if _LINUX else 3}
MOST_WORKERS = 255
SPINS = 2000         # looks at the job before a worker falls asleep
WAITS = 4000         # looks at the other threads before the caller yields its core
PIECES = 4           # pieces for each thread

# A worker's block: mutex, condition (generous: their sizes differ between systems), then
W_CONDITION = 128
W_SLEEPING = 256
W_BYTES = 512

pool_threads: word = 1       # threads for a job, its caller among them
pool_workers: word = 0       # threads started
pool_states: word = 0        # the workers' blocks
pool_taken: words[8]
job_open: words[8]           # number of the running job, 0 between jobs
job_next: words[8]           # start of the next piece
job_inside: words[8]         # workers that may be looking at the job
job_number: word = 0
job_helpers: word = 0        # workers with a smaller index take part
job_kernel: word = 0
job_data: word = 0
job_dims: word = 0
job_scalars: word = 0
job_total: word = 0
job_piece: word = 0
job_code: word = 0

def calloc(count: i64, size: i64) -> ptr: ...
def sched_yield() -> i32: ...
def pthread_create(thread: ptr, attributes: ptr, start: ptr, argument: ptr) -> i32: ...
def pthread_detach(thread: i64) -> i32: ...
def pthread_sigmask(how: i32, signals: ptr, before: ptr) -> i32: ...
def pthread_mutex_init(mutex: ptr, attributes: ptr) -> i32: ...
def pthread_mutex_lock(mutex: ptr) -> i32: ...
def pthread_mutex_unlock(mutex: ptr) -> i32: ...
def pthread_cond_init(condition: ptr, attributes: ptr) -> i32: ...
def pthread_cond_wait(condition: ptr, mutex: ptr) -> i32: ...
def pthread_cond_signal(condition: ptr) -> i32: ...
"""
    + """
def invoke(kernel, data, dims, scalars, low, high):
    return call("i64:ptr,ptr,ptr,i64,i64", kernel, data, dims, scalars, low, high)

def take_pieces():
    total = job_total
    piece = job_piece
    while 1:
        low = atomic_add(job_next, piece)
        if low >= total:
            return 0
        high = low + piece
        if high > total:
            high = total
        code = invoke(job_kernel, job_data, job_dims, job_scalars, low, high)
        if code:
            compare_exchange(address(job_code), 0, code)

def is_job_for(index, seen):
    number = atomic_load(job_open)
    return number != 0 and number != seen and index < atomic_load(address(job_helpers))

@cold
def sleep_until_job(index, seen):
    state = pool_states + index * W_BYTES
    pthread_mutex_lock(state)
    # The caller opens the job and then looks whether we sleep; we say that we sleep and then look
    # for a job.
    atomic_store(state + W_SLEEPING, 1)
    while not is_job_for(index, seen):
        pthread_cond_wait(state + W_CONDITION, state)
    atomic_store(state + W_SLEEPING, 0)
    pthread_mutex_unlock(state)

def worker(argument: ptr) -> ptr:
    index = argument
    seen = 0
    while 1:
        spins = 0
        while not is_job_for(index, seen):
            spins += 1
            if spins < SPINS and index < atomic_load(address(pool_threads)) - 1:
                pause()
            else:
                sleep_until_job(index, seen)
        atomic_add(job_inside, 1)
        seen = atomic_load(job_open)
        if seen != 0 and index < atomic_load(address(job_helpers)):
            take_pieces()
        atomic_add(job_inside, -1)
    return 0

# Start workers up to `wanted`; the number that run.
@cold
def start_workers(wanted):
    if pool_states == 0:
        pool_states = calloc(MOST_WORKERS, W_BYTES)
        if pool_states == 0:
            return 0
    # Signals are for Python's threads.
    every = stack(16)
    before = stack(16)
    for i in range(16):
        every[i] = -1
    pthread_sigmask(SIG_BLOCK, every, before)
    thread = stack(1)
    failed = 0
    while pool_workers < wanted and failed == 0:
        state = pool_states + pool_workers * W_BYTES
        pthread_mutex_init(state, 0)
        pthread_cond_init(state + W_CONDITION, 0)
        failed = pthread_create(thread, 0, worker, pool_workers)
        if failed == 0:
            pthread_detach(thread[0])
            pool_workers += 1
    pthread_sigmask(SIG_SETMASK, before, 0)
    return pool_workers

def wake_workers(count):
    for index in range(count):
        state = pool_states + index * W_BYTES
        if atomic_load(state + W_SLEEPING):
            pthread_mutex_lock(state)
            pthread_cond_signal(state + W_CONDITION)
            pthread_mutex_unlock(state)

# Run kernel(data, dims, scalars, low, high) over ranges that partition [0, total); 0, or a code
# that a range returned.
def parallel_for(kernel, data, dims, scalars, total, grain):
    threads = pool_threads
    if threads <= 1 or total < 2 * grain or total < 2:
        return invoke(kernel, data, dims, scalars, 0, total)
    if not compare_exchange(pool_taken, 0, 1):
        return invoke(kernel, data, dims, scalars, 0, total)
    return open_job(kernel, data, dims, scalars, total, grain, threads)

def open_job(kernel, data, dims, scalars, total, grain, threads):
    helpers = threads - 1
    if pool_workers < helpers:
        running = start_workers(helpers)
        if helpers > running:
            helpers = running
    piece = (total + threads * PIECES - 1) // (threads * PIECES)
    if piece < grain:
        piece = grain
    if piece > 1024:  # starts of pieces are starts of cache lines
        piece = (piece + 63) // 64 * 64
    pieces = (total + piece - 1) // piece
    if helpers > pieces - 1:
        helpers = pieces - 1
    job_kernel = kernel
    job_data = data
    job_dims = dims
    job_scalars = scalars
    job_total = total
    job_piece = piece
    job_code = 0
    atomic_store(address(job_helpers), helpers)
    atomic_store(job_next, 0)
    job_number += 1
    atomic_store(job_open, job_number)
    wake_workers(helpers)
    take_pieces()
    atomic_store(job_open, 0)
    waits = 0
    while atomic_load(job_inside):
        waits += 1
        if waits < WAITS:
            pause()
        else:
            sched_yield()
    code = job_code
    atomic_store(pool_taken, 0)
    return code

# In the child of a fork, where only the forking thread lives on.
def py_forget_workers(module: ptr, unused: ptr) -> ptr:
    pool_workers = 0
    pool_states = 0
    pool_taken[0] = 0
    job_open[0] = 0
    job_inside[0] = 0
    return new_none()

def py_set_num_threads(module: ptr, number: ptr) -> ptr:
    threads = PyLong_AsLongLong(number)
    if threads == -1 and PyErr_Occurred():
        return 0
    if threads < 1:
        return error(address(PyExc_RuntimeError), "set_num_threads expects a positive integer")
    if threads > MOST_WORKERS + 1:
        threads = MOST_WORKERS + 1
    atomic_store(address(pool_threads), threads)
    return new_none()

def py_get_num_threads(module: ptr, unused: ptr) -> ptr:
    return PyLong_FromLongLong(pool_threads)
"""
)
