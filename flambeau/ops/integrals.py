"""Exponential and elliptic integrals, and Lambert's function. Beyond PyTorch; the names and
arguments are SciPy's, on the real line.
"""

import math as _math

from flambeau.ir import math

from .family import pointwise
from .family.pointwise import int_to_float
from .hypergeometric import hyp2f1
from .special import REAL, only, special

expi = special(
    "expi",
    """The exponential integral Ei; -inf at 0.""",
    lambda grad, self: grad * self.exp() / self,
)
expn = pointwise(
    "special::expn(Tensor|Scalar n, Tensor|Scalar x) -> Tensor",
    """The exponential integral of whole order n; nan for other orders, and for negative x.""",
    scalar=math.expn,
    dtype=int_to_float,
    check=only(REAL, "expn"),
    grad=dict(n=lambda grad: grad * 0, x=lambda grad, n, x: -grad * expn(n - 1, x)),
)
ellipk = special(
    "ellipk",
    """The complete elliptic integral of the first kind of the parameter m; nan above 1.""",
    lambda grad, m: grad * hyp2f1(1.5, 1.5, 2.0, m) * (_math.pi / 8),
    argument="m",
)
ellipe = special(
    "ellipe",
    """The complete elliptic integral of the second kind of the parameter m; nan above 1.""",
    lambda grad, m: grad * hyp2f1(0.5, 1.5, 2.0, m) * (-_math.pi / 8),
    argument="m",
)
lambertw = pointwise(
    "special::lambertw(Tensor z, int k=0) -> Tensor",
    """The real solution w of ``w * exp(w) = z``: the greater one for branch k = 0, the other for
    -1. nan below -1/e, and for branch -1 above 0.
    """,
    scalar=math.lambertw,
    dtype=int_to_float,
    check=only(REAL, "lambertw"),
    grad=dict(z=lambda grad, result: grad * (-result).exp() / (result + 1)),
)
