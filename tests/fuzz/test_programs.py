"""Random programs: compiled ones equal eager ones bit for bit, and each instruction of them does
what the interpreter of the loop IR says.
"""

import ctypes
import functools
import os

import numpy
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from programs import programs

import flambeau as torch
from flambeau import runtime
from flambeau._base import knobs
from flambeau.graph.execute import Executable
from flambeau.graph.program import Buffer, Host, Loop, Loops, Program

PROGRAMS = int(os.environ.get("FLAMBEAU_FUZZ_PROGRAMS", "300"))
NIGHTLY = PROGRAMS > 300  # then every run has programs of its own


@given(programs(), st.integers(0, 1000))
@settings(
    max_examples=PROGRAMS, deadline=None, derandomize=not NIGHTLY, print_blob=True,
    suppress_health_check=[c for c in HealthCheck if c is not HealthCheck.filter_too_much],
)  # fmt: skip
def test_compiled_programs_equal_eager_ones(program, seed):
    (eager, call), (function, again) = program.functions(), program.functions()
    compiled = torch.compile(function)
    # The second call is captured; where that fails, parts are from the fourth call on.
    calls = (0, 0, 1, 1, 0, 1) if program.grows else (0,) * (5 if program.turns else 3)
    for k, larger in enumerate(calls):
        ours, theirs = (program.inputs(seed + k, bool(larger)) for _ in range(2))
        torch.manual_seed(seed)
        try:
            expected = call(eager, theirs)
        except RuntimeError:  # what a gradient needs was written over
            with pytest.raises(RuntimeError):
                again(compiled, ours)
            return
        following = torch.rand(1).item()
        torch.manual_seed(seed)
        got = again(compiled, ours)
        assert torch.rand(1).item() == following
        assert sharing(*expected, *theirs) == sharing(*got, *ours)
        agree = functools.partial(close, step=1e-4) if program.parted else same
        for a, b in zip((*expected, *theirs), (*got, *ours), strict=True):
            assert a.dtype is b.dtype and a.shape == b.shape and a.stride() == b.stride()
            assert a.storage_offset() == b.storage_offset()
            agree(array(a), array(b))
    for entry in compiled._entries.values():
        for variant in entry.variants:
            for executable in variant.executables:
                by_steps(executable, program.arguments(seed, program.grows))
    # Where most programs were not compiled, the health check `filter_too_much` fails.
    assume(any(variants_of(compiled)))


def variants_of(compiled):
    """The programs of a compiled function, and of the parts that it was cut into."""
    for entry in compiled._entries.values():
        yield from entry.variants
    for part in (*compiled._parts, *compiled._units.values()):
        yield from variants_of(part)


def sharing(*tensors):
    """For each tensor that has elements the first one that lies in the same memory."""
    places = [t.untyped_storage().data_ptr() for t in tensors if t.numel()]
    return [places.index(place) for place in places]


def array(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def same(a, b):
    numpy.testing.assert_array_equal(a, b)


def room(tensor):
    """The bytes from the tensor's first element to the end of its memory."""
    return tensor._storage.nbytes - tensor._offset * tensor.layout.itemsize


class Memory:
    """A program whose buffers all have memory of this object's own."""

    def __init__(self, executable, tensors):
        program, self.homes = executable.program, {}
        self.fixed, self.numbers = executable._fixed, program.numbers
        for b in program.buffers():
            made = Buffer(b.number, b.nbytes)
            holder = b.holder
            if b.argument is not None:  # parameters and their gradients are other tensors
                holder = next((t for t in tensors[b.argument : b.argument + 1]), None)
            if holder is None or room(holder) < b.nbytes:
                # An operand may begin before the tensor that its buffer is known by.
                made.holder = torch.zeros(2 * b.nbytes + 1, dtype=torch.uint8)[b.nbytes :]
            else:
                memory = runtime.empty(holder._storage.nbytes)
                ctypes.memmove(memory.ptr, holder._storage.ptr, holder._storage.nbytes)
                made.holder = runtime.wrap(memory, holder.layout, holder._offset)
            self.homes[b] = made
        self.instructions = [
            i.replaced([o._replace(buffer=self.homes[o.buffer]) for o in i.operands])
            for i in program.instructions
        ]

    def run(self, k):
        """Does instruction `k`."""
        one = Program([self.instructions[k]], [], self.numbers)
        Executable(one, self.fixed).run((), [0.5] * (self.numbers - len(self.fixed)))

    def seen(self, operands):
        """The arrays that operands of this object's instructions are."""
        for o in operands:
            home = o.buffer.holder
            start = home._offset * home.layout.itemsize + o.start
            yield array(runtime.wrap(home._storage, o.layout, start // o.layout.itemsize))

    def take(self, other):
        """The other's content."""
        for b, home in self.homes.items():
            theirs = other.homes[b].holder._storage
            ctypes.memmove(home.holder._storage.ptr, theirs.ptr, theirs.nbytes)


def by_steps(executable, tensors):
    """Each instruction in turn, compiled and interpreted, from the same memory."""
    compiled, interpreted = Memory(executable, tensors), Memory(executable, tensors)
    for k, (one, other) in enumerate(
        zip(compiled.instructions, interpreted.instructions, strict=True)
    ):
        known = not isinstance(one, Host) and all(o.layout for o in (*one.reads, *one.writes))
        read = max(map(largest, compiled.seen(one.reads)), default=0.0) if known else 0.0
        compiled.run(k)
        if known:
            with knobs.override(backend="interpret"):
                interpreted.run(k)
            for a, b in zip(compiled.seen(one.writes), interpreted.seen(other.writes), strict=True):
                close(a, b, read=read) if sums(one) else same(a, b)
        interpreted.take(compiled)


def sums(instruction):
    """Whether the order of additions, which is not specified, makes a difference."""
    loops = instruction.loops if isinstance(instruction, Loops) else (instruction,)
    return not all(isinstance(i, Loop) and i.kernel.kind == "pointwise" for i in loops)


def close(a, b, step=0.0, read=0.0):
    """Whether arrays are equal up to rounding, also where what was left of numbers as large as
    `read` is small.
    """
    if a.dtype.kind == "c":
        return close(*(numpy.stack((x.real, x.imag)) for x in (a, b)), step, read)
    if a.dtype.kind != "f":
        return same(a, b)
    step = max(step, {2: 2e-2, 4: 1e-4, 8: 1e-11}[a.dtype.itemsize])
    least = max(step * largest(a), 16 * float(numpy.finfo(a.dtype).eps) * read, 2.0**-50)
    numpy.testing.assert_allclose(a.astype(float), b.astype(float), step, least)


def largest(a):
    """The largest magnitude among the finite elements."""
    finite = abs(a[numpy.isfinite(a)].astype(complex))
    return float(finite.max()) if finite.size else 0.0
