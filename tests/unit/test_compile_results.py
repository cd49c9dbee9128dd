"""What compiled functions return lies as what eager ones do: results that share memory, that are
the same tensor, or that have no elements.
"""

import copy
import io
import pickle

import pytest

import flambeau as torch

RESULTS = {
    "an op of the host": lambda x: (x * 2, torch.linalg.inv(x), (x * 2).t()),
    "views": lambda x: (lambda y: (y, y[1:], y.t()))(x * 2),
    "views beside the host": lambda x: (
        lambda y: (y[1:], y, y.contiguous(), torch.linalg.inv(x)))(x * 2),
    "views of what the host made": lambda x: (lambda y: (y, y.t(), y[0]))(torch.linalg.inv(x)),
    "nothing computed": lambda x: (x, torch.stack((x[:0], x[:0]))),
    "empty draws": lambda x: (lambda y: (y, y.view(-1), torch.rand_like(x[:0])))(x * 2),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results_share_memory_alike(name):
    function = RESULTS[name]
    compiled = torch.compile(function)
    for seed in range(4):
        torch.manual_seed(seed)
        x = torch.rand(4, 4) + torch.eye(4)
        expected, found = function(x), compiled(x)
        assert sharing(found) == sharing(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.equal(b) and a.stride() == b.stride()
            assert a.storage_offset() == b.storage_offset()
    for result in (expected, found):  # what is written to one is seen in the others
        result[0].fill_(7)
    assert all(a.equal(b) for a, b in zip(found, expected, strict=True))


def sharing(results):
    places = [t.untyped_storage().data_ptr() for t in results if t.numel()]
    return [places.index(place) for place in places]


def test_kernels_side_by_side_may_all_have_nothing_to_do():
    def function(x, y):
        return x[:0].exp(), y[:0].log(), x[:0].sum(1), y[:0] * 2

    x = torch.ones(3, 4)
    compiled = torch.compile(function)
    for _ in range(3):
        for a, b in zip(compiled(x, x), function(x, x), strict=True):
            assert a.shape == b.shape


def test_one_tensor_that_is_returned_twice_is_one():
    def function(x):
        y = x * 2
        return y, {"again": y, "dense": y.contiguous()}, [y[0]]

    compiled = torch.compile(function)
    for wants in (False, True):
        for _ in range(3):
            x = torch.ones(3, 4, requires_grad=wants)
            first, others, parts = compiled(x)
            assert first is others["again"] and first is others["dense"] and first is not parts[0]
            if wants:
                (first + others["again"]).sum().backward()
                assert x.grad.tolist() == [[4.0] * 4] * 3


DIFFERENTIATED = {
    "what was computed before": lambda w, y, leaf: torch.autograd.grad(w.exp().sum(), [leaf]),
    "an argument with a history": lambda w, y, leaf: torch.autograd.grad((y * y).sum(), [y]),
    "an argument behind another": lambda w, y, leaf: torch.autograd.grad(w.sum(), [w, y]),
}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradients_of_what_came_before_are_those_of_this_call(name):
    function = DIFFERENTIATED[name]
    compiled = torch.compile(function)
    for seed in range(4):
        torch.manual_seed(seed)
        found = []
        for one in (function, compiled):
            torch.manual_seed(seed)
            leaf = torch.rand(3, requires_grad=True)
            y = leaf * 2
            found.append(one(y * y, y, leaf))
        assert all(a.equal(b) for a, b in zip(*found, strict=True))


def test_what_a_run_made_may_change_its_history_in_a_function():
    def negated(y):
        return y.neg_()

    def function(leaf):
        y = leaf * 3
        negated(y)
        return torch.autograd.grad(y.sum(), [leaf])[0]

    compiled = torch.compile(function, fullgraph=True)
    for k in range(3):
        assert compiled(torch.full((2,), k + 1.0, requires_grad=True)).tolist() == [-3, -3]


def test_rows_of_complex_numbers():
    def function(x):
        return x.sum(-1), x * 1j

    compiled = torch.compile(function)
    for _ in range(3):
        x = torch.randn(96, 80)
        assert all(a.equal(b) for a, b in zip(compiled(x), function(x), strict=True))


def test_products_over_nothing_are_results():
    compiled = torch.compile(lambda x, y: x @ y)
    for _ in range(4):
        assert compiled(torch.ones(2, 0), torch.ones(0, 3)).tolist() == [[0.0] * 3] * 2
        assert compiled(torch.ones(0, 3), torch.ones(3, 2)).shape == (0, 2)


def test_results_of_inference_mode_inside():
    def modes(x):
        with torch.inference_mode():
            inner = x * 2
        return inner, x * 3

    compiled = torch.compile(modes)
    for _ in range(4):
        assert [t.is_inference() for t in compiled(torch.ones(2))] == [True, False]


def scaled(x):
    return x * 3


scaled = torch.compile(scaled)


def test_copies_of_what_is_compiled():
    torch.manual_seed(0)
    model, x = torch.nn.Linear(3, 2), torch.ones(3)
    compiled = torch.compile(model)
    file = io.BytesIO()
    torch.save(compiled, file)
    file.seek(0)
    copies = [copy.deepcopy(compiled), torch.load(file, weights_only=False)]
    want = compiled(x)
    for other in copies:
        assert all(torch.equal(other(x), want) for _ in range(3))
        torch.nn.init.zeros_(other.weight)
        torch.nn.init.zeros_(other.bias)
        assert other(x).tolist() == [0.0, 0.0]
    assert torch.equal(compiled(x), want)
    assert pickle.loads(pickle.dumps(scaled)) is scaled
    method = copy.deepcopy(torch.compile(model.forward))
    assert torch.equal(method(x), want)


def test_attributes_of_a_compiled_module_are_the_modules():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))
    compiled = torch.compile(model)
    model.eval()
    assert not compiled.training and len(compiled) == 2
    compiled.train()
    assert model.training
    compiled.note, compiled.more = "hello", torch.nn.Parameter(torch.ones(1))
    assert model.note == "hello" and "more" in dict(model.named_parameters())
    del compiled.more
    assert not hasattr(model, "more")
    with pytest.raises(TypeError, match="'OptimizedModule' has no len"):
        len(torch.compile(model[0]))
