"""Comparisons: bool results."""

from .family import pointwise
from .family.pointwise import to_bool
from .op import also


def _compare(name, doc, scalar):
    return pointwise(
        f"aten::{name}(Tensor self, Tensor|Scalar other) -> Tensor",
        doc,
        scalar=scalar,
        dtype=to_bool,
    )


eq = _compare("eq", """Whether elements are equal.""", lambda self, other: self.equals(other))
ne = _compare("ne", """Whether elements differ.""", lambda self, other: self.differs(other))
lt = _compare("lt", """``self < other``.""", lambda self, other: self < other)
le = _compare("le", """``self <= other``.""", lambda self, other: self <= other)
gt = _compare("gt", """``self > other``.""", lambda self, other: self > other)
ge = _compare("ge", """``self >= other``.""", lambda self, other: self >= other)
for _op, _name in (
    (ne, "not_equal"),
    (lt, "less"),
    (le, "less_equal"),
    (gt, "greater"),
    (ge, "greater_equal"),
):
    also(_op, _name)
