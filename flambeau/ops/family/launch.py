"""From a kernel and layouts to a launcher: what the pointwise and reduction families share."""

from typing import NamedTuple

from flambeau import compiler, ir, runtime
from flambeau.ir import cast, load, param
from flambeau.types import PYTHON_TYPES, Layout, by_name, cpu, layout, meta

_LETTERS = {bool: "i", int: "i", float: "d", complex: "c"}
_SLOT_TYPES = {
    bool: by_name("int64"),
    int: by_name("int64"),
    float: by_name("float64"),
    complex: by_name("complex128"),
}
_RELEASE = 50_000  # ns of estimated work from which the GIL is released
STREAM = 1 << 23  # bytes of a result that is hardly in the cache when somebody reads it


def broadcast(shapes) -> tuple[int, ...]:
    """The common shape of `shapes` by the broadcasting rule."""
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        start = rank - len(shape)
        for d, n in reversed(list(enumerate(shape, start))):
            if n != 1 and n != result[d]:
                if result[d] != 1:
                    raise RuntimeError(
                        f"The size of tensor a ({result[d]}) must match the size of tensor b ({n}) "
                        f"at non-singleton dimension {d}"
                    )
                result[d] = n
    return tuple(result)


def expand(source: Layout, shape: tuple[int, ...]) -> Layout:
    """`source` broadcast to `shape`: repeated dimensions have stride 0."""
    if source.shape == shape:
        return source
    lead = len(shape) - source.ndim
    if lead < 0 or any(
        have not in (1, want) for have, want in zip(source.shape, shape[lead:], strict=True)
    ):
        raise RuntimeError(
            f"a tensor of shape {list(source.shape)} cannot be broadcast to {list(shape)}"
        )
    strides = [0] * lead + [
        0 if have == 1 and want != 1 else stride
        for have, want, stride in zip(source.shape, shape[lead:], source.strides, strict=True)
    ]
    return source.reshaped(shape, tuple(strides))


class Slots:
    """Assigns tensor operands and run-time scalars of a kernel, in the order of the op's
    arguments.
    """

    def __init__(self):
        self.inputs: list[Layout] = []
        self.positions: list[int] = []
        self.letters: list[str] = []
        self.itemsizes: list[int] = []
        self._scalars = 0

    def tensor(self, source: Layout, letter="t"):
        """A tensor operand; its value as an expression of its own dtype, conj and neg bit
        applied.
        """
        value = load(len(self.inputs), source.dtype)
        self.inputs.append(source)
        self.positions.append(len(self.letters))
        self._add(letter, source.itemsize)
        value = value.conj() if source.conj else value
        return -value if source.neg else value

    def number(self, kind: type):
        """A run-time scalar of Python type `kind`."""
        value = param(self._scalars, _SLOT_TYPES[kind])
        self._scalars += 2 if kind is complex else 1
        self._add(_LETTERS[kind], 0)
        return cast(value, PYTHON_TYPES[bool]) if kind is bool else value

    def skip(self):
        self._add("-", 0)

    def _add(self, letter, itemsize):
        self.letters.append(letter)
        self.itemsizes.append(itemsize)


def scratch_of(fresh: list):
    """A function that adds scratch memory to a launch's outputs and gives its source."""

    def scratch(nbytes: int) -> int:
        fresh.append((None, nbytes))
        return -len(fresh)

    return scratch


class Work(NamedTuple):
    """A kernel on operands: what `compiler.plan` takes, and where the memory of each operand comes
    from, as in `runtime.Stage`.

    `operands` are the layouts of outputs, then inputs; `starts` are bytes to their first elements.
    """

    kernel: ir.Kernel
    operands: tuple[Layout, ...]
    sources: tuple[int, ...]
    axes: tuple[int, ...] = ()
    places: tuple = ()
    starts: tuple[int, ...] | None = None
    counter: tuple | None = None

    @property
    def outputs(self) -> int:
        """How many operands are written."""
        return len(self.kernel.outputs)

    def pairs(self):
        """(source, layout) of each operand."""
        return zip(self.sources, self.operands, strict=True)

    def streams(self, read=()) -> tuple[int, ...]:
        """Numbers of the outputs that are written past the cache: the large ones that this kernel
        does not read, nor those beside it, which `read` from these sources."""
        count = self.outputs
        near = {*read, *self.sources[count:]}
        pairs = enumerate(zip(self.sources[:count], self.operands, strict=False))
        return tuple(k for k, (s, made) in pairs if made.nbytes >= STREAM and s not in near)

    def plan(self, rows: int = 0, ahead=(), read=()) -> compiler.Plan:
        """How the kernel runs; for `rows` and `ahead` see `compiler.plan`, for `read` `streams`."""
        count = self.outputs
        return compiler.plan(
            self.kernel,
            self.operands[:count],
            self.operands[count:],
            self.axes,
            places=self.places,
            counter=self.counter,
            rows=rows,
            ahead=ahead,
            streams=self.streams(read),
        )

    def stages(self, built: compiler.Built, fresh: list) -> list[runtime.Stage]:
        """The stages of a launch. Scratch blocks are added to `fresh`, its outputs."""
        places = list(zip(self.sources, self.starts or (0,) * len(self.sources), strict=True))
        for nbytes in built.scratch:
            fresh.append((None, nbytes))
            places.append((-len(fresh), 0))
        stages = []
        for address, data, dims, total, grain in built.stages:
            sources, starts = zip(*[places[k] for k in data], strict=True)
            stages.append(runtime.Stage(address, sources, dims, total, grain, starts))
        return stages


def launch(
    kernel,
    slots: Slots,
    outputs,
    targets=(),
    axes=(),
    record=None,
    shape=None,
    result_layouts=None,
    fail=None,
):
    """A launcher for `kernel`.

    `outputs`: the layouts that the kernel writes. `targets`: for each, the argument position that
    is written in place, or None where a tensor is made. `shape`: what the operands are expanded to.
    `result_layouts`: the layouts that the made tensors carry, where they differ from `outputs` in
    shape (keepdim).
    """
    targets = targets or (None,) * len(outputs)
    inputs = [expand(i, shape) if shape is not None else i for i in slots.inputs]
    made = result_layouts or outputs
    if any(o.device is meta for o in outputs) or any(i.device is meta for i in inputs):
        if not all(o.device is meta for o in outputs):
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return _on_meta(made, targets, record)
    fresh: list[tuple[Layout | None, int]] = []
    sources: list[int] = []
    for target, o, m in zip(targets, outputs, made, strict=True):
        if target is None:
            fresh.append((m, o.nbytes))
        sources.append(-len(fresh) if target is None else target)
    work = Work(kernel, (*outputs, *inputs), (*sources, *slots.positions), tuple(axes))
    [built] = compiler.link([work.plan()])
    stages = tuple(work.stages(built, fresh))
    letters = ["m" if p in targets else c for p, c in enumerate(slots.letters)]
    return runtime.launcher(
        runtime.Launch(
            "".join(letters),
            tuple(slots.itemsizes),
            tuple(fresh),
            stages,
            built.cost > _RELEASE,
            record,
            fail,
            (work,),
        )
    )


def _on_meta(made, targets, record):
    """Shapes and dtypes only: the results have no memory."""

    def plan(*args):
        results = [
            runtime.wrap(runtime.foreign(0, 0, None), m, 0) if t is None else args[t]
            for m, t in zip(made, targets, strict=True)
        ]
        result = results[0] if len(results) == 1 else tuple(results)
        if record is not None and any(getattr(a, "_node", None) is not None for a in args):
            record(result, *args)
        return result

    return plan


def same_device(operands, name) -> "object":
    """The one device of `operands` (0-dim cpu tensors may stand beside others)."""
    devices = {o.device for o in operands if o.ndim or o.device is not cpu}
    if len(devices) > 1:
        first, second, *_ = sorted(map(str, devices))
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{first} and {second}! (when checking argument in method {name})"
        )
    return next(iter(devices), cpu)


__all__ = ["Slots", "Work", "broadcast", "expand", "launch", "layout", "same_device"]
