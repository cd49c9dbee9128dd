"""Functions of the user's own, gradient checks, Jacobians and Hessians."""

import gc
import weakref

import numpy
import pytest

import flambeau as torch
from flambeau.autograd import Function, functional, gradcheck, gradgradcheck
from flambeau.autograd.function import once_differentiable


def leaf(*values):
    return torch.tensor(list(values), dtype=torch.float64).requires_grad_()


def values(tensor):
    return tensor.detach().numpy().tolist()


class Cube(Function):
    @staticmethod
    def forward(ctx, x, scale=1):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        assert ctx.needs_input_grad[1:] == (False,) * (len(ctx.needs_input_grad) - 1)
        return (grad * 3 * x * x * ctx.scale, None)[: len(ctx.needs_input_grad)]


class Ratio(Function):
    """Saves a result, and is split into forward and setup_context."""

    @staticmethod
    def forward(a, b):
        return a / b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[1], output)

    @staticmethod
    def backward(ctx, grad):
        b, result = ctx.saved_tensors
        return grad / b, -grad * result / b


def test_first_and_second_derivatives_of_functions():
    assert gradcheck(Cube.apply, leaf(1.0, -2.0))
    assert gradgradcheck(lambda x: Cube.apply(x, 2), leaf(1.0, -2.0))
    assert gradcheck(Ratio.apply, (leaf(1.0, -2.0), leaf(3.0, 0.5)))
    assert gradgradcheck(Ratio.apply, (leaf(1.0, -2.0), leaf(3.0, 0.5)))


def test_names_and_no_cycle():
    gc.disable()
    try:
        a, b = leaf(1.0), leaf(2.0)
        y = Ratio.apply(a, b)
        assert y.grad_fn.name() == type(y.grad_fn).__name__ == "RatioBackward"
        reference = weakref.ref(y.grad_fn)
        del y
        assert reference() is None
    finally:
        gc.enable()


def test_several_results_materialised_or_not():
    class Split(Function):
        seen: list = []

        @staticmethod
        def forward(ctx, x, materialise):
            ctx.set_materialize_grads(materialise)
            mask = x > 0
            ctx.mark_non_differentiable(mask)
            return x * 2, x * 3, mask, "text"

        @staticmethod
        def backward(ctx, *grads):
            Split.seen.append([None if g is None else values(g) for g in grads])
            return grads[0] * 2, None

    x = leaf(1.0, -1.0)
    double, triple, mask, text = Split.apply(x, True)
    assert text == "text" and not mask.requires_grad and triple.requires_grad
    double.sum().backward()
    assert Split.seen.pop() == [[1, 1], [0, 0], [0, 0], None] and values(x.grad) == [2, 2]
    Split.apply(x, False)[0].sum().backward()
    assert Split.seen.pop() == [[1, 1], None, None, None]


def test_inputs_written_and_inputs_returned():
    class Twice(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad * 5

    a = leaf(1.0, 2.0)
    y = a * 1
    assert Twice.apply(y) is y
    y.sum().backward()
    assert values(a.grad) == [2, 2] and values(y) == [2, 4]
    base = a * 1
    Twice.apply(base[:1])
    (gradient,) = torch.autograd.grad(base.sum(), a)
    assert values(gradient) == [2, 1]
    with pytest.raises(RuntimeError, match="has been used in an in-place operation"):
        Twice.apply(a)
    same = Same.apply(a)
    assert same is not a and same.grad_fn.name() == "SameBackward"
    assert values(torch.autograd.grad(same.sum(), a)[0]) == [5, 5]
    with pytest.raises(RuntimeError, match="This view was created inside a custom Function"):
        Same.apply(a * 1).add_(1)


def function(answer, save=()):
    class F(Function):
        @staticmethod
        def forward(ctx, *args):
            ctx.save_for_backward(*save)
            return args[0] * 2

        @staticmethod
        def backward(ctx, grad):
            return answer(grad)

    return F


@pytest.mark.parametrize(
    ("answer", "more", "text"),
    [
        (
            lambda g: (g, g),
            (),
            r"function FBackward returned an incorrect number of gradients \(expected 1, got 2\)",
        ),
        (lambda g: g, (3,), r"incorrect number of gradients \(expected 2, got 1\)"),
        (
            lambda g: g[:1],
            (),
            r"invalid gradient at index 0 - got \[1\] but expected shape compatible with \[2\]",
        ),
        (lambda g: 3, (), r"expected Variable or None \(got int\)"),
        (lambda g: (g, g), (3,), "returned a gradient different than None at position 2"),
    ],
)
def test_wrong_answers_of_backward(answer, more, text):
    with pytest.raises(RuntimeError, match=text):
        function(answer).apply(leaf(1.0, 2.0), *more).sum().backward()


def test_trailing_nones_and_what_cannot_be_saved():
    a = leaf(1.0, 2.0)
    function(lambda g: (g, None, None)).apply(a).sum().backward()
    assert values(a.grad) == [1, 1]
    with pytest.raises(TypeError, match="can only save variables, but argument 0 is of type int"):
        function(None, save=(3,)).apply(a)
    with pytest.raises(RuntimeError, match="a second time"):
        y = Cube.apply(a).sum()
        y.backward()
        y.backward()
    written = a * 1
    y = Cube.apply(written)
    written.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_once_differentiable():
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, grad):
            return torch.from_numpy(2 * ctx.saved_tensors[0].detach().numpy()) * grad

    x = leaf(3.0)
    weight = leaf(1.0)
    (gradient,) = torch.autograd.grad(Once.apply(x), x, weight, create_graph=True)
    assert values(gradient) == [6]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_gradcheck_finds_faults():
    wrong = function(lambda g: g * 3)
    with pytest.raises(
        torch.autograd.GradcheckError,
        match="Jacobian mismatch for output 0 with respect to input 0",
    ):
        gradcheck(wrong.apply, leaf(1.0, 2.0))
    assert not gradcheck(wrong.apply, leaf(1.0, 2.0), raise_exception=False)
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(wrong.apply, leaf(1.0).detach())
    forgetful = function(lambda g: torch.tensor([2.0], dtype=torch.float64))
    with pytest.raises(
        torch.autograd.GradcheckError, match="backward not multiplied by grad_output"
    ):
        gradcheck(forgetful.apply, leaf(1.0))


def test_gradcheck_of_complex_values():
    z = torch.tensor([1 + 2j, -0.5 + 1j], dtype=torch.complex128).requires_grad_()
    w = torch.tensor([0.3 - 1j, 2 + 0.1j], dtype=torch.complex128).requires_grad_()
    assert gradcheck(lambda z, w: z * w, (z, w))
    assert gradgradcheck(lambda z, w: z * w, (z, w))


def test_jacobians_and_hessians():
    x, y = leaf(1.0, 2.0), leaf(3.0)

    def f(x, y):
        return x * x * y

    found = functional.jacobian(f, (x, y))
    assert values(found[0]) == [[6, 0], [0, 12]] and values(found[1]) == [[1], [4]]

    def cubic(x):
        return (x * x * x).sum() + x[0] * x[1]

    expected = numpy.array([[6.0, 1], [1, 12]])
    vector = torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert values(functional.hessian(cubic, x)) == expected.tolist()
    assert values(functional.hvp(cubic, x, vector)[1]) == (expected @ [1, -1]).tolist()
    assert values(functional.vhp(cubic, x, vector)[1]) == ([1, -1] @ expected).tolist()
    assert values(functional.jvp(lambda x: x * x, x, vector)[1]) == [2, -4]
    out, product = functional.vjp(lambda x: (x * x).sum(), x)
    assert out.item() == 5 and values(product) == [2, 4] and not product.requires_grad
    with pytest.raises(RuntimeError, match="independent of input 1"):
        functional.jacobian(lambda x, y: x * 2, (x, y), strict=True)
