"""Errors name the line of the user's program, on the first call and on later ones."""

import pytest

import flambeau as torch


def freed():
    x = torch.randn(3, requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    loss.backward()


def modified():
    x = torch.randn(3, requires_grad=True)
    y = x * x
    with torch.no_grad():
        x.add_(1)
    y.sum().backward()


CASES = {
    "freed": (freed, "Trying to backward through the graph a second time"),
    "modified": (modified, "one of the variables needed for gradient computation has been"),
    "no gradient": (
        lambda: torch.ones(3).sum().backward(),
        "element 0 of tensors does not require",
    ),
    "no scalar": (
        lambda: torch.ones(3, requires_grad=True).exp().backward(),
        "grad can be implicit",
    ),
    "leaf": (
        lambda: torch.ones(3, requires_grad=True).add_(1),
        "a leaf Variable that requires grad",
    ),
    "index": (lambda: torch.ones(3)[7], "index 7 is out of bounds for dimension 0 with size 3"),
    "indices": (lambda: torch.ones(3).index_select(0, torch.tensor([5])), "index out of range"),
    "product": (lambda: torch.ones(2, 3) @ torch.ones(4, 5), "mat1 and mat2 shapes cannot be"),
    "zero": (lambda: torch.tensor([1]) // torch.tensor([0]), "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_line_is_named_once_and_every_time(name):
    call, first = CASES[name]
    for _ in range(3):
        with pytest.raises((RuntimeError, IndexError)) as caught:
            call()
        text = str(caught.value)
        assert text.startswith(first)
        assert text.count("\n  at ") == 1 and text.count("test_user_line.py:") == 1, text
