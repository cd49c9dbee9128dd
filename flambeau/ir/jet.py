"""Truncated Taylor series in some arguments, as one value: what derivatives in parameters of
special functions are computed with, where no formula gives them (A. Griewank & A. Walther,
Evaluating Derivatives, 2008, ch. 13).

A body that is written for `twofold.Numbers` runs on `Jets` unchanged.
"""

import math
from collections.abc import Callable, Sequence

from .loop import Expr, cast, float32, float64, rint
from .math_pieces import at_least, at_most, scale
from .twofold import Numbers, Twofold


class Jet:
    """Coefficients of the powers of one variable: expressions, or jets in the next variables."""

    __slots__ = ("terms",)

    def __init__(self, terms):
        self.terms = list(terms)

    def __add__(self, other):
        if isinstance(other, Jet):
            return Jet(a + b for a, b in zip(self.terms, other.terms, strict=True))
        return Jet([self.terms[0] + other, *self.terms[1:]])

    __radd__ = __add__

    def __neg__(self):
        return Jet(-a for a in self.terms)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        if not isinstance(other, Jet):
            return Jet(a * other for a in self.terms)
        a, b = self.terms, other.terms
        return Jet(_convolution(a, b, i, 0) for i in range(len(a)))

    __rmul__ = __mul__

    def __truediv__(self, other):
        if not isinstance(other, Jet):
            return Jet(a / other for a in self.terms)
        made: list = []
        for i, a in enumerate(self.terms):
            rest = a - _convolution(other.terms, made, i, 1) if i else a
            made.append(rest / other.terms[0])
        return Jet(made)

    def __rtruediv__(self, other):
        return Jet([self.terms[0] * 0.0 + other, *(a * 0.0 for a in self.terms[1:])]) / self


def _convolution(a, b, i, first):
    """The sum of a[k] b[i - k] from k = first on."""
    total = a[first] * b[i - first]
    for k in range(first + 1, i + 1):
        total = total + a[k] * b[i - k]
    return total


def _exp(v, base: Numbers):
    """The exponential by its differential equation."""
    if not isinstance(v, Jet):
        return base.exp(v)
    made = [_exp(v.terms[0], base)]
    for n in range(1, len(v.terms)):
        weighted = [a * float(k) for k, a in enumerate(v.terms)]
        made.append(_convolution(weighted, made, n, 1) * base.ratio(1, n))
    return Jet(made)


def _log(v, base: Numbers):
    if not isinstance(v, Jet):
        return base.log(v)
    made = [_log(v.terms[0], base)]
    for n in range(1, len(v.terms)):
        rest = v.terms[n]
        for k in range(1, n):
            rest = rest - made[k] * v.terms[n - k] * base.ratio(k, n)
        made.append(rest / v.terms[0])
    return Jet(made)


def _sqrt(v, base: Numbers):
    if not isinstance(v, Jet):
        return base.sqrt(v)
    made = [_sqrt(v.terms[0], base)]
    for n in range(1, len(v.terms)):
        rest = v.terms[n]
        for k in range(1, n):
            rest = rest - made[k] * made[n - k]
        made.append(rest / (made[0] * 2.0))
    return Jet(made)


def _flat(v) -> list:
    return [e for a in v.terms for e in _flat(a)] if isinstance(v, Jet) else [v]


class Jets(Numbers):
    """Jets of given orders in given variables, over numbers of twice the precision."""

    def __init__(self, orders: Sequence[int]):
        self.precise, self.orders = True, tuple(orders)
        self.base, self.least = Numbers(True), 2.0**-64  # later coefficients settle later
        self.count = math.prod(n + 1 for n in orders)

    def _made(self, numbers, orders=None):
        orders = self.orders if orders is None else orders
        if not orders:
            return next(numbers)
        return Jet(self._made(numbers, orders[1:]) for _ in range(orders[0] + 1))

    def of(self, x):
        if isinstance(x, Jet):
            return x
        zeros = [self.base.of(0.0)] * (self.count - 1)
        return self._made(iter([x if isinstance(x, Twofold) else self.base.of(x), *zeros]))

    def variable(self, x: Expr, axis: int):
        """x, which varies along `axis`."""
        numbers = [self.base.of(x), *[self.base.of(0.0)] * (self.count - 1)]
        if self.orders[axis]:
            numbers[math.prod(n + 1 for n in self.orders[axis + 1 :])] = self.base.of(1.0)
        return self._made(iter(numbers))

    def sum(self, a, b):
        return self.of(a) + b

    def pack(self, *numbers):
        return self.base.pack(*(a for v in numbers for a in _flat(v)))

    def unpack(self, parts):
        numbers = iter(self.base.unpack(parts))
        return [self._made(numbers) for _ in range(len(parts) // (2 * self.count))]

    def lead(self, v):
        return self.base.lead(_flat(v)[0])

    def size(self, v):
        return sum(map(self.base.size, _flat(v)[1:]), abs(self.lead(v)))

    def plain(self, v):
        """The derivative that was asked for."""
        factor = float(math.prod(map(math.factorial, self.orders)))
        return self.base.plain(_flat(v)[-1]) * factor

    def scaled(self, v, factor):
        return self._made(iter([self.base.scaled(a, factor) for a in _flat(v)]))

    def constant(self, name):
        return self.of(self.base.constant(name))

    def ratio(self, numerator, denominator):
        return self.of(self.base.ratio(numerator, denominator))

    def exp_parts(self, v, bound=1400.0):
        k = rint(at_most(at_least(self.lead(v), -bound), bound) * (1.0 / math.log(2)))
        return _exp(v - self.base.constant("log2") * k, self.base), k

    def exp(self, v):
        return _exp(v, self.base)

    def log(self, v):
        return _log(v, self.base)

    def sqrt(self, v):
        return _sqrt(v, self.base)

    def select(self, condition, yes, no):
        pairs = zip(_flat(self.of(yes)), _flat(self.of(no)), strict=True)
        return self._made(iter([self.base.select(condition, a, b) for a, b in pairs]))


def slope(body: Callable, orders: Sequence[int], *arguments: Expr) -> Expr:
    """The derivative of these orders of `body(numbers, *arguments)`."""
    jets = Jets(orders)
    given = [jets.variable(cast(a, float64), axis) for axis, a in enumerate(arguments)]
    return cast(jets.plain(body(jets, *given)), arguments[0].dtype)


def value(body: Callable, *arguments: Expr, precise=None) -> Expr:
    """`body(numbers, *arguments)` itself, to the precision of the arguments' type, or `precise`
    enough for float64.
    """
    numbers = Numbers(arguments[0].dtype is not float32 if precise is None else precise)
    wide = [numbers.of(cast(a, float64)) for a in arguments]
    return cast(numbers.plain(body(numbers, *wide)), arguments[0].dtype)


def rescaled(numbers, v, k: Expr):
    """v 2**k, of each part."""
    return numbers.unpack([scale(part, k) for part in numbers.pack(v)])[0]
