"""Sampling images at places given by a grid of coordinates, and grids of affine maps."""

import itertools

from flambeau.types import by_name

from .family import fixed
from .family.pointwise import type_name
from .op import composite, find
from .promotion import HALVES

INT64 = by_name("int64")
BILINEAR, NEAREST, BICUBIC = 0, 1, 2
ZEROS, BORDER, REFLECTION = 0, 1, 2


def _unnormalised(x, n, align_corners):
    """Coordinates from [-1, 1] as element positions: the ends are the outer elements' centres or
    edges.
    """
    return (x + 1) * ((n - 1) / 2) if align_corners else ((x + 1) * n - 1) / 2


def _clipped(x, n):
    """Limited to [0, n - 1], with no gradient where the limit is reached; nan goes to 0."""
    inside = (x > 0) & (x < n - 1)
    limit = find("where").door(x.detach() > 0, float(n - 1), 0.0).to(x.layout.dtype)
    return find("where").door(inside, x, limit)


def _reflected(x, low, high):
    """Reflected at `low` and `high` (both twice the position) until inside."""
    if low == high:
        return x * 0
    start, span = low / 2, (high - low) / 2
    away = x - start
    away = find("where").door(away < 0, -away, away)
    extra = away.fmod(span)
    even = (away.detach() / span).floor().fmod(2).eq(0)
    return find("where").door(even, extra + start, (span + start) - extra)


def _placed(x, n, padding_mode, align_corners):
    """Positions outside the image brought inside, as the padding mode has it."""
    if padding_mode == BORDER:
        return _clipped(x, n)
    if padding_mode == REFLECTION:
        low, high = (0, 2 * (n - 1)) if align_corners else (-1, 2 * n - 1)
        return _clipped(_reflected(x, low, high), n)
    return x


def _whole(x):
    """Positions as integers; what no integer holds becomes -1, which is outside."""
    return find("where").door(x.abs() < 2**31, x, -1.0).to(INT64)


def _gather(flat, places, spatial):
    """Elements of flat [N, C, size] at integer places, one tensor [N, P] for each dimension; 0
    outside.
    """
    index, inside = None, None
    for place, n in zip(places, spatial, strict=True):
        within = (place >= 0) & (place < n)
        inside = within if inside is None else inside & within
        step = place.clamp(0, n - 1)
        index = step if index is None else index * n + step
    shape = (flat.layout.shape[0], flat.layout.shape[1], index.layout.shape[1])
    return flat.gather(2, index.unsqueeze(1).expand(shape)).masked_fill(~inside.unsqueeze(1), 0)


def _linear(flat, positions, spatial):
    lows = [p.detach().floor() for p in positions]
    parts = [p - low for p, low in zip(positions, lows, strict=True)]
    whole = [_whole(low) for low in lows]
    total = None
    for corner in itertools.product((0, 1), repeat=len(positions)):
        weight = None
        for side, part in zip(corner, parts, strict=True):
            factor = part if side else 1 - part
            weight = factor if weight is None else weight * factor
        places = [w + side if side else w for w, side in zip(whole, corner, strict=True)]
        term = _gather(flat, places, spatial) * weight.unsqueeze(1)
        total = term if total is None else total + term
    return total


def _cubic_weights(t):
    """Keys's kernel (1981) with parameter -0.75 at distances 1 + t, t, 1 - t, 2 - t."""
    a = -0.75
    u = 1 - t

    def near(x):
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x):
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return far(t + 1), near(t), near(u), far(u + 1)


def _cubic(flat, positions, spatial, padding_mode, align_corners):
    lows = [p.detach().floor() for p in positions]
    weights = [_cubic_weights(p - low) for p, low in zip(positions, lows, strict=True)]
    total = None
    steps = []
    for low, n in zip(lows, spatial, strict=True):
        steps.append(
            [_whole(_placed(low + k, n, padding_mode, align_corners)) for k in (-1, 0, 1, 2)]
        )
    for corner in itertools.product(range(4), repeat=len(positions)):
        weight = weights[0][corner[0]]
        for d in range(1, len(corner)):
            weight = weight * weights[d][corner[d]]
        places = [s[k] for s, k in zip(steps, corner, strict=True)]
        term = _gather(flat, places, spatial) * weight.unsqueeze(1)
        total = term if total is None else total + term
    return total


def _nearest_places(grid, spatial, padding_mode, align_corners):
    """The integer places [N, P] in each dimension."""
    rows = grid.detach().flatten(1, -2)
    rank = len(spatial)
    places = []
    for d, n in enumerate(spatial):
        x = _unnormalised(rows.select(-1, rank - 1 - d), n, align_corners)
        places.append(_whole(_placed(x, n, padding_mode, align_corners).round()))
    return places


@composite(
    "aten::_sample_nearest(Tensor input, Tensor grid, int padding_mode, bool align_corners) -> "
    "Tensor",
    method=False,
    function=False,
    grad=dict(
        input=lambda grad, input_layout, grid, padding_mode, align_corners: _nearest_backward(
            grad, input_layout, grid, padding_mode, align_corners
        ),
        grid=lambda grad, grid_layout: grad.new_zeros(grid_layout.shape),
    ),
)
def sample_nearest(input, grid, padding_mode, align_corners):
    """The element nearest to each place of the grid."""
    spatial = input.layout.shape[2:]
    found = _gather(
        input.flatten(2), _nearest_places(grid, spatial, padding_mode, align_corners), spatial
    )
    return found.reshape((*input.layout.shape[:2], *grid.layout.shape[1:-1]))


def _nearest_backward(grad, layout, grid, padding_mode, align_corners):
    spatial = layout.shape[2:]
    index, inside = None, None
    for place, n in zip(
        _nearest_places(grid, spatial, padding_mode, align_corners), spatial, strict=True
    ):
        within = (place >= 0) & (place < n)
        inside = within if inside is None else inside & within
        step = place.clamp(0, n - 1)
        index = step if index is None else index * n + step
    rows = grad.flatten(2).masked_fill(~inside.unsqueeze(1), 0)
    zeros = grad.new_zeros(layout.shape).flatten(2)
    return zeros.scatter_add(2, index.unsqueeze(1).expand(rows.layout.shape), rows).reshape(
        layout.shape
    )


def _check(input, grid, mode):
    rank = input.layout.ndim - 2
    if input.layout.dtype is not grid.layout.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has "
            f"{type_name(input.layout.dtype).lower()} and grid has "
            f"{type_name(grid.layout.dtype).lower()}"
        )
    if rank not in (2, 3) or grid.layout.ndim != input.layout.ndim:
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got input with sizes {list(input.layout.shape)} and grid with sizes "
            f"{list(grid.layout.shape)}"
        )
    if input.layout.shape[0] != grid.layout.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            f"sizes {list(input.layout.shape)} and grid with sizes {list(grid.layout.shape)}"
        )
    if grid.layout.shape[-1] != rank:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {rank} in last dimension, but got grid "
            f"with sizes {list(grid.layout.shape)}"
        )
    for d in range(2, rank + 2):
        if not input.layout.shape[d]:
            raise RuntimeError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input "
                f"has sizes {list(input.layout.shape)} with dimension {d} being empty"
            )
    if mode == BICUBIC and rank == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def _grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners):
    _check(input, grid, interpolation_mode)
    dtype = input.layout.dtype
    if dtype in HALVES:
        input, grid = input.float(), grid.float()
    if interpolation_mode == NEAREST:
        out = sample_nearest(input, grid, padding_mode, align_corners)
        return out if out.layout.dtype is dtype else out.to(dtype)
    spatial = input.layout.shape[2:]
    rank, rows = len(spatial), grid.flatten(1, -2)
    # The last coordinate of the grid is that of the first spatial dimension.
    positions = [
        _unnormalised(rows.select(-1, rank - 1 - d), n, align_corners)
        for d, n in enumerate(spatial)
    ]
    flat = input.flatten(2)
    if interpolation_mode == BILINEAR:
        positions = [
            _placed(p, n, padding_mode, align_corners)
            for p, n in zip(positions, spatial, strict=True)
        ]
        out = _linear(flat, positions, spatial)
    else:
        out = _cubic(flat, positions, spatial, padding_mode, align_corners)
    out = out.reshape((*input.layout.shape[:2], *grid.layout.shape[1:-1]))
    return out if out.layout.dtype is dtype else out.to(dtype)


_ARGUMENTS = (
    "(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners) "
    "-> Tensor"
)


def _declare(name):
    def body(input, grid, interpolation_mode, padding_mode, align_corners):
        return _grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)

    body.__doc__ = """The image [N, C, *S] at the places of grid [N, *out, rank]: [N, C, *out].

    Coordinates are in [-1, 1], that of the last dimension first. Modes: 0 linear, 1 nearest, 2
    cubic; padding: 0 zeros,
    1 border, 2 reflection.
    """
    return composite(f"aten::{name}{_ARGUMENTS}", method=False)(body)


grid_sampler, grid_sampler_2d, grid_sampler_3d = map(
    _declare, ("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
)


def _base(theta, sizes, align_corners):
    """Homogeneous coordinates [*sizes, rank + 1] of a regular grid over [-1, 1]."""
    rank = len(sizes)
    iota, columns = find("_iota").door, []
    for d in range(rank - 1, -1, -1):
        n = sizes[d]
        line = iota(n).to(theta.layout.device, theta.layout.dtype)
        if n <= 1:
            line = line * 0
        else:
            line = line * (2 / (n - 1)) - 1 if align_corners else (line * 2 + (1 - n)) / n
        columns.append(line.reshape((n,) + (1,) * (rank - 1 - d)).expand(sizes))
    columns.append(theta.new_ones(sizes))
    return find("stack").door(columns, -1)


@fixed(
    "aten::affine_grid_generator(Tensor theta, int[] size, bool align_corners) -> Tensor",
    method=False,
)
def affine_grid_generator(theta, size, align_corners):
    """The places [N, *S, rank] to which the affine maps theta [N, rank, rank + 1] take a regular
    grid.
    """
    n, rank = size[0], len(size) - 2
    if theta.layout.shape != (n, rank, rank + 1):
        raise RuntimeError(
            f"Expected a batch of {rank}D affine matrices of shape {n}x{rank}x{rank + 1} for size "
            f"{list(size)}. Got {list(theta.shape)}."
        )
    sizes = tuple(size[2:])
    if len(sizes) not in (2, 3):
        raise RuntimeError("AffineGridGenerator needs 4d (spatial) or 5d (volumetric) inputs.")
    rank = len(sizes)
    base = _base(theta, sizes, align_corners).reshape((1, -1, rank + 1))
    return base.matmul(theta.transpose(1, 2)).reshape((theta.layout.shape[0], *sizes, rank))
