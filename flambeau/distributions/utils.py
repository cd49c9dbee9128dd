"""What distributions share: broadcasting of parameters, probabilities and logits, lazy values."""

import math
from functools import update_wrapper
from numbers import Number

from flambeau.tensor import Tensor, enable_grad

from .operations import arange, broadcast_tensors, empty, finfo, get_default_dtype, tensor

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]

euler_constant = 0.5772156649015329


def broadcast_all(*values):
    """Tensors and numbers as tensors of one shape; numbers take the first tensor's dtype.

    Raises ValueError where a value is neither.
    """
    if not all(isinstance(value, Tensor | Number) for value in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing "
            "__torch_function__."
        )
    model = next((value for value in values if isinstance(value, Tensor)), None)
    options = (
        {"dtype": get_default_dtype()}
        if model is None
        else {"dtype": model.dtype, "device": model.device}
    )
    return broadcast_tensors(
        *(value if isinstance(value, Tensor) else tensor(value, **options) for value in values)
    )


# The names with an underscore below are PyTorch's too: packages import them.


def _standard_normal(shape, dtype, device):
    """Standard normal numbers."""
    return empty(shape, dtype=dtype, device=device).normal_()


def _sum_rightmost(value, count):
    """The sum over the last `count` dimensions."""
    return value.flatten(-count).sum(-1) if count else value


def logits_to_probs(logits, is_binary=False):
    """Probabilities of log odds, or (not `is_binary`) of unnormalised logs along the last
    dimension.
    """
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def clamp_probs(probs):
    """Probabilities kept away from 0 and 1 by their dtype's precision."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs, is_binary=False):
    """The inverse of `logits_to_probs`; finite, since probabilities are clamped first."""
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()


def log_complement(log_probability):
    """log(1 - exp(x)) for x below 0, exact at both ends (Mächler, Rmpfr's log1mexp, 2012)."""
    near_1 = log_probability > -math.log(2)
    low = log_probability.masked_fill(near_1, -1.0)  # so that no branch has a gradient of nan
    high = log_probability.masked_fill(~near_1, -0.5)
    return (-high.expm1()).log().where(near_1, (-low.exp()).log1p())


class lazy_property:
    """A property that is computed, with gradients, on first use and then kept."""

    def __init__(self, wrapped):
        self.wrapped = wrapped
        update_wrapper(self, wrapped)

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def _below(n, diag, device):
    """A mask of the n by n places on and below the diagonal number `diag`."""
    column = arange(n, device=device)
    return column < column.unsqueeze(-1) + (diag + 1)


def tril_matrix_to_vec(mat, diag=0):
    """The lower triangles [..., n, n] up to diagonal `diag`, row by row, as vectors."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    return mat[..., _below(n, diag, mat.device)]


def vec_to_tril_matrix(vec, diag=0):
    """The inverse of `tril_matrix_to_vec`: square matrices that are 0 above diagonal `diag`."""
    slope = 1 + 2 * diag  # of the quadratic equation for n; `diag` rows or columns are cut off
    n = (-slope + (slope**2 + 8 * vec.shape[-1] + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if round(n) - n > finfo(vec.dtype).eps:
        raise ValueError(
            f"The size of last dimension is {vec.shape[-1]} which cannot be expressed as the lower "
            "triangular part of a square D x D matrix."
        )
    mat = vec.new_zeros((*vec.shape[:-1], round(n), round(n)))
    mat[..., _below(round(n), diag, vec.device)] = vec
    return mat
