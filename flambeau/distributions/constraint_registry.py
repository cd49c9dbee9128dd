"""Which transform leads from free parameters to a constrained set.

``biject_to(constraint)`` is a bijection, ``transform_to(constraint)`` any smooth map onto the set,
often a simpler one: for optimisation that is enough.
"""

from numbers import Number

from . import constraints, transforms

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]


class ConstraintRegistry:
    """Maps the classes of constraints to functions that make the transform of one."""

    def __init__(self):
        self._registry = {}

    def register(self, constraint, factory=None):
        """Registers ``factory(constraint)`` for a constraint's class; without it, a decorator.

        Raises TypeError where `constraint` is no constraint.
        """
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        kind = type(constraint) if isinstance(constraint, constraints.Constraint) else constraint
        if not (isinstance(kind, type) and issubclass(kind, constraints.Constraint)):
            raise TypeError(
                "Expected constraint to be either a Constraint subclass or instance, but got "
                f"{constraint}"
            )
        self._registry[kind] = factory
        return factory

    def __call__(self, constraint):
        """The transform for a constraint. Raises NotImplementedError where none is known."""
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to = ConstraintRegistry()
transform_to = ConstraintRegistry()


def _register(*kinds, to=(biject_to, transform_to)):
    def decorate(factory):
        for registry in to:
            for kind in kinds:
                registry.register(kind, factory)
        return factory

    return decorate


@_register(constraints.real)
def _real(constraint):
    return transforms.identity_transform


@_register(constraints.greater_than, constraints.greater_than_eq)
def _above(constraint):
    return _shifted(transforms.ExpTransform(), constraint.lower_bound, 1)


@_register(constraints.less_than)
def _below(constraint):
    return _shifted(transforms.ExpTransform(), constraint.upper_bound, -1)


@_register(constraints.interval, constraints.half_open_interval)
def _between(constraint):
    low, high = constraint.lower_bound, constraint.upper_bound
    if isinstance(low, Number) and isinstance(high, Number) and (low, high) == (0, 1):
        return transforms.SigmoidTransform()
    return _shifted(transforms.SigmoidTransform(), low, high - low)


def _shifted(transform, loc, scale):
    return transforms.ComposeTransform([transform, transforms.AffineTransform(loc, scale)])


_register(constraints.simplex, to=[biject_to])(lambda _: transforms.StickBreakingTransform())
_register(constraints.simplex, to=[transform_to])(lambda _: transforms.SoftmaxTransform())
_register(constraints.lower_cholesky, to=[transform_to])(
    lambda _: transforms.LowerCholeskyTransform()
)
_register(constraints.positive_definite, constraints.positive_semidefinite, to=[transform_to])(
    lambda _: transforms.PositiveDefiniteTransform()
)
_register(constraints.corr_cholesky)(lambda _: transforms.CorrCholeskyTransform())


def _register_composed(registry):
    """Constraints that are made of others have the transforms of these."""

    @registry.register(constraints.independent)
    def independent(constraint):
        return transforms.IndependentTransform(
            registry(constraint.base_constraint), constraint.reinterpreted_batch_ndims
        )

    @registry.register(constraints.cat)
    def cat(constraint):
        parts = [registry(c) for c in constraint.cseq]
        return transforms.CatTransform(parts, constraint.dim, constraint.lengths)

    @registry.register(constraints.stack)
    def stack(constraint):
        return transforms.StackTransform([registry(c) for c in constraint.cseq], constraint.dim)


_register_composed(biject_to)
_register_composed(transform_to)
