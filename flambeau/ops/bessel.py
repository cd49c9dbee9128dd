"""Bessel and Airy functions (NIST DLMF 9, 10), each differentiable through its neighbours; and
beyond PyTorch, under SciPy's names, those of any real order and Struve's.
"""

from flambeau.ir import math

from .arithmetic import conj_of
from .hypergeometric import function, more, slope
from .op import also
from .special import ANALYTIC, i0, i1, quotient, special, uncancelled

bessel_j0 = special(
    "bessel_j0",
    """The Bessel function of the first kind of order 0.""",
    lambda grad, self: -grad * bessel_j1(self),
)
jv_quotient = quotient("jv", -1)
bessel_j1 = special(
    "bessel_j1",
    """The Bessel function of the first kind of order 1.""",
    lambda grad, self: grad * (bessel_j0(self) - 0.5 * jv_quotient(self, 1.0)),
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
    lambda grad, x, result: (
        grad * uncancelled("kve", result - scaled_modified_bessel_k1(x), 0.0, x)
    ),
    math.bessel_k0e,
    "x",
)
scaled_modified_bessel_k1 = special(
    "scaled_modified_bessel_k1",
    """``exp(x)`` times `modified_bessel_k1`.""",
    lambda grad, x, result: (
        grad * uncancelled("kve", result - scaled_modified_bessel_k0(x) - result / x, 1.0, x)
    ),
    math.bessel_k1e,
    "x",
)
also(i0, "special.modified_bessel_i0")
also(i1, "special.modified_bessel_i1")
spherical_bessel_j0 = special(
    "spherical_bessel_j0",
    """``sin(x) / x``.""",
    lambda grad, x: -grad * conj_of(spherical_bessel_j1(x)),
    math.spherical_j0,
    "x",
    ANALYTIC,
)
spherical_bessel_j1 = special(
    "_spherical_bessel_j1",
    """``(sin(x) / x - cos(x)) / x``.""",
    lambda grad, x: grad * conj_of(spherical_bessel_j0(x) - 2 / 3 * spherical_quotient(x)),
    math.spherical_j1,
    "x",
    ANALYTIC,
    function=False,
)
spherical_quotient = special(
    "_spherical_quotient",
    """``3 / x`` times the spherical Bessel function of order 1.""",
    lambda grad, x: -0.2 * grad * x * jv_quotient(x, 2.5),
    math.spherical_quotient,
    "x",
    ANALYTIC,
    function=False,
)
airy_ai = special(
    "airy_ai",
    """The Airy function Ai; nan left of -2**70, where its phase would take more digits.""",
    lambda grad, x: grad * conj_of(airy_ai_prime(x)),
    argument="x",
    kinds=ANALYTIC,
)
airy_ai_prime = special(
    "_airy_ai_prime",
    """The derivative of the Airy function Ai.""",
    lambda grad, x: grad * conj_of(x * airy_ai(x)),
    math.airy_ai_prime,
    "x",
    ANALYTIC,
    function=False,
)


def of_order(name, doc, neighbours):
    """A function f of order v and argument x. `neighbours(f, x)` is its derivative in x, where f(k)
    stands for that of order v + k; the others come from Taylor series.
    """
    slopes = slope(
        name,
        "v x",
        dict(
            v=lambda grad, v, x, orders: grad * slopes(v, x, more(orders, 0)),
            x=lambda grad, v, x, orders: grad * slopes(v, x, more(orders, 1)),
        ),
    )

    def along(grad, v, x):
        near = neighbours(lambda k: made(v + k, x), x)
        return grad * (uncancelled(name, near, v, x) if name.endswith("e") else near)

    made = function(
        name, doc, "v x", dict(v=lambda grad, v, x: grad * slopes(v, x, [1, 0]), x=along)
    )
    return made


MOST = 1e300  # what keeps a difference of two infinities that of the greater
_ORDER = """ of real order v. Where it takes a recurrence, orders beyond 100,000 give nan."""
jv = of_order(
    "jv",
    """The Bessel function of the first kind""" + _ORDER,
    lambda f, x: (f(-1) - f(1)) * 0.5,
)
yv = of_order(
    "yv",
    """The Bessel function of the second kind""" + _ORDER,
    lambda f, x: (f(-1) - f(1)) * 0.5,
)
iv = of_order(
    "iv",
    """The modified Bessel function of the first kind""" + _ORDER,
    lambda f, x: (f(-1) + f(1)) * 0.5,
)
kv = of_order(
    "kv",
    """The modified Bessel function of the second kind""" + _ORDER,
    lambda f, x: (f(-1) + f(1)) * -0.5,
)
ive = of_order(
    "ive",
    """``exp(-abs(x))`` times `iv`.""",
    lambda f, x: (f(-1) + f(1)) * 0.5 - f(0) * x.sgn(),
)
kve = of_order(
    "kve",
    """``exp(x)`` times `kv`.""",
    lambda f, x: f(0).clamp(max=MOST) - (f(-1) + f(1)) * 0.5,
)
struve_slope = slope(
    "struve",
    "v x",
    dict(
        v=lambda grad, v, x, orders: grad * struve_slope(v, x, more(orders, 0)),
        x=lambda grad, v, x, orders: grad * struve_slope(v, x, more(orders, 1)),
    ),
)
struve = function(
    "struve",
    """Struve's function H of real order v > -3/2; nan for others.""",
    "v x",
    dict(
        v=lambda grad, v, x: grad * struve_slope(v, x, [1, 0]),
        x=lambda grad, v, x: grad * struve_slope(v, x, [0, 1]),
    ),
)
