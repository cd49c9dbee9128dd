"""Which convolutions go by tiles (`compiler.winograd`), and in which pieces."""

from typing import NamedTuple

from flambeau import runtime
from flambeau.compiler import convolution as kernels
from flambeau.compiler import winograd
from flambeau.types import by_name

from .family import Buffer, Steps

FLOAT32, INT64 = by_name("float32"), by_name("int64")
# Cycles of one core, for a vector of channels: to bring a tile into the basis and back, a filter
# there, and a tile of the slope.
SPREAD, BACK, FILTER, SPREAD_SLOPE = 370, 240, 600, 330
TASKS = 16  # that are enough to keep threads busy
DIRECT = 1.25  # cycles of the direct kernel for each vector of products
GIGAHERTZ = 3.0


class Tiling(NamedTuple):
    """How a convolution is cut: rows of tiles for one task, ranges of output channels, and the
    estimated cycles of one core."""

    block: int
    parts: int
    cycles: float


def tiling(x, w, bias, out, groups, axes) -> Tiling | None:
    """The best tiling, None where the convolution has none or the direct kernel is faster. How it
    is cut may depend on the number of threads, as results do not; whether, on shapes alone."""
    if not _has_tiles(x, out, groups, axes):
        return None
    lanes = kernels.host().vector_bytes // 4
    channels, inputs, outputs = x.shape[1], x.shape[1] // lanes, out.shape[1] // lanes
    tile_rows, tiles = (-(-axis.places // winograd.STEP) for axis in axes)
    group, count, threads = _vectors(outputs), x.shape[0] * tile_rows, runtime.get_num_threads()

    def cycles(tiles, padded, outputs):
        products = winograd.POINTS * channels * outputs * padded
        return tiles * (SPREAD * inputs + BACK * outputs) + products

    filters = FILTER * channels * outputs
    work = filters + cycles(count * tiles, 1.1 * count * tiles, outputs)
    if work > 0.9 * _direct(x, out, axes):
        return None
    best = None
    room = min(winograd.MOST_TILES, _room(inputs, lanes) // 4 * 4)
    for block in range(1, min(room // tiles, count) + 1):
        blocks, padded = -(-count // block), -(-block * tiles // 4) * 4
        for parts in {p for p in (1, 2, 4, outputs // group) if p * group <= outputs}:
            made = -(-outputs // (parts * group)) * group
            each = cycles(block * tiles, padded + 4, made)
            found = filters + -(-blocks * parts // threads) * threads * each
            if best is None or found < best.cycles:
                best = Tiling(block, parts, found)
    return best


def _direct(x, out, axes) -> float:
    """Cycles of the direct kernel."""
    lanes = kernels.host().vector_bytes // 4
    vectors = -(-axes[0].places * axes[1].places // lanes)
    return 9 * DIRECT * x.shape[1] * out.shape[1] * x.shape[0] * vectors


def _has_tiles(x, out, groups, axes) -> bool:
    lanes = kernels.host().vector_bytes // 4
    return (
        x.buffer.dtype is FLOAT32
        and groups == 1
        and x.shape[1] % lanes == out.shape[1] % lanes == 0
        and x.strides[3] == out.strides[3] == 1
        and all(_plain(axis) for axis in axes)
        and _pitch(axes[1], lanes) <= winograd.MOST_COLUMNS
    )


def _plain(axis) -> bool:
    """Whether three neighbouring taps meet all places, and the first lies in the padding or at the
    edge."""
    offsets = sorted(offset for _, offset in axis.taps)
    first = offsets[0] if offsets else 1
    return axis.step == axis.apart == 1 and first <= 0 and offsets == [first, first + 1, first + 2]


def _pitch(across, lanes) -> int:
    """Columns of a row of tiles: padding, whole vectors of the input, and what the last tile
    reads or gives beyond them."""
    padding = -min(offset for _, offset in across.taps)
    tiles = -(-across.places // winograd.STEP)
    read, made = (-(-n // lanes) * lanes for n in (across.size, across.places))
    return max(padding + read, winograd.STEP * tiles + 2, made)


def _vectors(outputs) -> int:
    return 1 if outputs % 2 else 2


def _room(inputs, lanes) -> int:
    """Tiles of so many vectors of channels that a task may have."""
    vectors = winograd.INPUT_BYTES // (winograd.POINTS * lanes * 4) - 1
    return vectors // inputs


def _geometry(x, out, axes, group) -> dict[str, int]:
    """What the kernels for results and for the weights' gradient have in common."""
    down, across = axes
    lanes = kernels.host().vector_bytes // 4
    tile_rows, in_row = (-(-axis.places // winograd.STEP) for axis in axes)
    return dict(
        CHANNELS=x.shape[1] // lanes,
        GROUPS=out.shape[1] // lanes // group,
        ROWS=x.shape[0] * tile_rows,
        TILE_ROWS=tile_rows,
        TILES=in_row,
        HEIGHT_IN=down.size,
        WIDTH_IN=across.size,
        TOP=-min(offset for _, offset in down.taps),
        LEFT=-min(offset for _, offset in across.taps),
        X_IMAGE=x.strides[0] * 4,
        X_CHANNEL=x.strides[1] * 4,
        X_ROW=x.strides[2] * 4,
        HEIGHT=down.places,
        WIDTH=across.places,
        OUT_IMAGE=out.strides[0] * 4,
        OUT_CHANNEL=out.strides[1] * 4,
        OUT_ROW=out.strides[2] * 4,
        PITCH=_pitch(across, lanes),
    )


def filtered(steps: Steps, x, w, bias, out, groups, axes, tiles: Tiling, epilogue=None) -> Buffer:
    """The convolution; a flag that is set where results are not finite and may therefore differ
    from sums."""
    lanes = kernels.host().vector_bytes // 4
    channels, rows = x.shape[1], out.shape[1]
    group = _vectors(rows // lanes)
    values = _geometry(x, out, axes, group)
    # With one task for each weight, it is made there, in memory that stays in the cache.
    late = tiles.block == values["ROWS"]
    values |= dict(
        PARTS=tiles.parts,
        BLOCK=tiles.block,
        SPACE=-(-tiles.block * values["TILES"] // 4) * 4,
        W_ROW=w.row * 4,
        W_CHANNEL=w.channel * 4,
        BIAS=int(bias is not None),
        LATE=int(late),
        EPILOGUE=len(winograd.DIMS) + 9,
    )
    taps = [[tap for tap, _ in sorted(axis.taps, key=lambda t: t[1])] for axis in axes]
    offsets = [(a * w.taps[0] + b * w.taps[1]) * 4 for a in taps[0] for b in taps[1]]
    dims = _dims(values) + offsets + (epilogue.words() if epilogue else [])
    basis = winograd.Basis(FLOAT32, group)
    flag = steps.scratch((1,), INT64)
    groups = tiles.parts if late else rows // lanes // group
    made = steps.scratch((groups, winograd.POINTS, channels * group + 1, lanes), FLOAT32)
    steps.call(
        kernels.kernel("winograd_weights", basis),
        [made, w.buffer, flag], dims, 1 if late else rows // lanes * channels,
        0.0 if late else FILTER * channels * rows / lanes / GIGAHERTZ,
    )  # fmt: skip
    data = [out.buffer, x.buffer, made, flag, w.buffer, *([] if bias is None else [bias])]
    data += epilogue.buffers if epilogue else []
    ending = epilogue and epilogue.ending()
    tasks = -(-values["ROWS"] // tiles.block) * tiles.parts
    steps.call(
        kernels.kernel("winograd", basis, ending), data, dims, tasks, tiles.cycles / GIGAHERTZ
    )
    return flag


def _dims(values) -> list[int]:
    return [values.get(name, 0) for name in winograd.DIMS]


class Cutting(NamedTuple):
    """How sums over tiles are cut: rows of tiles that are in the basis at once, ranges of output
    channels, ranges of rows with sums of their own, and the estimated cycles of one core."""

    block: int
    parts: int
    chunks: int
    cycles: float


def cutting(x, grad, out, groups, axes) -> Cutting | None:
    """The best cutting, None where there is none or the direct kernel is faster. The sums do not
    depend on the number of threads, hence nor does this."""
    if not _has_tiles(x, grad, groups, axes):
        return None
    lanes = kernels.host().vector_bytes // 4
    channels, rows, images = x.shape[1], grad.shape[1], x.shape[0]
    tile_rows, tiles = (-(-axis.places // winograd.STEP) for axis in axes)
    inputs, outputs, count = channels // lanes, rows // lanes, images * tile_rows
    groups = outputs // _vectors(outputs)
    best = None
    for parts in (p for p in (1, 2, 4, 8, 16) if groups % p == 0):
        block = min(_room(inputs + outputs // parts, lanes) // tiles, count)
        if not block:
            continue
        most = max(1, x.buffer.layout.numel // (winograd.POINTS * channels * rows))
        chunks = min(-(-TASKS // parts), most, count)
        cycles = count * tiles * (SPREAD * inputs * parts + SPREAD_SLOPE * outputs)
        passes = count * tiles + 4 * -(-count // block)
        cycles += winograd.POINTS * channels * outputs * passes
        cycles += channels * outputs * (FILTER + 2 * winograd.POINTS * chunks)
        cycles *= 1 + 2 / (parts * chunks)  # threads wait for the last task
        if best is None or cycles < best.cycles:
            best = Cutting(block, parts, chunks, cycles)
    return None if best is None or best.cycles > 0.9 * _direct(x, grad, axes) else best


def filtered_sums(steps: Steps, x, grad, out, groups, axes, cut: Cutting) -> Buffer:
    """The weights' gradient; a flag as that of `filtered`."""
    lanes = kernels.host().vector_bytes // 4
    channels, rows = x.shape[1], grad.shape[1]
    group = _vectors(rows // lanes)
    values = _geometry(x, grad, axes, group)
    point = channels * rows + lanes
    values |= dict(
        PARTS=cut.parts,
        BLOCK=cut.block,
        SPACE=cut.block * values["TILES"],
        W_ROW=channels * 9 * 4,
        W_CHANNEL=9 * 4,
        OUTPUTS=rows // lanes // cut.parts,
        CHUNKS=cut.chunks,
        SUMS_CHUNK=winograd.POINTS * point * 4,
        SUMS_POINT=point * 4,
        SUMS_CHANNEL=rows * 4,
    )
    dims, basis = _dims(values), winograd.Basis(FLOAT32, group)
    flag = steps.scratch((1,), INT64)
    sums = steps.scratch((cut.chunks, winograd.POINTS, point), FLOAT32)
    steps.call(
        kernels.kernel("winograd_sums", basis), [sums, x.buffer, grad.buffer, flag], dims,
        cut.parts * cut.chunks, cut.cycles / GIGAHERTZ,
    )  # fmt: skip
    cost = channels * rows / lanes * (FILTER + winograd.POINTS * cut.chunks)
    steps.call(
        kernels.kernel("winograd_back", basis), [out, sums, flag], dims,
        channels * rows // lanes, cost / GIGAHERTZ,
    )  # fmt: skip
    return flag
