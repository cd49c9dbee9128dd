"""Bessel and Airy functions (NIST DLMF 9, 10), each differentiable through its neighbours; and
beyond PyTorch, under SciPy's names, those of any real order and Struve's.
"""

from flambeau.ir import math

from .hypergeometric import function, more, slope
from .op import also
from .special import i0, i1, over, special

bessel_j0 = special(
    "bessel_j0",
    """The Bessel function of the first kind of order 0.""",
    lambda grad, self: -grad * bessel_j1(self),
)
bessel_j1 = special(
    "bessel_j1",
    """The Bessel function of the first kind of order 1.""",
    lambda grad, self, result: grad * (bessel_j0(self) - over(result, self)),
)
bessel_y0 = special(
    "bessel_y0",
    """The Bessel function of the second kind of order 0; nan below 0.""",
    lambda grad, self: -grad * bessel_y1(self),
)
bessel_y1 = special(
    "bessel_y1",
    """The Bessel function of the second kind of order 1; nan below 0.""",
    lambda grad, self, result: grad * (bessel_y0(self) - result / self),
)
modified_bessel_k0 = special(
    "modified_bessel_k0",
    """The modified Bessel function of the second kind of order 0; nan below 0.""",
    lambda grad, self: -grad * modified_bessel_k1(self),
    math.bessel_k0,
)
modified_bessel_k1 = special(
    "modified_bessel_k1",
    """The modified Bessel function of the second kind of order 1; nan below 0.""",
    lambda grad, self, result: -grad * (modified_bessel_k0(self) + result / self),
    math.bessel_k1,
)
scaled_modified_bessel_k0 = special(
    "scaled_modified_bessel_k0",
    """``exp(x)`` times `modified_bessel_k0`.""",
    lambda grad, x, result: grad * (result - scaled_modified_bessel_k1(x)),
    math.bessel_k0e,
    "x",
)
scaled_modified_bessel_k1 = special(
    "scaled_modified_bessel_k1",
    """``exp(x)`` times `modified_bessel_k1`.""",
    lambda grad, x, result: grad * (result - scaled_modified_bessel_k0(x) - result / x),
    math.bessel_k1e,
    "x",
)
also(i0, "special.modified_bessel_i0")
also(i1, "special.modified_bessel_i1")
spherical_bessel_j0 = special(
    "spherical_bessel_j0",
    """``sin(x) / x``.""",
    lambda grad, x: -grad * spherical_bessel_j1(x),
    math.spherical_j0,
    "x",
)
spherical_bessel_j1 = special(
    "_spherical_bessel_j1",
    """``(sin(x) / x - cos(x)) / x``.""",
    lambda grad, x, result: grad * (spherical_bessel_j0(x) - 2 * over(result, x, 1 / 3)),
    math.spherical_j1,
    "x",
    function=False,
)
airy_ai = special(
    "airy_ai",
    """The Airy function Ai.""",
    lambda grad, x: grad * airy_ai_prime(x),
    argument="x",
)
airy_ai_prime = special(
    "_airy_ai_prime",
    """The derivative of the Airy function Ai.""",
    lambda grad, x: grad * x * airy_ai(x),
    math.airy_ai_prime,
    "x",
    function=False,
)


def of_order(name, doc):
    """A function of order and argument, differentiable in both: by Taylor series (see
    `hypergeometric`).
    """

    slopes = slope(
        name,
        "v x",
        dict(
            v=lambda grad, v, x, orders: grad * slopes(v, x, more(orders, 0)),
            x=lambda grad, v, x, orders: grad * slopes(v, x, more(orders, 1)),
        ),
    )
    return function(
        name,
        doc,
        "v x",
        dict(
            v=lambda grad, v, x: grad * slopes(v, x, [1, 0]),
            x=lambda grad, v, x: grad * slopes(v, x, [0, 1]),
        ),
    )


_ORDER = """ of real order v. Where it takes a recurrence, orders beyond 100,000 give nan."""
jv = of_order("jv", """The Bessel function of the first kind""" + _ORDER)
yv = of_order("yv", """The Bessel function of the second kind""" + _ORDER)
iv = of_order("iv", """The modified Bessel function of the first kind""" + _ORDER)
kv = of_order("kv", """The modified Bessel function of the second kind""" + _ORDER)
ive = of_order("ive", """``exp(-abs(x))`` times `iv`.""")
kve = of_order("kve", """``exp(x)`` times `kv`.""")
struve = of_order(
    "struve",
    """Struve's function H of real order v > -3/2; nan for others. Digits are lost where v is above
    100 and x between v/2 and v.
    """,
)
