"""The von Mises distribution."""

import math

from flambeau.tensor import no_grad

from . import constraints
from .distribution import Distribution
from .operations import i0e, i1e, rand, zeros_like

__all__ = ["VonMises"]


def _proposal(kappa):
    """The parameter of the wrapped Cauchy density that candidates are drawn from."""
    tau = 1 + (1 + 4 * kappa.square()).sqrt()
    rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
    return (1 / kappa + kappa).where(kappa < 1e-5, (1 + rho.square()) / (2 * rho))


class VonMises(Distribution):
    """Angles around `loc`, with density in proportion to ``exp(concentration * cos(x - loc))``."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real

    def __init__(self, loc, concentration, validate_args=None):
        self._take(validate_args, loc=loc, concentration=concentration)

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        """The circular variance: 1 minus the length of the mean direction."""
        return 1 - i1e(self.concentration) / i0e(self.concentration)

    def log_prob(self, value):
        self._check(value)
        # The cosine minus 1, so that nothing cancels where the concentration is high.
        below = -2 * ((value - self.loc) / 2).sin().square()
        return self.concentration * below - math.log(2 * math.pi) - i0e(self.concentration).log()

    def sample(self, sample_shape=()):
        """By rejection, in double precision (Best and Fisher, Applied Statistics 28, 1979)."""
        with no_grad():
            loc, kappa = self.loc.double(), self.concentration.double()
            r, shape = _proposal(kappa), self._extended_shape(sample_shape)
            x = loc.new_zeros(shape)
            done = zeros_like(x) > 0
            while not done.all():
                u1, u2, u3 = rand((3, *shape), dtype=loc.dtype, device=loc.device).unbind()
                z = (math.pi * u1).cos()
                f = (1 + r * z) / (r + z)
                c = kappa * (r - f)
                accepted = (c * (2 - c) - u2 > 0) | ((c / u2).log() + 1 - c >= 0)
                x = ((u3 - 0.5).sign() * f.acos()).where(accepted, x)
                done |= accepted
            return ((x + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)
