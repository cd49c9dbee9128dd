"""Sobol' sequences: PyTorch's `torch.quasirandom`.

I. M. Sobol', "On the distribution of points in a cube", USSR Comput. Math. Math. Phys. 7 (1967);
the order of points by Gray code is that of I. A. Antonov and V. M. Saleev (1979); the direction
numbers are those that S. Joe and F. Y. Kuo published, "Constructing Sobol sequences with better
two-dimensional projections", SIAM J. Sci. Comput. 30 (2008), under the licence in joe_kuo.txt.
"""

import functools
import pathlib

from flambeau._base import numpy
from flambeau.ops import adopt, modes, ndarray

from . import chance
from .creation import as_dtype

BITS = 30  # of a coordinate
MOST_DIMENSIONS = 21201
MOST_POINTS = 1 << BITS
FLOATS = ("float32", "float64")


@functools.cache
def _published():
    """The primitive polynomials, as bits, and the free bits of the direction numbers: the k-th
    of a dimension is odd and below 2^k, so it has k - 1 of them, lowest first.
    """
    with numpy.load(pathlib.Path(__file__).with_name("joe_kuo.npz")) as file:
        polynomials = 1 + numpy.cumsum(file["polynomials"], dtype=numpy.int64)
        return polynomials, numpy.unpackbits(file["numbers"])


def direction_numbers(dimension):
    """The direction numbers of that many dimensions, int64 [dimension, BITS]."""
    polynomials, bits = _published()
    # Bratley and Fox, "Algorithm 659", ACM Trans. Math. Softw. 14 (1988), section 2.
    found = numpy.ones((dimension, BITS), numpy.int64)
    first, taken = 1, 0
    for degree in range(1, int(polynomials[-1]).bit_length()):
        last = 1 + numpy.searchsorted(polynomials, 2 << degree)
        rows = polynomials[first - 1 : min(last, dimension) - 1]
        free = degree * (degree - 1) // 2
        own = bits[taken : taken + len(rows) * free].reshape(len(rows), free).astype(numpy.int64)
        m, at = found[first : first + len(rows)], 0
        for k in range(1, degree):
            m[:, k] = 1 + (own[:, at : at + k] << numpy.arange(1, k + 1)).sum(1)
            at += k
        for j in range(degree, BITS):
            m[:, j] = m[:, j - degree]
            for k in range(1, degree + 1):
                m[:, j] ^= ((rows >> (degree - k)) & 1) * (m[:, j - k] << k)
        first, taken = last, taken + (last - first) * free
        if first >= dimension:
            break
    return found << numpy.arange(BITS - 1, -1, -1)


def _scrambled(directions, generator):
    """(directions, shift) of a random linear scramble and a digital shift: J. Matoušek, "On the
    L2-discrepancy for anchored boxes", J. Complexity 14 (1998).
    """
    dimension = len(directions)
    bits = ndarray(chance.randint(2, (dimension, BITS), generator=generator))
    shift = (bits << numpy.arange(BITS)).sum(1)
    draws = ndarray(chance.randint(2, (dimension, BITS, BITS), generator=generator))
    # Unit lower triangular matrices on the bits of the numbers, the highest first.
    mix = numpy.tril(draws, -1).astype(numpy.float32) + numpy.eye(BITS, dtype=numpy.float32)
    places = numpy.arange(BITS - 1, -1, -1)
    columns = ((directions[:, None, :] >> places[:, None]) & 1).astype(numpy.float32)
    mixed = (mix @ columns).astype(numpy.int64) & 1
    return (mixed << places[:, None]).sum(1), shift


class SobolEngine:
    """A generator of points of the Sobol' sequence in [0, 1)^dimension, for 1 to 21201 dimensions.

    With `scramble`, the points are those of a randomly scrambled sequence, which has the same
    balance; `seed` makes it the same every time, and without one the default generator draws it.
    At most 2^30 points. ValueError for other numbers of dimensions.
    """

    MAXBIT = BITS
    MAXDIM = MOST_DIMENSIONS

    def __init__(self, dimension, scramble=False, seed=None):
        if not 1 <= dimension <= MOST_DIMENSIONS:
            raise ValueError(
                "Supported range of dimensionality for SobolEngine is "
                f"[1, {MOST_DIMENSIONS}], got {dimension}"
            )
        self.seed, self.scramble, self.dimension = seed, scramble, dimension
        directions, shift = direction_numbers(dimension), numpy.zeros(dimension, numpy.int64)
        if scramble:
            generator = None if seed is None else chance.Generator().manual_seed(seed)
            directions, shift = _scrambled(directions, generator)
        self.sobolstate, self.shift = adopt(directions), adopt(shift)
        self.reset()

    def reset(self):
        """Starts the sequence again; returns the engine."""
        self.quasi, self.num_generated = self.shift.clone(), 0
        return self

    def draw(self, n=1, out=None, dtype=None):
        """The next `n` points, [n, dimension], in float32 or float64 (`dtype`, the default dtype if
        None), into `out` where given.
        """
        kind = as_dtype(dtype) or modes.defaults.dtype
        if kind.name not in FLOATS:
            raise NotImplementedError(f"Sobol' points are float32 or float64, not {kind}")
        made = adopt(self._next(n)).to(kind) * 2.0**-BITS
        if out is None:
            return made
        return out.resize_(made.shape).copy_(made)

    def draw_base2(self, m, out=None, dtype=None):
        """The next 2^m points: as `draw`. ValueError where the number of all points would be no
        power of 2, on which the balance of the points depends.
        """
        n = 1 << m
        total = self.num_generated + n
        if total & (total - 1):
            raise ValueError(
                "The balance properties of Sobol' points require n to be a power of 2. "
                f"{self.num_generated} points have been previously generated, then: "
                f"n={self.num_generated}+2**{m}={total}. If you still want to do this, please use "
                "'SobolEngine.draw()' instead."
            )
        return self.draw(n, out=out, dtype=dtype)

    def fast_forward(self, n):
        """Leaves out the next `n` points; returns the engine."""
        # The state after many points is a sum over the bits of the Gray code of their number.
        place = max(self._checked(n) - 1, 0)
        gray = place ^ (place >> 1)
        chosen = [k for k in range(BITS) if gray >> k & 1]
        state = numpy.bitwise_xor.reduce(ndarray(self.sobolstate)[:, chosen], axis=1)
        self.quasi = adopt(state ^ ndarray(self.shift))
        self.num_generated += n
        return self

    def _checked(self, n):
        """The number of points after `n` more."""
        if n.__class__ is not int:
            raise TypeError(f"the number of points must be int, not {type(n).__name__}")
        if n < 0:
            raise ValueError(f"the number of points must not be negative, got {n}")
        total = self.num_generated + n
        if total > MOST_POINTS:
            raise ValueError(f"the sequence has 2**{BITS} points, and {total} were asked for")
        return total

    def _next(self, n):
        """The next `n` points, in units of 2^-BITS: int64 [n, dimension]."""
        total = self._checked(n)
        rows = numpy.empty((n, self.dimension), numpy.int64)
        if n == 0:
            return rows
        # A point differs from the one before it by the direction number of its lowest 1 bit.
        numbers = numpy.arange(max(self.num_generated, 1), total)
        lowest = numpy.bitwise_count((numbers & -numbers) - 1)
        begins = self.num_generated == 0
        state = ndarray(self.quasi)
        if begins:
            rows[0] = state
        following = rows[int(begins) :]
        numpy.take(ndarray(self.sobolstate).T, lowest, axis=0, out=following)
        if len(following):
            following[0] ^= state
            numpy.bitwise_xor.accumulate(following, axis=0, out=following)
        self.quasi = adopt(rows[-1].copy())
        self.num_generated = total
        return rows

    def __repr__(self):
        text = f"dimension={self.dimension}"
        text += ", scramble=True" if self.scramble else ""
        text += f", seed={self.seed}" if self.seed is not None else ""
        return f"SobolEngine({text})"


__all__ = ["SobolEngine"]
