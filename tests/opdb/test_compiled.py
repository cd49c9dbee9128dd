"""Every op compiled gives what the op gives eagerly, bit for bit, forward and backward."""

import numpy
import pytest
from samples import OPS, calls
from test_properties import UNWRITTEN, array, flat, fresh, mapped, tensors

import flambeau as torch
from flambeau.graph import compile

CASES = [(key, text) for key in OPS for text in calls(key) if key not in UNWRITTEN]
# Ops that cannot be part of a program: their results have a shape, or are no tensors, by what the
# elements are.
BREAKS = set()


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
    return [*out, *grads, *tensors(call), torch.rand(1)]


def equal(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        if not isinstance(b, torch.Tensor):
            assert a is b or a == b or (a != a and b != b)
            continue
        assert (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
        assert a.stride() == b.stride()
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
        assert (bool(reasons)) == (key in BREAKS), reasons
