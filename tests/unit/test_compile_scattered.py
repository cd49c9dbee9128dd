"""Rows of a product that are added up by an index: added before they are multiplied."""

import re

import pytest

import flambeau as torch

TOKENS, WORDS, WIDTH, HIDDEN = 512, 24, 32, 48


def gradients(function, *tensors):
    """Results of a function that calls backward, and the gradients that it leaves."""
    results = function()
    made = [t.grad for t in tensors]
    for t in tensors:
        t.grad = None
    return [results, *made]


def compared(function, *tensors):
    """The compiled function, after its results and gradients were found to be those of eager."""
    compiled = torch.compile(function, fullgraph=True)
    expected = gradients(function, *tensors)
    for _ in range(4):
        for got, want in zip(gradients(compiled, *tensors), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    return compiled


def multiplied(compiled):
    """The shapes of the left matrices of all products."""
    return re.findall(r"of [%@]\d+: \w+\[([\d, ]+?)(?: by[^]]*)?\] @", compiled.show())


@pytest.fixture
def layers():
    torch.manual_seed(0)
    table = torch.randn(WORDS, WIDTH, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(HIDDEN, WIDTH, dtype=torch.float64, requires_grad=True)
    return table, weight, torch.randint(0, WORDS, (8, TOKENS // 8))


@pytest.mark.parametrize("padding", [None, 3])
def test_few_sums_are_multiplied(layers, padding):
    table, weight, tokens = layers
    factor = torch.randn(HIDDEN, dtype=torch.float64)

    def step():
        words = torch.nn.functional.embedding(tokens, table, padding_idx=padding)
        loss = (torch.nn.functional.linear(words, weight) * factor).square().sum()
        loss.backward()
        return loss.detach()

    compiled = compared(step, table, weight)
    shapes = multiplied(compiled)
    assert f"{WORDS}, {HIDDEN}" in shapes and f"{TOKENS}, {HIDDEN}" not in shapes
    if padding is not None:
        compiled()
        assert not table.grad[padding].any() and table.grad[padding + 1].any()


def test_a_left_matrix_that_lies_by_columns(layers):
    table, weight, tokens = layers
    outside = torch.randn(HIDDEN, TOKENS, dtype=torch.float64)

    def step():
        words = torch.nn.functional.embedding(tokens.reshape(-1), table)
        torch.mm(weight, words.t()).backward(outside)
        return outside.sum()

    compared(step, table, weight)


def test_rows_that_somebody_else_reads_are_made(layers):
    _, weight, tokens = layers
    left = torch.randn(TOKENS, HIDDEN, dtype=torch.float64)

    def step():
        rows = left @ weight.detach()
        table = torch.zeros(WORDS, WIDTH, dtype=torch.float64)
        return table.index_add(0, tokens.reshape(-1), rows), rows

    compiled = compared(step)
    assert multiplied(compiled) == [f"{TOKENS}, {HIDDEN}"]


@pytest.mark.parametrize("tokens", [64, 160])
def test_few_rows_are_multiplied_as_they_are(layers, tokens):
    table, weight, _ = layers
    chosen = torch.randint(0, WORDS, (tokens,))

    def step():
        words = torch.nn.functional.embedding(chosen, table)
        torch.nn.functional.linear(words, weight).square().sum().backward()
        return words.sum().detach()

    compiled = compared(step, table, weight)
    assert f"{WORDS}, {HIDDEN}" not in multiplied(compiled)


def test_a_weight_that_changes_before_the_rows_are_added(layers):
    _, weight, tokens = layers

    def step():
        rows = torch.ones(TOKENS, HIDDEN, dtype=torch.float64) @ weight.detach()
        with torch.no_grad():
            weight.mul_(0.5)
        return weight.new_zeros(WORDS, WIDTH).index_add(0, tokens.reshape(-1), rows)

    compiled = torch.compile(step, fullgraph=True)
    for _ in range(4):
        want = torch.bincount(tokens.reshape(-1), minlength=WORDS)[:, None] * weight.detach().sum(0)
        torch.testing.assert_close(compiled(), want, rtol=1e-12, atol=0)


def test_an_index_out_of_range_is_told(layers):
    _, weight, tokens = layers

    def step(where):
        rows = weight.new_ones(TOKENS, HIDDEN) @ weight.detach()
        return weight.new_zeros(WORDS, WIDTH).index_add_(0, where, rows)

    compiled = torch.compile(step)
    where = tokens.reshape(-1)
    for _ in range(3):
        compiled(where)
    with pytest.raises(RuntimeError, match="out of bounds"):
        compiled(where + WORDS)
