"""Orthogonal polynomials (NIST DLMF 18). Degrees are elements of a tensor, truncated to integers; a
degree below 0 gives 0.
"""

import math as _math

from flambeau.ir import math

from .arithmetic import conj_of
from .family import pointwise
from .family.pointwise import int_to_float
from .special import ANALYTIC, only


def less(n, count=1):
    """The degree, lowered."""
    return (n.trunc() if hasattr(n, "layout") else _math.trunc(n)) - count


def polynomial(name, doc, slope, scalar):
    """A family of polynomials by argument and degree. `slope(x, n)` is the derivative in x; that in
    the degree, which jumps, is 0.
    """
    return pointwise(
        f"special::{name}(Tensor|Scalar x, Tensor|Scalar n) -> Tensor",
        doc,
        scalar=scalar,
        dtype=int_to_float,
        check=only(ANALYTIC, name),
        grad=dict(x=lambda grad, x, n: grad * conj_of(slope(x, n)), n=lambda grad: grad * 0),
    )


def _generalised(name, doc, scalar, slope):
    """A family with an order besides the degree: what derivatives of the others consist of."""
    return pointwise(
        f"special::_{name}(Tensor x, Tensor|Scalar n, float order) -> Tensor",
        doc,
        scalar=scalar,
        dtype=int_to_float,
        grad=dict(
            x=lambda grad, x, n, order: grad * conj_of(slope(x, n, order)),
            n=lambda grad: grad * 0,
        ),
        function=False,
    )


gegenbauer = _generalised(
    "gegenbauer",
    """The Gegenbauer polynomial.""",
    math.gegenbauer,
    lambda x, n, order: 2 * order * gegenbauer(x, less(n), order + 1),
)
laguerre = _generalised(
    "laguerre",
    """The generalised Laguerre polynomial.""",
    math.laguerre,
    lambda x, n, order: -laguerre(x, less(n), order + 1),
)


def _slope_t(x, n):
    return (less(n) + 1) * gegenbauer(x, less(n), 1.0)


def _slope_u(x, n):
    return 2 * gegenbauer(x, less(n), 2.0)


def _slope_v(x, n):
    return 2 * (gegenbauer(x, less(n), 2.0) - gegenbauer(x, less(n, 2), 2.0))


def _slope_w(x, n):
    return 2 * (gegenbauer(x, less(n), 2.0) + gegenbauer(x, less(n, 2), 2.0))


def _shifted(slope):
    return lambda x, n: 2 * slope(2 * x - 1, n)


for _kind, _slope in dict(t=_slope_t, u=_slope_u, v=_slope_v, w=_slope_w).items():
    _plain = f"chebyshev_polynomial_{_kind}"
    polynomial(
        _plain,
        f"""The Chebyshev polynomial of kind {_kind.upper()}.""",
        _slope,
        getattr(math, f"chebyshev_{_kind}"),
    )
    polynomial(
        f"shifted_{_plain}",
        f"""The Chebyshev polynomial of kind {_kind.upper()} at ``2 * x - 1``.""",
        _shifted(_slope),
        getattr(math, f"shifted_chebyshev_{_kind}"),
    )
hermite_h = polynomial(
    "hermite_polynomial_h",
    """The Hermite polynomial of the weight ``exp(-x**2)``.""",
    lambda x, n: 2 * (less(n) + 1) * hermite_h(x, less(n)),
    math.hermite_h,
)
hermite_he = polynomial(
    "hermite_polynomial_he",
    """The Hermite polynomial of the weight ``exp(-x**2 / 2)``.""",
    lambda x, n: (less(n) + 1) * hermite_he(x, less(n)),
    math.hermite_he,
)
laguerre_l = polynomial(
    "laguerre_polynomial_l",
    """The Laguerre polynomial.""",
    lambda x, n: -laguerre(x, less(n), 1.0),
    math.laguerre,
)
legendre_p = polynomial(
    "legendre_polynomial_p",
    """The Legendre polynomial.""",
    lambda x, n: gegenbauer(x, less(n), 1.5),
    math.legendre,
)
