"""Functions whose derivatives in parameters have no closed form: these are computed as the
functions themselves are, on Taylor series. Beyond PyTorch; names and arguments are SciPy's.
"""

from flambeau.ir import math

from .family import pointwise
from .family.pointwise import int_to_float
from .special import REAL, only


def more(orders, axis):
    """These orders of derivation, with one more along `axis`."""
    return [n + (i == axis) for i, n in enumerate(orders)]


def function(name, doc, operands, grad, **options):
    """A function of several real operands."""
    schema = ", ".join(f"Tensor|Scalar {a}" for a in operands.split())
    return pointwise(
        f"special::{name}({schema}) -> Tensor",
        doc,
        scalar=getattr(math, name),
        dtype=int_to_float,
        check=only(REAL, name),
        grad=grad,
        **options,
    )


def slope(name, operands, grad):
    """The op of the derivatives of a function, of any order in every operand."""
    schema = ", ".join(f"Tensor|Scalar {a}" for a in operands.split())
    return pointwise(
        f"special::_{name}_slope({schema}, int[] orders) -> Tensor",
        f"""The derivative of `{name}` of these orders.""",
        scalar=getattr(math, f"{name}_slope"),
        dtype=int_to_float,
        grad=grad,
        function=False,
    )


hyp2f1_slope = slope(
    "hyp2f1",
    "a b c x",
    dict(
        a=lambda grad, a, b, c, x, orders: grad * hyp2f1_slope(a, b, c, x, more(orders, 0)),
        b=lambda grad, a, b, c, x, orders: grad * hyp2f1_slope(a, b, c, x, more(orders, 1)),
        c=lambda grad, a, b, c, x, orders: grad * hyp2f1_slope(a, b, c, x, more(orders, 2)),
        x=lambda grad, a, b, c, x, orders: grad * hyp2f1_slope(a, b, c, x, more(orders, 3)),
    ),
)
hyp2f1 = function(
    "hyp2f1",
    """Gauss' hypergeometric function F(a, b; c; x) on the real line; nan where x is above 1 and the
    series does not end, and where cancellation leaves too few digits (parameters of some dozens and
    of either sign; a series that ends, of x beyond 1e50; denormal c).
    """,
    "a b c x",
    dict(
        a=lambda grad, a, b, c, x: grad * hyp2f1_slope(a, b, c, x, [1, 0, 0, 0]),
        b=lambda grad, a, b, c, x: grad * hyp2f1_slope(a, b, c, x, [0, 1, 0, 0]),
        c=lambda grad, a, b, c, x: grad * hyp2f1_slope(a, b, c, x, [0, 0, 1, 0]),
        x=lambda grad, a, b, c, x: grad * hyp2f1(a + 1, b + 1, c + 1, x) * (a * b / c),
    ),
)
