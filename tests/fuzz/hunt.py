"""Calls every registered op with junk and reports what no user should see. Run by test_junk.py.

    python tests/fuzz/hunt.py SEED ROUNDS PART PARTS

Prints one line for each finding. The call in hand is written to the file named by FLAMBEAU_HUNT, so
that after a crash the guilty one is known.
"""

import os
import random
import sys

import numpy as np

import flambeau as ft
from flambeau.ops import registry

ALLOWED = (
    TypeError,
    RuntimeError,
    ValueError,
    IndexError,
    NotImplementedError,
    OverflowError,
    MemoryError,
)
# Ops that wait, or that are free to use all memory they are asked for.
SKIPPED = frozenset(("empty", "new_empty"))
# Ops whose work a number decides: as many pieces, columns or steps as asked for.
COUNTED = frozenset(
    (
        "chunk",
        "dsplit",
        "hsplit",
        "split",
        "tensor_split",
        "vander",
        "vsplit",
        "matrix_power",
        "mvlgamma",
    )
)


# What lies around the memory that ops may touch: no result shows it, and nothing overwrites it.
MARKS = {ft.float32: float(np.float32(1.2345e33)), ft.int64: 0x5EEDFACE5EED}
FENCE = 64
# These take memory as they are told.
UNFENCED = ("as_strided", "resize", "set_", "empty", "new_empty")


def fenced(values):
    """The values between two fences."""
    n = len(values)
    memory = ft.full((n + 2 * FENCE,), MARKS[values.dtype], dtype=values.dtype)
    memory[FENCE : FENCE + n] = values
    return memory[FENCE : FENCE + n]


def tensors(chance: random.Random) -> list:
    """Tensors of all kinds, made anew for each call, with their memory."""
    base = fenced(ft.arange(24, dtype=ft.float32))
    whole = fenced(ft.arange(24))
    return [
        base.view(2, 3, 4),
        base.view(4, 6),
        base.view(4, 6).t(),
        base[1:4],
        base[::5],
        base[3],
        base[:0].view(0, 3),
        base[:1].expand(3, 2),
        base.as_strided((3, 3), (1, 1)),
        base.view(2, 3, 4).permute(2, 0, 1),
        base.double(),
        base.half(),
        base.bfloat16().view(4, 6),
        whole.view(4, 6),
        whole[:3],
        whole[0],
        whole.int()[:5],
        whole.to(ft.uint8),
        whole > 3,
        (whole > 3).view(4, 6),
        ft.tensor(True),
        base.to(ft.complex64)[:4],
        base[:4].to(ft.complex128).conj(),
        base.to(ft.complex64)[:4].conj().imag,
        ft.tensor([]),
        ft.tensor(float("nan")),
        ft.tensor([-1, 100, 2**40]),
        ft.zeros(3, 4, requires_grad=True),
        ft.zeros(3, requires_grad=True).exp(),
        base.view(1, 1, 4, 6),
        ft.zeros(2, 3, device="meta"),
        ft.zeros(0, 0),
        ft.zeros((1,) * 12),
        ft.zeros((), device="meta"),
        ft.zeros(3, device="meta", dtype=ft.int64),
        ft.zeros((), device="meta", dtype=ft.bool),
        ft.tensor(1),
        ft.tensor(0.5),
    ]


WITHOUT_MEMORY = 8  # the last tensors: those on meta, and numbers that may stand beside them


SCALARS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    2**31,
    2**62,
    2**63,
    -(2**63),
    2**70,
    0.5,
    -1.5,
    1e308,
    float("nan"),
    float("inf"),
    True,
    False,
    1 + 2j,
    None,
    "mean",
    "none",
    "junk",
    "",
    b"x",
    (),
    (1,),
    (0, 1),
    (2, 3),
    [1, -1],
    (-1,),
    (2**40, 2**40),
    (0, 0),
    (1, 2, 3),
    ((1, 2), (3,)),
    {},
    {"a": 1},
    object,
    object(),
    ft.float32,
    ft.int64,
    ft.bool,
    ft.complex64,
    "cpu",
    "meta",
    "cuda:3",
    slice(None),
    ...,
    np.float32(2),
    np.zeros(3),
    np.int64(1),
    lambda x: x,
)
# What fits an argument's type, more often than not: junk of the right type reaches deeper.
FITTING = {
    "int": (0, 1, -1, 2, 3, -4, 5, 100, -(2**63), 2**63 - 1, 2**40),
    "SymInt": (0, 1, -1, 2, 100, 2**40),
    "float": (0.0, 1.0, -0.5, 1e-300, float("nan"), float("-inf")),
    "bool": (True, False),
    "Scalar": (0, 1, -3, 2**62, 0.5, float("nan"), True, 1 + 1j),
    "str": ("mean", "sum", "none", "junk", "ij", "nearest"),
    "ScalarType": (
        ft.float32,
        ft.float64,
        ft.int64,
        ft.bool,
        ft.complex64,
        ft.float16,
        ft.uint8,
        None,
    ),
    "Device": ("cpu", "meta", None),
}


def argument(a, pool, chance: random.Random):
    """A value for one argument."""
    if chance.random() < 0.08:
        return chance.choice(SCALARS)
    if a.is_tensor:
        if a.list:
            return [chance.choice(pool) for _ in range(chance.randrange(4))]
        if a.optional and chance.random() < 0.3:
            return None
        return chance.choice(pool)
    fitting = FITTING.get(a.type)
    if fitting is None:
        return a.default if a.has_default else chance.choice(SCALARS)
    if a.has_default and chance.random() < 0.5:
        return a.default
    if a.list and chance.random() < 0.9:
        return tuple(chance.choice(fitting[:7]) for _ in range(chance.randrange(4)))
    return chance.choice(fitting)


def huge(op, arguments) -> bool:
    """Whether the numbers could ask for more work than a test has time for."""

    def sizes(value):
        if isinstance(value, list | tuple):
            for v in value:
                yield from sizes(v)
        elif isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            yield abs(value)

    limit = float("inf") if op.name in COUNTED else 2**62
    return any(1000 < n < limit for v in arguments for n in sizes(v))


def shown(value) -> str:
    """A short text for a report."""
    if isinstance(value, ft.Tensor):
        return f"{value.dtype.name}{list(value.shape)}/{value.stride()}@{value.device}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    return repr(value)[:60]


def contents(tensor) -> bytes:
    if tensor.device.type == "meta":
        return b""
    return bytes(memoryview(tensor._storage))


def state_of(pool):
    return [(t._storage.version, contents(t), t.layout) for t in pool]


def leaves(value):
    if isinstance(value, ft.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for v in value:
            yield from leaves(v)


def trespasses(pool, result):
    """What is wrong where memory was read or written that no argument covers."""
    for mark in (pool[0], pool[13]):
        value = np.array(MARKS[mark.dtype], mark.dtype.name)
        memory = np.frombuffer(contents(mark), value.dtype)
        if (memory[:FENCE] != value).any() or (memory[-FENCE:] != value).any():
            yield "WRITTEN BEHIND"
    for found in leaves(result):
        if found.device.type == "meta" or not found.numel():
            continue
        array = np.asarray(found.detach().to(ft.complex128).resolve_conj().resolve_neg().numpy())
        if any((array.real == mark).any() for mark in MARKS.values()):
            yield "READ BEHIND"


def hunt(seed: int, rounds: int, part: int, parts: int) -> int:
    chance = random.Random(seed)
    trace = open(os.environ["FLAMBEAU_HUNT"], "w") if "FLAMBEAU_HUNT" in os.environ else None
    found = set()
    names = sorted(registry)[part::parts]
    for name in names:
        if name in SKIPPED:
            continue
        for op in (op for op in registry[name] if not op.name.startswith("_")):
            for _ in range(rounds):
                one(op, chance, trace, found)
    for line in sorted(found):
        print(line)
    return len(found)


def one(op, chance, trace, found) -> None:
    """One call, and what is wrong with how it ended."""
    pool = tensors(chance)
    chosen = pool[-WITHOUT_MEMORY:] if chance.random() < 0.1 else pool
    args = [argument(a, chosen, chance) for a in op.schema.arguments]
    positional = sum(not a.keyword for a in op.schema.arguments)
    keywords = {
        a.name: v
        for a, v in zip(op.schema.arguments, args, strict=True)
        if a.keyword and v is not None
    }
    args = args[:positional]
    luck = chance.random()
    if luck < 0.03:
        args = args[:-1]
    elif luck < 0.06:
        args.append(chance.choice(SCALARS))
    elif luck < 0.08:
        keywords["nonsense"] = 1
    elif luck < 0.14:
        keywords["out"] = chance.choice([*pool, None, 3, (pool[0], pool[1])])
    function = op.inplace if op.inplace_form and chance.random() < 0.3 else op.door
    if huge(op, [*args, *keywords.values()]):
        return
    given = [*map(shown, args), *(f"{k}={shown(v)}" for k, v in keywords.items())]
    text = f"{op!r} {function.__name__}({', '.join(given)})"
    if trace:
        trace.seek(0)
        trace.truncate()
        trace.write(text)
        trace.flush()
    before = state_of(pool)
    try:
        result = function(*args, **keywords)
        if not op.name.startswith(UNFENCED):
            found.update(f"{wrong} {text}" for wrong in trespasses(pool, result))
    except ALLOWED as error:
        if state_of(pool) != before:
            found.add(f"CHANGED {text}: {type(error).__name__}: {str(error).splitlines()[:1]}")
        if type(error) not in ALLOWED and type(error).__module__ == "builtins":
            found.add(f"KIND {text}: {type(error).__name__}: {error}")
    except Exception as error:
        if isinstance(error, AssertionError) and "CUDA" in str(error):  # as PyTorch's
            return
        place = error.__traceback__
        while place.tb_next:
            place = place.tb_next
        where = f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}"
        found.add(f"KIND {type(error).__name__} at {where} {text}: {error}")


if __name__ == "__main__":
    sys.exit(1 if hunt(*map(int, sys.argv[1:5])) else 0)
