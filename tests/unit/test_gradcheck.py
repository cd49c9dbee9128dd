"""gradcheck and gradgradcheck: each check finds what it is for; messages are PyTorch 2.13's."""

import pytest

import flambeau as torch
from flambeau.autograd import GradcheckError, gradcheck, gradgradcheck


def leaf():
    return torch.arange(1.0, 4.0, dtype=torch.float64).requires_grad_()


def function(forward, backward, jvp=None, materialize=True):
    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(materialize)
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)
            return forward(x)

        @staticmethod
        def backward(ctx, *grads):
            return backward(*ctx.saved_tensors, *grads)

        @staticmethod
        def jvp(ctx, tangent):
            return jvp(*ctx.saved_tensors, tangent)

    return Made.apply


def square(backward=lambda x, g: 2 * x * g, jvp=lambda x, t: 2 * x * t):
    return function(lambda x: x * x, backward, jvp)


def message(kind, action):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


fast_and_slow = pytest.mark.parametrize("fast", [False, True])


@fast_and_slow
def test_right_functions_pass(fast):
    z = torch.tensor([1 + 2j, 3j], dtype=torch.complex128, requires_grad=True)
    empty = torch.ones(0, dtype=torch.float64, requires_grad=True)
    both = {"check_forward_ad": True, "fast_mode": fast, "check_batched_grad": True}
    for func, inputs in (
        (lambda x: x.sin() * x, leaf()),
        (lambda x, y: (x * y, x.sum(), x > 1), (leaf(), leaf())),
        (lambda x: (x * 1, x.detach() * 2), leaf()),  # what needs no gradient is not looked at
        (lambda z: z * z.conj(), z),
        (lambda z: z.abs(), z),
        (lambda x: torch.complex(x, x * x), leaf()),
        (lambda x: x * x, empty),
        (square(), leaf()),
    ):
        assert gradcheck(func, inputs, **both)
    assert gradcheck(lambda x: x * x, leaf(), masked=True, fast_mode=fast)


def test_the_message_of_slow_mode():
    bad = square(lambda x, g: 3 * x * g)
    assert message(GradcheckError, lambda: gradcheck(bad, leaf())) == (
        "Jacobian mismatch for output 0 with respect to input 0,\n"
        "numerical:tensor([[2.0000, 0.0000, 0.0000],\n        [0.0000, 4.0000, 0.0000],\n"
        "        [0.0000, 0.0000, 6.0000]], dtype=torch.float64)\n"
        "analytical:tensor([[3., 0., 0.],\n        [0., 6., 0.],\n"
        "        [0., 0., 9.]], dtype=torch.float64)\n"
    )
    assert gradcheck(bad, leaf(), raise_exception=False) is False


def test_fast_mode_compares_projections():
    bad = square(lambda x, g: 3 * x * g)
    lines = message(GradcheckError, lambda: gradcheck(bad, leaf(), fast_mode=True)).splitlines()
    assert lines[0] == "Jacobian mismatch for output 0 with respect to input 0,"
    numerical, analytical = (float(line.partition(":")[2]) for line in lines[1:3])
    assert numerical * 1.5 == pytest.approx(analytical)
    assert "analytical:tensor([[3., 0., 0.]," in lines  # and then every element


def test_fast_mode_takes_a_few_runs():
    calls = []

    def counted(x):
        calls.append(1)
        return x.sin()

    x = torch.linspace(0, 1, 400, dtype=torch.float64).requires_grad_()
    assert gradcheck(counted, x, fast_mode=True, check_forward_ad=True)
    assert len(calls) < 12


def test_fast_mode_finds_one_wrong_element_among_many():
    def backward(x, g):
        found = 2 * x * g
        found[7] += g[7]
        return found

    x = torch.linspace(0, 1, 50, dtype=torch.float64).requires_grad_()
    assert not gradcheck(square(backward), x, fast_mode=True, raise_exception=False)


def test_fast_mode_scales_the_tolerance():
    # A mistake of 0.9e-5 everywhere is below atol; in a projection it adds up, and so must atol.
    shifted = square(lambda x, g: 2 * x * g + 0.9e-5 * g.sum())
    assert gradcheck(shifted, leaf(), rtol=0)
    assert gradcheck(shifted, leaf(), rtol=0, fast_mode=True)


@fast_and_slow
def test_forward_mode_is_checked(fast):
    bad = square(jvp=lambda x, t: 3 * x * t)
    assert gradcheck(bad, leaf(), fast_mode=fast)
    found = message(
        GradcheckError, lambda: gradcheck(bad, leaf(), check_forward_ad=True, fast_mode=fast)
    )
    assert found.startswith(
        "Jacobian computed with forward mode mismatch for output 0 with respect to input 0,\n"
    )
    wrong_backward = square(lambda x, g: 3 * x * g)
    only = {"check_forward_ad": True, "check_backward_ad": False, "fast_mode": fast}
    assert gradcheck(wrong_backward, leaf(), **only)


def test_undefined_gradients():
    def pair(backward):
        return function(lambda x: (x * x, x * 3), backward, materialize=False)

    def careful(x, g, h):
        parts = None if g is None else 2 * x * g, None if h is None else 3 * h
        given = [p for p in parts if p is not None]
        return sum(given[1:], given[0]) if given else None

    def ones(x, g, h):
        return torch.ones_like(x) if g is None and h is None else careful(x, g, h)

    def careless(x, g, h):
        return g * 1 if h is None and g is None else careful(x, g, h)

    assert gradcheck(pair(careful), leaf())
    assert message(GradcheckError, lambda: gradcheck(pair(ones), leaf())) == (
        "Expected all input grads to be undefined or zero when all output grads are undefined or "
        'zero. Please look at "Notes about undefined output gradients" in '
        '"tools/autograd/derivatives.yaml"'
    )
    assert message(GradcheckError, lambda: gradcheck(pair(careless), leaf())) == (
        'Expected backward function to handle undefined output grads. Please look at "Notes about '
        'undefined output gradients" in "tools/autograd/derivatives.yaml"'
    )
    assert gradcheck(pair(ones), leaf(), check_undefined_grad=False)


@fast_and_slow
def test_backwards_that_change(fast):
    count = [0]

    def backward(x, g):
        count[0] += 1
        return 2 * x * g + 1e-9 * count[0] * g

    assert message(
        GradcheckError, lambda: gradcheck(square(backward), leaf(), fast_mode=fast)
    ).startswith(
        "Backward is not reentrant, i.e., running backward with same input and grad_output "
        "multiple times gives different values, although analytical gradient matches numerical "
        "gradient.The tolerance for nondeterminism was 0.0."
    )
    assert gradcheck(square(backward), leaf(), fast_mode=fast, nondet_tol=1e-3)


def test_backwards_that_are_not_linear():
    constant = square(lambda x, g: 2 * x * g + 1e-7)
    assert message(GradcheckError, lambda: gradcheck(constant, leaf())) == (
        "backward not multiplied by grad_output"
    )


@fast_and_slow
def test_outputs_without_history(fast):
    assert message(
        GradcheckError, lambda: gradcheck(lambda x: x.detach(), leaf(), fast_mode=fast)
    ) == ("Numerical gradient for function expected to be zero")
    assert gradcheck(lambda x: torch.ones(2), leaf(), fast_mode=fast)


def test_what_contradicts_itself():
    for text, options in (
        (
            "Expected at least one of check_forward_ad or check_backward_ad to be True",
            {"check_backward_ad": False},
        ),
        (
            "Setting check_batched_grad=True requires check_backward_ad to be True",
            {"check_backward_ad": False, "check_forward_ad": True, "check_batched_grad": True},
        ),
        (
            "Setting check_batched_forward_grad=True requires check_forward_ad to be True",
            {"check_batched_forward_grad": True},
        ),
    ):
        with pytest.raises(AssertionError) as caught:
            gradcheck(lambda x: x, leaf(), **options)
        assert str(caught.value) == text
    for text, options in (
        (
            "Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True",
            {"check_rev_over_rev": False},
        ),
        (
            "Setting check_undefined_grad=True requires check_rev_over_rev to be True",
            {"check_rev_over_rev": False, "check_fwd_over_rev": True},
        ),
    ):
        with pytest.raises(AssertionError) as caught:
            gradgradcheck(lambda x: x, leaf(), **options)
        assert str(caught.value) == text
    with pytest.raises(NotImplementedError, match="vmap"):
        gradcheck(lambda x: x, leaf(), check_forward_ad=True, check_batched_forward_grad=True)


@fast_and_slow
def test_second_derivatives(fast):
    def cube(x):
        return x**3

    assert gradgradcheck(cube, leaf(), fast_mode=fast)
    assert gradgradcheck(cube, leaf(), fast_mode=fast, check_fwd_over_rev=True)
    assert gradgradcheck(
        cube,
        leaf(),
        fast_mode=fast,
        check_fwd_over_rev=True,
        check_rev_over_rev=False,
        check_undefined_grad=False,
    )
    assert gradgradcheck(cube, leaf(), fast_mode=fast, gen_non_contig_grad_outputs=True)
    weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(cube, leaf(), weights, fast_mode=fast)
    once = square(lambda x, g: (2 * x * g).detach() + 0 * x * g)
    assert gradcheck(once, leaf(), fast_mode=fast)
    assert not gradgradcheck(once, leaf(), fast_mode=fast, raise_exception=False)
