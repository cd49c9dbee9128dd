"""Words: kernels that do not depend on each other, shared out among threads as wholes."""

TASKS = """
# The description, in words. Then for each task the words below.
K_MOST = 0           # the largest number of pointers of a task
K_HEAD = 1
K_KERNEL = 0
K_DIMS = 1           # offset in bytes, as is the next
K_PLACES = 2         # rows of two words: pointer, bytes added
K_COUNT = 3
K_TOTAL = 4
K_WORDS = 5

def run_tasks(data: ptr, dims: ptr, scalars: ptr, low: i64, high: i64) -> i64:
    given = stack(dims[K_MOST])
    task = dims + (K_HEAD + K_WORDS * low) * 8
    while low < high:
        place = dims + task[K_PLACES]
        count = task[K_COUNT]
        for k in range(count):
            given[k] = data[place[0]] + place[1]
            place += 16
        code = invoke(task[K_KERNEL], given, dims + task[K_DIMS], scalars, 0, task[K_TOTAL])
        if unlikely(code):
            return code
        task += K_WORDS * 8
        low += 1
    return 0
"""
