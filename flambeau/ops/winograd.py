"""Which convolutions go by tiles (`compiler.winograd`), and in which pieces."""

from typing import NamedTuple

from flambeau import runtime
from flambeau.compiler import convolution as kernels
from flambeau.compiler import winograd
from flambeau.types import by_name

from .family import Buffer, Steps

FLOAT32, INT64 = by_name("float32"), by_name("int64")
# Cycles of one core, for a vector of channels: to bring a tile there and back, and a filter there.
SPREAD, BACK, FILTER = 370, 240, 600
DIRECT = 1.25  # cycles of the direct kernel for each vector of products
GIGAHERTZ = 3.0


class Tiling(NamedTuple):
    """How a convolution is cut: rows of tiles for one task, ranges of output channels, and the
    estimated cycles of one core."""

    block: int
    parts: int
    cycles: float


def tiling(x, w, bias, out, groups, axes) -> Tiling | None:
    """The best tiling, None where the convolution has none or the direct kernel is faster.

    The error is about twice that of direct sums of 16 channels, and nearer for more.
    """
    lanes = kernels.host().vector_bytes // 4
    channels, rows, images = x.shape[1], out.shape[1], x.shape[0]
    if x.buffer.dtype is not FLOAT32 or groups != 1 or channels % lanes or rows % lanes:
        return None
    if x.strides[3] != 1 or not all(_plain(axis) for axis in axes):
        return None
    down, across = axes
    if _pitch(across, lanes) > winograd.MOST_COLUMNS:
        return None
    tile_rows, tiles = (-(-axis.places // winograd.STEP) for axis in axes)
    inputs, outputs, threads = channels // lanes, rows // lanes, runtime.get_num_threads()
    group = _vectors(outputs)
    vectors = -(-down.places * across.places // lanes)
    direct = 9 * DIRECT * channels * rows * images * vectors
    once = FILTER * channels * outputs / threads
    best = None
    room = min(winograd.MOST_TILES, _room(inputs, lanes) // 4 * 4)
    for block in range(1, min(room // tiles, images * tile_rows) + 1):
        blocks = -(-images * tile_rows // block)
        padded = -(-block * tiles // 4) * 4
        for parts in (1, 2, 4, outputs // group):
            if parts * group > outputs:
                continue
            made = -(-outputs // (parts * group)) * group
            each = block * tiles * (SPREAD * inputs + BACK * made)
            each += winograd.POINTS * channels * made * (padded + 4)
            cycles = once + -(-blocks * parts // threads) * each
            if best is None or cycles < best.cycles:
                best = Tiling(block, parts, cycles)
    if best is None or best.cycles * threads > 0.9 * direct:
        return None
    return best._replace(cycles=best.cycles * threads)


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


def filtered(steps: Steps, x, w, bias, out, groups, axes, tiles: Tiling) -> Buffer:
    """The convolution; a flag that is set where results are not finite and may therefore differ
    from sums."""
    down, across = axes
    lanes = kernels.host().vector_bytes // 4
    channels, rows, images = x.shape[1], out.shape[1], x.shape[0]
    group = _vectors(rows // lanes)
    tile_rows, in_row = (-(-axis.places // winograd.STEP) for axis in axes)
    count = images * tile_rows
    # With one task for each weight, it is made there, in memory that stays in the cache.
    late = tiles.block == count
    values = dict(
        CHANNELS=channels // lanes,
        GROUPS=rows // lanes // group,
        PARTS=tiles.parts,
        BLOCK=tiles.block,
        ROWS=count,
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
        SPACE=-(-tiles.block * in_row // 4) * 4,
        W_ROW=w.row * 4,
        W_CHANNEL=w.channel * 4,
        BIAS=int(bias is not None),
        LATE=int(late),
    )
    taps = [[tap for tap, _ in sorted(axis.taps, key=lambda t: t[1])] for axis in axes]
    offsets = [(a * w.taps[0] + b * w.taps[1]) * 4 for a in taps[0] for b in taps[1]]
    dims = [values[name] for name in winograd.DIMS] + offsets
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
    tasks = -(-count // tiles.block) * tiles.parts
    steps.call(kernels.kernel("winograd", basis), data, dims, tasks, tiles.cycles / GIGAHERTZ)
    return flag
