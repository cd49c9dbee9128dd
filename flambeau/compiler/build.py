"""From a kernel and the layouts of its operands to machine code and the calls to make."""

import hashlib
import math
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from flambeau._base import Memo, knobs
from flambeau.ir import Kernel, verify
from flambeau.runtime import jit
from flambeau.types import Layout

from . import plain
from .indexed import IndexedWriter
from .loops import Writer
from .nests import Variant
from .schedule import PIECE, Request, StagePlan, indexed, pointwise, reduction, scan
from .target import Target, target_of


class Stage(NamedTuple):
    """One call ``i64 address(data, dims, scalars, lo, hi)``; ranges of [0, total) may run in
    parallel.

    `data` are the slots whose pointers the kernel gets: outputs, inputs, scratch blocks, counted in
    that order. `dims` is the descriptor that goes with the code. `grain`: no thread should get
    fewer iterations.
    """

    address: int
    data: tuple[int, ...]
    dims: bytes
    total: int
    grain: int


class Built(NamedTuple):
    """A kernel ready to run on operands of certain layouts: `stages` run one after the other.

    `scratch` are the bytes of temporary blocks, `cost` is a rough time on one thread in
    nanoseconds.
    """

    stages: list[Stage]
    scratch: list[int]
    cost: float


class Plan(NamedTuple):
    """What `build` decides before any code is generated; `call` is what runs it without any."""

    stages: list[StagePlan]
    scratch: list[int]
    target: Target
    call: plain.Call | None = None


_addresses: dict[tuple, int] = {}
_plans = Memo(8192)
_host: list[Target] = []


def host() -> Target:
    """The target that this process runs on."""
    if not _host:
        words = jit.host().features.split(",")
        _host.append(target_of({w[1:]: w[0] == "+" for w in words if w}))
    return _host[0]


def plan(
    kernel: Kernel,
    outputs: Sequence[Layout],
    inputs: Sequence[Layout],
    axes=(),
    target: Target | None = None,
    places=(),
    counter=None,
    rows: int = 0,
    ahead: Sequence[int] = (),
    streams: Sequence[int] = (),
) -> Plan:
    """The stages of `kernel`. See `build`.

    With `rows`, a pointwise kernel or reduction is one stage whose range goes over the first `rows`
    axes in their order, whatever the operands' strides. For `ahead` and `streams` see `Request`.
    """
    target = target or host()
    outputs, inputs = tuple(outputs), tuple(inputs)
    if [d.dtype for d in outputs] != list(kernel.outputs) or [d.dtype for d in inputs] != list(
        kernel.inputs
    ):
        raise TypeError(
            f"{kernel.name}: layouts do not have the kernel's types: {outputs}, {inputs}"
        )
    if knobs.verify:
        verify(kernel)
    if "loops" in knobs.show:
        print(kernel, file=sys.stderr)
    axes, places, ahead, streams = tuple(axes), tuple(places), tuple(ahead), tuple(streams)
    counter = counter and (tuple(counter[0]), counter[1])
    if knobs.backend == "interpret":
        call = plain.Call(kernel, outputs, inputs, axes, places, counter, rows)
        return Plan([], [], target, call)
    key = kernel.key, outputs, inputs, axes, target, places, counter, rows, ahead, streams
    given = kernel, outputs, inputs, axes, target, places, counter, rows, ahead, streams
    return _plans.get_or(key, _planned, *given)


def _planned(kernel, outputs, inputs, axes, target, places, counter, rows, ahead, streams) -> Plan:
    count = math.prod(inputs[0].shape[axis] for axis in axes)
    slots = tuple(range(len(outputs) + len(inputs)))
    request = Request(kernel, slots, count, target, rows, counter, ahead, streams)
    if kernel.kind == "indexed":
        return Plan(indexed(request, outputs, inputs, axes, places), [], target)
    if kernel.kind == "pointwise":
        return Plan(pointwise(request, outputs, inputs), [], target)
    if kernel.kind == "scan":
        return Plan(scan(request, outputs, inputs, axes[0]), [], target)
    return Plan(*reduction(request, outputs, inputs, tuple(axes)), target)


def build(
    kernel: Kernel,
    outputs: Sequence[Layout],
    inputs: Sequence[Layout],
    axes: tuple[int, ...] = (),
    places: Sequence[tuple[int, int]] = (),
    counter: tuple[Sequence[int], int] | None = None,
) -> Built:
    """Code for `kernel` on operands of these layouts, and how to call it.

    All layouts of a pointwise kernel have one shape (broadcast inputs have stride 0). A reduction's
    inputs have the full shape, its outputs the dimensions that are not in `axes`, in order; a
    scan's outputs have the full shape, and `axes` is one dimension. Axes are not negative. Conj and
    neg bits of the layouts are the body's business.

    The layouts of an indexed kernel have one shape, too: an operand with a place has stride 0 along
    the dimensions that its place depends on. `places` has, for each place of the kernel, the step
    from one number to the next, in bytes, and how many there are: at least 1. Along `axes` an
    indexed kernel goes in order, row-major, on one thread.

    Of pointwise kernels: `counter` gives the position another meaning: steps along the dimensions,
    and the first number.
    """
    made = plan(kernel, outputs, inputs, axes, places=places, counter=counter)
    return link([made])[0]


def link(plans: Sequence[Plan]) -> list[Built]:
    """The plans made callable; what is not compiled yet is compiled together."""
    missing: dict[tuple, tuple[str, str]] = {}
    for one in plans:
        for stage in one.stages:
            key = stage.kernel.key, stage.variant, one.target
            if key not in _addresses and key not in missing:
                missing[key] = source(stage.kernel, stage.variant, one.target)
    if missing:
        # Two kernels of different key may come to the same text, and then they are the same
        # function.
        target = plans[0].target
        found = jit.compile_functions(dict(missing.values()), lambda texts: _module(texts, target))
        _addresses.update((key, found[name]) for key, (name, _) in missing.items())
    return [_built(one) for one in plans]


def _built(one: Plan) -> Built:
    if one.call is not None:
        call = one.call
        slots = tuple(range(len(call.outputs) + len(call.inputs)))
        return Built(
            [Stage(plain.address(call.run), slots, bytes(64), call.total, call.total)], [], 0.0
        )
    stages = []
    for stage in one.stages:
        address = _addresses[stage.kernel.key, stage.variant, one.target]
        grain = max(stage.least, round(PIECE * stage.total / max(stage.cost, 1.0)))
        stages.append(Stage(address, stage.data, stage.dims, stage.total, min(grain, stage.total)))
    return Built(stages, one.scratch, sum(stage.cost for stage in one.stages))


def source(kernel: Kernel, variant: Variant, target: Target) -> tuple[str, str]:
    """Name and LLVM text of one function. The name holds a digest of what determines its code:
    equal names are equal functions.
    """
    writer = IndexedWriter if kernel.kind == "indexed" else Writer
    text = writer(kernel, variant, target).text("NAME")
    whole = f"{text}{target.attributes}".encode()
    digest = hashlib.sha1(whole, usedforsecurity=False).hexdigest()[:16]
    name = f"fl_{re.sub(r'[^A-Za-z0-9_]', '_', kernel.name)}_{digest}"
    return name, text.replace("@NAME(", f"@{name}(", 1)


def _module(functions, target: Target) -> str:
    """One module of several functions; declarations are shared."""
    lines: list[str] = []
    declarations: set[str] = set()
    for text in functions:
        for line in text.splitlines():
            if line.startswith("declare "):
                declarations.add(line)
            else:
                lines.append(line)
    return "\n".join(
        [*lines, *sorted(declarations), f"attributes #0 = {{ {target.attributes} }}", ""]
    )
