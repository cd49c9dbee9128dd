"""`torch.gradient`: derivatives of sampled functions, by differences."""

from flambeau.ops import find

from .tensor import Tensor


def gradient(input, *, spacing=1, dim=None, edge_order=1):
    """The derivative of `input` along each of `dim` (all), as a list of tensors.

    `spacing` is the distance of the samples, or a list with a distance or a tensor of coordinates
    for each dimension. Inside, differences are central; at the edges, one-sided and of
    `edge_order` 1 or 2.
    """
    if not isinstance(input, Tensor) or not isinstance(edge_order, int):
        raise TypeError(
            "gradient() received an invalid combination of arguments - got "
            f"({type(input).__name__}, edge_order={type(edge_order).__name__})"
        )
    dims = _dims(input, dim)
    steps = _steps(input, spacing, dims, dim is not None)
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if any(input.shape[d] <= edge_order for d in dims):
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1"
        )
    return [_along(input, d, step, edge_order) for d, step in zip(dims, steps, strict=True)]


def _dims(input, dim):
    n = input.ndim
    if dim is None:
        return list(range(n))
    dims = [dim] if isinstance(dim, int) else list(dim)
    for d in dims:
        if not -n <= d < n:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})"
            )
    dims = [d % n for d in dims]
    for d in dims:
        if dims.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return dims


def _steps(input, spacing, dims, given):
    if spacing is None:
        spacing = 1
    if not isinstance(spacing, list | tuple):
        return [spacing] * len(dims)
    if len(spacing) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim "
            "arguments to have the same length, but got a spacing argument of length "
            f"{len(spacing)} and a dim argument of length {len(dims)}."
            if given
            else "torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
            f"equal to 'self.dim() = {input.ndim}', since dim argument was not given, but got a "
            f"list of length {len(spacing)}"
        )
    for d, step in zip(dims, spacing, strict=True):
        if isinstance(step, Tensor) and step.device != input.device:
            raise RuntimeError(
                "torch.gradient expected each tensor to be on the same device, but got devices "
                f"{input.device} and {step.device}!"
            )
        if isinstance(step, Tensor) and step.numel() != input.shape[d]:
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have the same length as the "
                f"dimension of the input tensor, but got {step.numel()} and {input.shape[d]}"
            )
    return list(spacing)


def _along(x, d, step, edge_order):
    if x.dtype.kind not in "fc":
        x = x * 1.0
    if isinstance(step, Tensor):
        shape = [1] * x.ndim
        shape[d] = -1
        h = step.diff().reshape(shape)
        before, after = h.narrow(d, 0, h.shape[d] - 1), h.narrow(d, 1, h.shape[d] - 1)
    else:
        h = before = after = None
    n = x.shape[d]

    def at(k, count=1):
        return x.narrow(d, k % n if k < 0 else k, count)

    def gap(k):
        return step if h is None else h.narrow(d, k % h.shape[d], 1)

    slope = (at(1, n - 1) - at(0, n - 1)) / (step if h is None else h)
    if edge_order == 1:
        first, last = slope.narrow(d, 0, 1), slope.narrow(d, n - 2, 1)
    else:
        first = _edge(at(0), at(1), at(2), gap(0), gap(1))
        last = -_edge(at(-1), at(-2), at(-3), gap(-1), gap(-2))
    if h is None:
        middle = (at(2, n - 2) - at(0, n - 2)) / (2 * step)
    else:
        left, right = slope.narrow(d, 0, n - 2), slope.narrow(d, 1, n - 2)
        middle = (left * after + right * before) / (before + after)
    return find("cat").door([first, middle, last], d)


def _edge(x0, x1, x2, h0, h1):
    """The slope at x0 of the parabola through three samples h0 and h1 apart."""
    total = h0 + h1
    return (x1 - x0) / h0 * ((h0 + total) / total) - (x2 - x1) / h1 * (h0 / total)


PUBLIC = ("gradient",)
__all__ = [*PUBLIC]
