"""Exponential families."""

from flambeau.tensor import engine

from .distribution import Distribution
from .utils import _sum_rightmost

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """Densities ``exp(<t(x), theta> - A(theta) + k(x))``.

    A subclass gives theta (`_natural_params`), A (`_log_normalizer`) and the mean of k
    (`_mean_carrier_measure`); entropies and divergences follow from derivatives of A (Nielsen and
    Nock, ICIP 2010).
    """

    @property
    def _natural_params(self):
        raise NotImplementedError

    def _log_normalizer(self, *natural_params):
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self):
        raise NotImplementedError

    def _normalizer_and_slopes(self):
        """The natural parameters as leaves, A there, and its derivatives: the means of t(x)."""
        params = [p.detach().requires_grad_() for p in self._natural_params]
        value = self._log_normalizer(*params)
        return params, value, engine.grad(value.sum(), params, create_graph=True)

    def entropy(self):
        params, result, slopes = self._normalizer_and_slopes()
        result = result - self._mean_carrier_measure
        for param, slope in zip(params, slopes):
            product = param * slope
            result = result - _sum_rightmost(product, product.dim() - len(self._batch_shape))
        return result
