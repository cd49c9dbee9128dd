"""Every op compiled gives what the op gives eagerly, bit for bit, forward and backward."""

import numpy
import pytest
from samples import OPS, calls
from test_properties import UNWRITTEN, array, flat, fresh, mapped, tensors

import flambeau as torch
from flambeau.graph import compile

CASES = [(key, text) for key in OPS for text in calls(key) if key not in UNWRITTEN]
# Ops that are no part of a program: they are about elements, the shape of their results is, or they
# look at elements to refuse some.
BREAKS = {
    "_nonzero", "nonzero", "argwhere", "masked_select", "_rows_where", "unique",
    "unique_consecutive", "_tally", "_repeated", "repeat_interleave: X(3), N(1, 0, 2)",
    "bincount", "histc", "embedding_renorm_", "allclose", "_distinct", "_unique", "equal", "istft",
    "ctc_loss.Tensor", "index: X(3, 4), [B(3)]",
}  # fmt: skip


def wanting(call):
    """The same arguments, gradients wanted where they can be."""
    return mapped(
        lambda t: t.detach().requires_grad_() if t.is_floating_point() or t.is_complex() else t,
        call,
    )


def run(function, call, seed):
    """The results, the gradients of the arguments, the arguments afterwards, the next draw."""
    torch.manual_seed(seed)
    out = flat(function(*call.args, **call.kwargs))
    wanted = [t for t in out if isinstance(t, torch.Tensor) and t.requires_grad]
    given = [t for t in tensors(call) if t.requires_grad]
    grads = []
    if wanted:
        seeds = [torch.full_like(t, 0.5) for t in wanted]
        grads = torch.autograd.grad(wanted, given, seeds, allow_unused=True)
    orders = [t.stride() for t in out if isinstance(t, torch.Tensor)]
    return [*out, *orders, *grads, *tensors(call), torch.rand(1)]


def equal(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        if not isinstance(b, torch.Tensor):
            assert a is b or a == b or (a != a and b != b)
            continue
        assert (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
        numpy.testing.assert_array_equal(array(a), array(b))


@pytest.mark.parametrize(("key", "text"), [pytest.param(*c, id=": ".join(c)) for c in CASES])
def test_compiled_ops(key, text):
    door = OPS[key].door
    for wants in (False, True):
        compiled = compile(door)
        for k in range(4):
            make = wanting if wants else (lambda call: call)
            try:
                expected = run(door, make(fresh(key, text, torch.float32)), k)
            except (RuntimeError, NotImplementedError, TypeError):
                if wants:
                    return  # it has no derivative
                expected = run(door, fresh(key, text), k)
                make = lambda call: fresh(key, text)  # noqa: E731
            equal(run(compiled, make(fresh(key, text, torch.float32)), k), expected)
        entries = compiled._entries.values()
        reasons = {e.reason.split("\n")[0] for e in entries if e.reason}
        assert not reasons or key in BREAKS or f"{key}: {text}" in BREAKS, reasons
