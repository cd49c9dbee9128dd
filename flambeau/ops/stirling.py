"""Log-likelihoods of large counts and shapes, exact by Stirling's series.

A difference of `lgamma`s has the rounding errors of numbers that are far larger than it. The
logarithm of a Poisson probability can be had without them (Loader, Fast and Accurate Computation of
Binomial Probabilities, 2000), and the others are made of Poisson probabilities.
"""

import math as _math

from flambeau import ir
from flambeau.ir import math

from .family.pointwise import int_to_float, pointwise
from .op import find

_LARGE = 10.0  # from here on the series are exact in double precision
# B(2k) / (2k (2k - 1)) and B(2k) / 2k for k from 1 on, with B the Bernoulli numbers: NIST DLMF
# 5.11.1 and 5.11.2.
_LOG_GAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
_ARTANH = tuple(1 / k for k in range(3, 21, 2))  # after the first term


def _series(coefficients, square):
    total = ir.const(0, square.dtype)
    for coefficient in reversed(coefficients):
        total = total * square + coefficient
    return total


def _log_poisson(count, mean):
    is_large = (count >= _LARGE) & (mean > 0)
    far = ir.select(is_large, count, ir.const(_LARGE, count.dtype))
    apart = far - mean
    v = apart / (far + mean)
    near = apart * v + far * v * (v * v) * 2 * _series(_ARTANH, v * v)
    deviance = ir.select(abs(v) < 0.1, near, far * math.log(far / mean) - apart)
    rest = _series(_LOG_GAMMA, 1 / (far * far)) / far
    large = math.log(far * (2 * _math.pi)) * -0.5 - rest - deviance
    powers = ir.select(count.equals(0), ir.const(0, count.dtype), count * math.log(mean))
    return ir.select(is_large, large, powers - mean - math.lgamma(count + 1))


def _digamma_rest(x):
    is_large = x >= _LARGE
    far = ir.select(is_large, x, ir.const(_LARGE, x.dtype))
    inverse_square = 1 / (far * far)
    large = -0.5 / far - inverse_square * _series(_DIGAMMA, inverse_square)
    return ir.select(is_large, large, math.digamma(x) - math.log(x))


def _declare(schema, doc, scalar, **grad):
    return pointwise(
        f"special::{schema} -> Tensor",
        doc,
        scalar=scalar,
        dtype=int_to_float,
        grad=grad,
        function=False,
    )


log_poisson = _declare(
    "_log_poisson(Tensor count, Tensor mean)",
    """``count * log(mean) - mean - lgamma(count + 1)``, for counts above -1.""",
    _log_poisson,
    count=lambda grad, count, mean: grad * ((mean / (count + 1)).log() - digamma_rest(count + 1)),
    mean=lambda grad, count, mean: grad * ((count / mean).masked_fill(count.eq(0), 0.0) - 1),
)
digamma_rest = _declare(
    "_digamma_rest(Tensor self)",
    """``digamma(x) - log(x)``, for x above 0: about ``-1 / (2 x)``.""",
    _digamma_rest,
    self=lambda grad, self: grad * (find("polygamma").door(1, self) - self.reciprocal()),
)
