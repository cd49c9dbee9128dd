"""The indexed family: elements are read or written at places that index tensors name.

A declaration says where each operand lies for each point of the result, or of what is written. The
family supplies the check of the indices, before anything of the caller's is written, and in-place
forms. Contributions to one element are combined in the order of the indices, whatever the number of
threads.
"""

from typing import NamedTuple

from flambeau import ir
from flambeau.types import PYTHON_TYPES, Layout, meta

from ..facts import tell
from ..op import is_tensor
from .chain import Buffer, Chain, Steps, viewed
from .launch import Slots
from .pointwise import check_target


class At(NamedTuple):
    """`by` names, along a dimension of `size` elements that lie `step` bytes apart, which
    element of `buffers` is meant. Negative numbers count from the end where it `wraps`.
    """

    by: Buffer
    buffers: tuple[Buffer, ...]
    step: int
    size: int
    wraps: bool = False


def along(buffer: Buffer, dim: int, shape, index: Buffer) -> tuple[Buffer, At]:
    """The buffer at points of `shape`, at the place along `dim` that `index` names."""
    layout = buffer.layout
    strides = [0 if d == dim else s for d, s in enumerate(layout.strides)]
    view = viewed(buffer, shape, strides)
    return view, At(index, (view,), layout.strides[dim] * layout.itemsize, layout.shape[dim])


class IndexedSteps(Steps):
    """Steps of a chain, some of them indexed.

    `guarded`: indices are checked before the first element is written, not on the way. `refused`:
    a dimension without elements is indexed, which must fail.
    """

    guarded = refused = False

    def indexed(self, body, outputs, inputs, places, order=()) -> None:
        """outputs = body(*inputs) at every point of buffers of one shape. Along the dimensions
        `order` one point after the other.
        """
        operands = [*inputs, *(place.by for place in places)]
        nothing = (*outputs, *operands)[0].layout.numel == 0
        if outputs and (self.guarded or nothing):
            self.require(places)
        if self.device is meta or nothing:
            return
        if any(place.size == 0 for place in places):
            self.refused = True
            return
        values = [_loaded(i, b.layout) for i, b in enumerate(inputs)]
        results = [_stored(v, o.layout) for v, o in zip(body(*values), outputs, strict=True)]
        numbered = [*outputs, *inputs]
        found = [
            ir.Place(
                len(inputs) + k,
                tuple(i for i, o in enumerate(numbered) if any(o is b for b in place.buffers)),
                place.wraps,
            )
            for k, place in enumerate(places)
        ]
        kernel = ir.Indexed(
            "indexed", [o.dtype for o in operands], [o.dtype for o in outputs], results, found
        )
        sizes = [(place.step, place.size) for place in places]
        self.step(kernel, outputs, operands, tuple(order), sizes)

    def require(self, places) -> None:
        """The check of indices alone, each once: not where they are only repeated."""
        for place in places:
            steps = [(n, s) for n, s in zip(*shape_of(place.by), strict=True) if s and n != 1]
            if any(n == 0 for n, _ in steps):
                continue
            index = viewed(place.by, *zip(*(steps or [(1, 1)]), strict=True))
            self.indexed(lambda: (), (), (), [place._replace(by=index, buffers=())])


def shape_of(buffer: Buffer):
    return buffer.layout.shape, buffer.layout.strides


def vector(buffer: Buffer) -> Buffer:
    """The buffer, a 0-dim one as a vector of one element."""
    return buffer if buffer.layout.ndim else viewed(buffer, (1,), (1,))


def _loaded(number, layout: Layout):
    """The element of an input: as it lies there, for half types too."""
    value = ir.load(number, layout.dtype)
    value = value.conj() if layout.conj else value
    return -value if layout.neg else value


def _stored(value, layout: Layout):
    value = ir.cast(value, layout.dtype)
    value = value.conj() if layout.conj else value
    return -value if layout.neg else value


class Indexed(Chain):
    """A chain with indexed steps: `build(steps, *args)` gets buffers in place of tensors, and
    run-time scalars (expressions) in place of numbers.

    `check(*args)` raises on kinds of arguments that are refused, `refuse(*args)` returns the
    exception for indices of which one is out of range.
    """

    family = "indexed"

    def __init__(self, schema, doc, build, gradients, check, refuse, **options):
        super().__init__(schema, doc, build, None, gradients, **options)
        self.check, self.refuse = check, refuse

    def fail(self, code, *args):
        """What the kernel's check found."""
        raise tell(self, args, self.refuse(*args))

    def operands(self, args, slots: Slots) -> list:
        """What `build` gets for arguments."""
        values = []
        for position, (argument, value) in enumerate(zip(self.schema.arguments, args, strict=True)):
            if is_tensor(value):
                slots.tensor(value.layout)
                value = Buffer(value.layout, position)
            elif type(value) in PYTHON_TYPES and (argument.is_tensor or argument.type == "Scalar"):
                value = slots.number(type(value))
            else:
                slots.skip()
            values.append(value)
        return values

    def plan(self, args):
        self.check(*args)
        slots, steps = Slots(), IndexedSteps(args[0].layout.device)
        self.fill(steps, self.operands(args, slots))
        record = self.recorder(args) if self.recorded(args) else None
        if steps.device is meta:
            return self._on_meta([m for m, _ in steps.fresh if m is not None], record)
        return finish(steps, slots, record, self.fail)

    def recorded(self, args):
        return self.gradients and any(is_tensor(a) and a.layout.dtype.kind in "fc" for a in args)

    def fill(self, steps, values):
        """Adds the steps for a result of its own."""
        self.build(steps, *values)


def finish(steps: IndexedSteps, slots: Slots, record, fail, first="t"):
    """The launcher of steps; `first` is the first argument's letter."""
    if steps.refused:
        return lambda *args: fail(1, *args)
    letters = first + "".join(slots.letters[1:])
    return steps.launch(letters, tuple(slots.itemsizes), record, fail)


class Scatter(Indexed):
    """An indexed op whose result is its first argument, with some elements changed: `build` gets
    what it writes to in place of it.
    """

    inplace_form = True
    apart = True

    def fill(self, steps, values):
        source = values[0]
        target = steps.result(source.layout.shape, source.dtype)
        steps.copy(target, source)
        self.build(steps, target, *values[1:])

    def plan_inplace(self, args):
        """As `plan`, but the first argument is written to."""
        self.check(*args)
        target = args[0].layout
        check_target(target, target.shape, target.dtype)
        slots, steps = Slots(), IndexedSteps(target.device)
        if target.device is meta:
            return lambda *args: args[0]
        steps.guarded = True
        self.build(steps, *self.operands(args, slots))
        return finish(steps, slots, None, self.fail, "m")


def nothing(*args) -> None:
    """The check of an op that takes everything."""


def indexed(schema, doc, *, build, refuse=None, check=nothing, grad=None, **options) -> Indexed:
    """Declares an op that reads at places: see `Indexed`."""
    return Indexed(schema, doc, build, grad, check, refuse, **options)


def scatter(schema, doc, *, build, refuse, check=nothing, grad=None, **options) -> Scatter:
    """Declares an op that writes at places: see `Scatter`."""
    return Scatter(schema, doc, build, grad, check, refuse, **options)
