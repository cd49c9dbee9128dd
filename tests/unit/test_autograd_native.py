"""Native code records and walks graphs as the Python code does that it stands in for."""

import gc
import random
import sys
import weakref

import pytest

import flambeau as torch
from flambeau import runtime
from flambeau.ops import watchers


def leaf(*shape, dtype=torch.float64):
    made = torch.arange(1.0, 1.0 + torch.Size(shape).numel(), dtype=torch.float64)
    return made.reshape(shape).to(dtype).requires_grad_()


@pytest.fixture
def in_python():
    """A function that calls another while nodes are made in Python."""

    def call(function):
        watchers.append(None)
        try:
            return function()
        finally:
            watchers.pop()

    return call


a, b, row, number = leaf(3, 4), leaf(3, 4), leaf(4), leaf()
plain = torch.ones(3, 4, dtype=torch.float64)
RECORDED = {
    "two edges": lambda: a * b,
    "one edge": lambda: a * plain,
    "the other edge": lambda: plain * a,
    "twice the same": lambda: a * a,
    "a number": lambda: a * 3,
    "broadcast": lambda: a + row,
    "nothing saved": lambda: a + b,
    "the result": lambda: a.exp(),
    "a layout": lambda: a.sum(),
    "dimensions": lambda: a.sum(1, keepdim=True),
    "a product of matrices": lambda: a @ b.T,
    "promotion": lambda: a * leaf(4, dtype=torch.float32),
    "a condition": lambda: torch.where(plain > 0, a, number),
    "a slice": lambda: a[1:] * 2,
    "softmax": lambda: a.softmax(1),
    "optional": lambda: torch.nn.functional.linear(a, leaf(2, 4), leaf(2)),
    "complex": lambda: leaf(2, dtype=torch.complex128) * leaf(2, dtype=torch.complex128),
}


def alike(left, right):
    if isinstance(left, torch.Tensor):
        same = left.layout is right.layout and left._offset == right._offset
        history = (left._node is None) == (right._node is None)
        return same and history and left.tolist() == right.tolist()
    return left is right or left == right


@pytest.mark.parametrize("name", RECORDED)
def test_nodes_are_those_that_python_makes(name, in_python):
    make = RECORDED[name]
    make()  # makes the plans
    mine, theirs = make(), in_python(make)
    left, right = mine._node, theirs._node
    assert type(left) is type(right) and left.extra is right.extra is None
    assert left.shapes == right.shapes and len(left.saved) == len(right.saved)
    assert all(map(alike, left.saved, right.saved))
    assert all(value is not mine for value in left.saved)
    assert [type(edge) for edge in left.edges] == [type(edge) for edge in right.edges]
    assert alike(mine, theirs)
    mine.abs().sum().backward()


def test_orders_are_one_sequence(in_python):
    first = (a * b)._node.order
    second = in_python(lambda: a * b)._node.order
    third = (a * b)._node.order
    assert (second - first, third - second) == (1, 1)
    assert leaf()._node.order == third + 1


@pytest.mark.parametrize("name", RECORDED)
def test_references_and_memory_stay_exact(name):
    make = RECORDED[name]
    watched = [a, b, plain, a.layout, a._node, type(make()._node), None, a._storage]

    def figures():
        gc.collect()
        return [sys.getrefcount(w) for w in watched if w is not None], runtime.memory().allocated

    def once():
        make().abs().sum().backward()

    for _ in range(3):
        once()
    before = figures()
    for _ in range(50):
        once()
    counts, allocated = figures()
    assert allocated == before[1]
    assert counts == before[0]


def grow(seed, leaves, hooked):
    """A random graph; with hooks on all its tensors, or none."""
    chance = random.Random(seed)
    known = list(leaves)
    for _ in range(25):
        x, y = chance.choice(known[-4:]), chance.choice(known)
        kind = chance.randrange(5)
        made = (
            x * 0.5 if kind == 0
            else x + y if kind == 1
            else x * y * 0.1 if kind == 2
            else x.tanh() if kind == 3
            else (x - y).sum(0, keepdim=True) * 0.1 + x
        )  # fmt: skip
        if hooked:
            made.register_hook(lambda grad: None)
        known.append(made)
    return (known[-1] * known[-2]).sum()


@pytest.mark.parametrize("seed", range(20))
def test_gradients_are_those_of_the_loop_in_python(seed):
    found = []
    for hooked in (False, True):
        leaves = [leaf(3, 2) for _ in range(3)]
        for _ in range(2):  # the second gradient is added to the first
            grow(seed, leaves, hooked).backward()
        found.append([None if x.grad is None else x.grad.tolist() for x in leaves])
    assert found[0] == found[1]


def test_a_new_gradient_is_taken_as_it_is_and_a_shared_one_is_copied():
    made = []

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, keep):
            ctx.keep = keep
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            out = grad * 2
            made.append(out if ctx.keep else weakref.ref(out))
            return out, None

    x = leaf(3)
    Double.apply(x, False).sum().backward()
    assert made[0]() is x.grad
    y = leaf(3)
    Double.apply(y, True).sum().backward()
    assert made[1] is not y.grad and made[1].tolist() == y.grad.tolist() == [2, 2, 2]


def test_an_error_on_the_way_loses_nothing():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise ValueError("no")

    x = leaf(3)

    def once():
        with pytest.raises(ValueError, match="no"):
            (Fails.apply(x * 2) * 3).sum().backward()

    once()
    gc.collect()
    before = runtime.memory().allocated, sys.getrefcount(x), sys.getrefcount(x._node)
    for _ in range(10):
        once()
    gc.collect()
    assert (runtime.memory().allocated, sys.getrefcount(x), sys.getrefcount(x._node)) == before
    assert torch.is_grad_enabled()


def test_a_leaf_that_is_gone_gets_nothing():
    x, y = leaf(3), leaf(3)
    loss = (x * 2 + y).sum()
    del x
    loss.backward()
    assert y.grad.tolist() == [1, 1, 1]


def test_leaves_of_many_layouts_share_the_table_of_plans():
    leaves = [leaf(n % 7 + 1, n + 1) for n in range(300)]
    for _ in range(3):
        for x in leaves:
            (x * 2).sum().backward()
    assert all(x.grad.tolist() == torch.full(x.shape, 6.0).tolist() for x in leaves)
