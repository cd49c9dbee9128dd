"""What random programs found: each was another result, or an error, where it was compiled."""

import pytest

import flambeau as torch
from flambeau._base import knobs
from flambeau.graph import compile


def leaf_and_element(x):
    leaf = x.detach().clone().requires_grad_()
    a = leaf * 2
    scale = a.sum().item()
    (a * a).sum().backward()
    return leaf.grad * scale


def leaf_in_the_arguments_memory(x):
    leaf = x.detach().requires_grad_()
    a = leaf * 2
    scale = a.sum().item()
    return torch.autograd.grad((a * a).sum() * scale, leaf)[0]


@pytest.mark.parametrize("function", [leaf_and_element, leaf_in_the_arguments_memory])
def test_a_leaf_that_a_part_makes_is_differentiated_in_another(function):
    compiled = compile(function)
    for _ in range(6):
        x = torch.randn(3, 4)
        assert compiled(x).equal(function(x))


def test_what_got_no_gradient_gives_none():
    compiled = compile(lambda a, b: (a * 2, b * 3, a * b))
    for k in range(6):
        a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
        compiled(a * 1, b * 1)[k % 3].sum().backward()
        assert [a.grad is None, b.grad is None] == [k % 3 == 1, k % 3 == 0]


def test_gradients_of_gradients_of_one_result_of_several():
    compiled = compile(lambda a, b: (a**3, b**3))
    for _ in range(6):
        a, b = torch.full((3,), 2.0, requires_grad=True), torch.ones(3, requires_grad=True)
        result = compiled(a * 1, b * 1)[0].sum()
        first, none = torch.autograd.grad(result, (a, b), create_graph=True, allow_unused=True)
        assert none is None and first.tolist() == [12] * 3
        first.sum().backward()
        assert b.grad is None and a.grad.tolist() == [12] * 3


def test_gradients_of_gradients_that_are_no_numbers():
    compiled = compile(torch.rsqrt)
    for _ in range(5):
        x = torch.tensor([4.0, -1.0], requires_grad=True)
        (first,) = torch.autograd.grad(compiled(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        assert second[0].item() == 0.75 / 32 and second[1].isnan()


def test_a_second_derivative_that_cannot_be_is_never_left_out():
    def function(x):
        return torch.nn.functional.dropout(x, 0.5) ** 3

    compiled = compile(function)
    for _ in range(3):
        compiled(torch.ones(50, requires_grad=True)).sum().backward()
    x = torch.ones(50, requires_grad=True)
    (first,) = torch.autograd.grad(compiled(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once only"):
        torch.autograd.grad(first.sum(), x, allow_unused=True)


def test_numbers_under_a_mask_of_rows_are_part_of_the_program():
    def function(x):
        y = x * 1
        y[torch.arange(3) % 2 == 0] = 1
        return y

    compiled = compile(function, fullgraph=True)
    for _ in range(3):
        x = torch.randn(3, 4, 2)
        expected = x.numpy().copy()
        expected[::2] = 1
        assert compiled(x).tolist() == expected.tolist()


def test_draws_and_refusals_that_nobody_reads_still_happen():
    def draws(x):
        x.new_zeros(3, 3).t().bernoulli_(0.5)
        return x * 2

    compiled = compile(draws)
    for seed in range(4):
        torch.manual_seed(seed)
        draws(torch.ones(2))
        following = torch.rand(3)
        torch.manual_seed(seed)
        compiled(torch.ones(2))
        assert torch.rand(3).equal(following)
    compiled = compile(lambda x: (torch.linalg.inv(x), x * 2)[1])
    for _ in range(3):
        compiled(torch.eye(2))
    with pytest.raises(RuntimeError, match="singular"):
        compiled(torch.zeros(2, 2))


def test_a_view_that_comes_before_the_memory_it_shows():
    compiled = compile(lambda view, x: (x @ x.t(), view * 2))
    for _ in range(3):
        x = torch.randn(3, 4)
        product, double = compiled(x.t()[1:], x)
        assert product.equal(x @ x.t()) and double.equal(x.t()[1:] * 2)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_products_of_half_precision_have_gradients(kind):
    x = (torch.rand(5, 6) + 0.5).to(kind).requires_grad_()
    wide = x.detach().double().requires_grad_()
    for t in (x, wide):
        t.cumprod(0).sum().backward()
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=0.02, atol=0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_stores_of_half_precision_round_twice(kind):
    """Also where float64 lies beside the middle of two numbers, and float32 on it."""
    bits = 10 if kind is torch.float16 else 7
    beside = 1 + 2.0 ** -(bits + 1) + 2.0**-40
    for size, backend in ((4, knobs.backend), (5, "interpret")):
        x = torch.ones(size, dtype=kind)
        wide = torch.full((size,), beside - 1, dtype=torch.float64)
        with knobs.override(backend=backend):
            assert x.add_(wide).tolist() == [1.0] * size


def test_complex_rows_that_are_added_to_a_table():
    compiled = compile(lambda x, rows: torch.zeros(4, 3, dtype=x.dtype).index_add_(0, rows, x))
    rows = torch.tensor([1, 3, 1, 0, 1])
    for _ in range(3):
        x = torch.randn(5, 3, dtype=torch.complex64)
        expected = [sum((v for v, r in zip(x, rows.tolist(), strict=True) if r == k),
                        torch.zeros(3, dtype=x.dtype)) for k in range(4)]  # fmt: skip
        assert compiled(x, rows).equal(torch.stack(expected))
