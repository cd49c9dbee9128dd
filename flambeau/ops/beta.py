"""The beta function, the incomplete one, and the inverses of incomplete gamma and beta functions.
Beyond PyTorch; names and arguments are SciPy's.
"""

from flambeau.ir import math

from .family import pointwise
from .family.pointwise import int_to_float
from .hypergeometric import function, more, slope
from .op import find
from .special import gamma_density, gammainc_slope, only

betaln_slope = slope(
    "betaln",
    "a b",
    dict(
        a=lambda grad, a, b, orders: grad * betaln_slope(a, b, more(orders, 0)),
        b=lambda grad, a, b, orders: grad * betaln_slope(a, b, more(orders, 1)),
    ),
)


def _log_beta_slope(a, b, moving, orders):
    """The derivative in `moving`, one of a and b: for positive ones from a Taylor series, where no
    difference of digammas cancels.
    """
    other = moving.digamma() - (a + b).digamma()
    return find("where").door((a > 0) & (b > 0), betaln_slope(a, b, orders), other)


betaln = function(
    "betaln",
    """The logarithm of the absolute value of the beta function.""",
    "a b",
    dict(
        a=lambda grad, a, b: grad * _log_beta_slope(a, b, a, [1, 0]),
        b=lambda grad, a, b: grad * _log_beta_slope(a, b, b, [0, 1]),
    ),
)
betainc_slope = slope(
    "betainc",
    "a b x",
    dict(
        a=lambda grad, a, b, x, orders: grad * betainc_slope(a, b, x, more(orders, 0)),
        b=lambda grad, a, b, x, orders: grad * betainc_slope(a, b, x, more(orders, 1)),
        x=lambda grad, a, b, x, orders: grad * betainc_slope(a, b, x, more(orders, 2)),
    ),
)
betainc = function(
    "betainc",
    """The regularised incomplete beta function of a, b >= 0 and 0 <= x <= 1; nan elsewhere, and
    near the mean of parameters above 1e15, where too few digits are left.
    """,
    "a b x",
    dict(
        a=lambda grad, a, b, x: grad * betainc_slope(a, b, x, [1, 0, 0]),
        b=lambda grad, a, b, x: grad * betainc_slope(a, b, x, [0, 1, 0]),
        x=lambda grad, a, b, x: grad * betainc_slope(a, b, x, [0, 0, 1]),
    ),
)


def _beta_quotient(a, b, x, orders):
    """A derivative of `betainc` over that in x: how x moves where the value stays."""
    return betainc_slope(a, b, x, orders) / betainc_slope(a, b, x, [0, 0, 1])


betaincinv = function(
    "betaincinv",
    """The x where ``betainc(a, b, x)`` is y.""",
    "a b y",
    dict(
        a=lambda grad, a, b, result: -grad * _beta_quotient(a, b, result, [1, 0, 0]),
        b=lambda grad, a, b, result: -grad * _beta_quotient(a, b, result, [0, 1, 0]),
        y=lambda grad, a, b, result: grad / betainc_slope(a, b, result, [0, 0, 1]),
    ),
)


def _inverse_gamma(name, sign):
    return pointwise(
        f"special::{name}(Tensor a, Tensor y) -> Tensor",
        f"""The x where ``{name.removesuffix("inv")}(a, x)`` is y.""",
        scalar=getattr(math, name),
        dtype=int_to_float,
        check=only("f", name),
        grad=dict(
            a=lambda grad, a, result: (
                -grad * gammainc_slope(a, result, 1) / gamma_density(a, result)
            ),
            y=lambda grad, a, result: sign * grad / gamma_density(a, result),
        ),
    )


gammaincinv = _inverse_gamma("gammaincinv", 1)
gammainccinv = _inverse_gamma("gammainccinv", -1)
