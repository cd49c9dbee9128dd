"""Pruning: which elements go, how prunings combine, what a module keeps and gets back."""

import numpy as np
import pytest

import flambeau
from flambeau import nn
from flambeau.nn import functional as F
from flambeau.nn.utils import prune


@pytest.fixture(autouse=True)
def seed():
    flambeau.manual_seed(0)


def array(tensor):
    return tensor.detach().numpy().copy()


def test_a_pruned_parameter_is_its_mask_times_its_original():
    module = nn.Linear(4, 3)
    parameter, before = module.weight, array(module.weight)
    assert not prune.is_pruned(module)
    assert prune.l1_unstructured(module, "weight", amount=5) is module
    assert prune.is_pruned(nn.Sequential(module))
    mask = np.abs(before) > np.sort(np.abs(before), axis=None)[4]
    np.testing.assert_array_equal(array(module.weight_mask), mask)
    np.testing.assert_array_equal(array(module.weight), before * mask)
    assert module.weight_orig is parameter and not isinstance(module.weight, nn.Parameter)
    assert list(module.state_dict()) == ["bias", "weight_orig", "weight_mask"]


def test_training_leaves_pruned_elements_alone_and_removal_keeps_the_parameter():
    module = nn.Linear(4, 3)
    parameter = module.weight
    prune.random_unstructured(module, "weight", 0.5)
    optimizer = flambeau.optim.SGD(module.parameters(), lr=0.1)
    before = array(module.weight_orig)
    module(flambeau.ones(2, 4)).sum().backward()
    optimizer.step()
    mask = array(module.weight_mask)
    np.testing.assert_array_equal(array(module.weight_orig) != before, mask == 1)
    module(flambeau.ones(2, 4))
    np.testing.assert_array_equal(array(module.weight), array(module.weight_orig) * mask)
    prune.remove(module, "weight")
    assert module.weight is parameter and set(module.state_dict()) == {"weight", "bias"}
    assert np.count_nonzero(array(module.weight)) == 6
    with pytest.raises(ValueError, match="has to be pruned before pruning can be removed"):
        prune.remove(module, "weight")


@pytest.mark.parametrize("amount, count", [(0, 0), (3, 3), (0.25, 3), (1.0, 12), (12, 12)])
@pytest.mark.parametrize("function", [prune.l1_unstructured, prune.random_unstructured])
def test_amounts_are_counts_or_fractions(function, amount, count):
    module = function(nn.Linear(4, 3), "weight", amount)
    assert (array(module.weight_mask) == 0).sum() == count


@pytest.mark.parametrize(
    "amount, kind, message",
    [
        ("a", TypeError, "Invalid type for amount: a. Must be int or float."),
        (-1, ValueError, r"amount=-1 should either be a float in the range \[0, 1\]"),
        (1.5, ValueError, r"amount=1\.5 should either be a float"),
        (13, ValueError, "amount=13 should be smaller than the number of parameters to prune=12"),
    ],
)
def test_other_amounts_are_refused_and_leave_the_module_as_it_was(amount, kind, message):
    module = nn.Linear(4, 3)
    parameter = module.weight
    with pytest.raises(kind, match=message):
        prune.l1_unstructured(module, "weight", amount)
    assert module.weight is parameter and not prune.is_pruned(module)


def test_a_second_pruning_takes_from_what_is_left_and_a_failed_one_changes_nothing():
    module = nn.Linear(4, 3)
    magnitudes = np.sort(np.abs(array(module.weight)), axis=None)
    prune.l1_unstructured(module, "weight", 4)
    prune.l1_unstructured(module, "weight", 0.5)
    kept = np.abs(array(module.weight_orig)) > magnitudes[7]
    np.testing.assert_array_equal(array(module.weight_mask), kept)
    prune.ln_structured(module, "weight", 1, 2, 0)
    mask = array(module.weight_mask)
    hooks = list(module._forward_pre_hooks.values())
    assert len(hooks) == 1 and isinstance(hooks[0], prune.PruningContainer)
    assert [type(each).__name__ for each in hooks[0]] == [
        "L1Unstructured",
        "L1Unstructured",
        "LnStructured",
    ]
    with pytest.raises(ValueError, match="amount=9"):
        prune.l1_unstructured(module, "weight", 9)
    assert list(module._forward_pre_hooks.values()) == hooks and len(hooks[0]) == 3
    np.testing.assert_array_equal(array(module.weight_mask), mask)


@pytest.mark.parametrize("n", [1, 2, float("inf"), float("-inf")])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_structured_pruning_removes_the_channels_of_smallest_norm(n, dim):
    module = nn.Conv2d(3, 4, 2)
    before = array(module.weight)
    channels = np.moveaxis(before, dim, 0).reshape(before.shape[dim], -1)
    worst = np.linalg.norm(channels, ord=n, axis=1).argmin()
    prune.ln_structured(module, "weight", 1, n, dim)
    mask = np.moveaxis(array(module.weight_mask), dim, 0)
    np.testing.assert_array_equal(
        mask.reshape(len(mask), -1).all(axis=1), np.arange(len(mask)) != worst
    )
    assert not mask[worst].any()


def test_structured_pruning_again_counts_the_living_channels():
    module = nn.Linear(6, 4)
    prune.random_structured(module, "weight", 2, 1)
    prune.random_structured(module, "weight", 0.5, 1)
    columns = array(module.weight_mask).sum(axis=0)
    assert sorted(columns) == [0, 0, 0, 0, 4, 4]


def test_structured_pruning_refuses_vectors_and_strange_dimensions():
    with pytest.raises(ValueError, match="can only be applied to multidimensional tensors"):
        prune.ln_structured(nn.Linear(2, 2), "bias", 1, 2, 0)
    for dim in (2, -3):
        with pytest.raises(IndexError, match=f"Invalid index {dim} for tensor of size"):
            prune.random_structured(nn.Linear(2, 2), "weight", 1, dim)


def test_importance_scores_decide_instead_of_values():
    scores = flambeau.arange(12.0).reshape(3, 4)
    module = prune.l1_unstructured(nn.Linear(4, 3), "weight", 3, importance_scores=scores)
    assert array(module.weight_mask).ravel().tolist() == [0] * 3 + [1] * 9
    with pytest.raises(AssertionError, match="importance_scores should have the same shape"):
        prune.l1_unstructured(module, "weight", 3, importance_scores=scores.T)


def test_global_pruning_ranks_all_parameters_together():
    first, second = nn.Linear(4, 3), nn.Linear(3, 2)
    with flambeau.no_grad():
        second.weight.mul_(1e-3)
    pairs = [(first, "weight"), (second, "weight")]
    prune.global_unstructured(iter(pairs), prune.L1Unstructured, amount=8)
    assert not array(second.weight_mask).any()
    assert (array(first.weight_mask) == 0).sum() == 2
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.5)
    assert (array(first.weight_mask) == 0).sum() == 7
    with pytest.raises(TypeError, match='Only "unstructured" PRUNING_TYPE supported'):
        prune.global_unstructured(pairs, prune.LnStructured, amount=1, n=2)
    with pytest.raises(TypeError, match="importance_scores must be of type dict"):
        prune.global_unstructured(pairs, prune.L1Unstructured, [], amount=1)
    with pytest.raises(TypeError, match="parameters is not an Iterable"):
        prune.global_unstructured(3, prune.L1Unstructured, amount=1)


def test_global_pruning_by_scores():
    module = nn.Linear(2, 2)
    scores = {(module, "bias"): flambeau.zeros(2), (module, "weight"): flambeau.ones(2, 2)}
    prune.global_unstructured(list(scores), prune.L1Unstructured, scores, amount=2)
    assert not array(module.bias_mask).any() and array(module.weight_mask).all()


def test_masks_and_methods_of_the_user():
    class EveryOther(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.view(-1)[::2] = 0
            return mask

    module = nn.Linear(4, 2)
    EveryOther.apply(module, "weight")
    assert array(module.weight_mask).ravel().tolist() == [0, 1] * 4
    EveryOther.apply(module, "weight")
    assert array(module.weight_mask).ravel().tolist() == [0, 0, 0, 1] * 2
    prune.custom_from_mask(module, "bias", flambeau.tensor([0, 1]))
    assert array(module.bias_mask).tolist() == [0, 1]
    prune.identity(module, "bias")
    assert array(module.bias_mask).tolist() == [0, 1]
    pruned = EveryOther().prune(flambeau.ones(4))
    assert pruned.tolist() == [0, 1, 0, 1]


def test_a_container_takes_methods_of_one_name_only():
    one, other = prune.L1Unstructured(1), prune.L1Unstructured(1)
    one._tensor_name, other._tensor_name = "weight", "bias"
    container = prune.PruningContainer(one)
    assert len(container) == 1 and container[0] is one
    with pytest.raises(ValueError, match="parameter named 'weight'"):
        container.add_pruning_method(other)
    with pytest.raises(TypeError, match="is not a BasePruningMethod subclass"):
        container.add_pruning_method(3)


def test_states_of_pruned_modules_load():
    source = prune.random_unstructured(nn.Linear(4, 3), "weight", 0.5)
    target = prune.identity(nn.Linear(4, 3), "weight")
    target.load_state_dict(source.state_dict())
    x = flambeau.randn(2, 4)
    np.testing.assert_array_equal(array(target(x)), array(source(x)))


def shrunk(model, shape, *inputs, exact=True):
    """(parameters before and after, the largest change of a result)."""
    for _ in range(3):  # so that running statistics are not trivial
        model(flambeau.randn(shape))
    x = flambeau.randn(shape)
    sizes = [sum(p.numel() for p in model.parameters())]
    before = model.eval()(x)
    assert prune.shrink(model, *inputs, exact=exact) is model
    sizes.append(sum(p.numel() for p in model.parameters()))
    after = model(x)
    model.train()(x).sum().backward()
    return *sizes, (before - after).abs().max().item()


def test_shrink_removes_channels_of_linear_chains():
    inner = nn.Sequential(nn.Linear(8, 6), nn.PReLU(6))
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Sigmoid(), nn.Dropout(0.1), inner, nn.Linear(6, 2)
    )
    prune.ln_structured(model[0], "weight", 0.5, 2, 0)
    prune.ln_structured(inner[0], "weight", 2, 2, 0)
    weight = model[5].weight
    before, after, change = shrunk(model, (5, 4))
    assert (before, after) == (40 + 16 + 54 + 6 + 14, 20 + 8 + 20 + 4 + 10)
    assert change < 1e-6
    assert model[5].weight is weight and not prune.is_pruned(model)
    assert repr(model[0]) == repr(nn.Linear(4, 4)) and model[1].num_features == 4


def image_model():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 6, 1, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 6 * 6, 5),
    )
    for layer in (model[0], model[5]):
        prune.ln_structured(layer, "weight", 0.5, 2, 0)
    return model


def test_shrink_is_exact_unless_told_otherwise():
    model = image_model()
    _, _, change = shrunk(model, (2, 3, 12, 12))
    # The convolution behind pads with zeros, which a channel that is not 0 shows at the border.
    assert (model[0].out_channels, model[5].out_channels) == (8, 3)
    assert model[8].in_features == 3 * 36 and change < 1e-5
    model = image_model()
    shrunk(model, (2, 3, 12, 12), exact=False)
    assert (model[0].out_channels, model[4].groups, model[5].in_channels) == (4, 4, 4)
    assert model(flambeau.ones(1, 3, 12, 12)).shape == (1, 5)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 6, 3)
        self.side, self.head = nn.Conv2d(6, 6, 1), nn.Linear(6 * 16, 12)
        self.out = nn.Linear(12, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.relu(self.second(x))
        x = x + self.side(x)
        x = F.relu(self.head(x.flatten(1)))
        return self.out(F.dropout(x, training=self.training))


@pytest.mark.parametrize("calls", [True, False])
def test_shrink_finds_layers_by_a_call(calls):
    model = Branching()
    for layer in (model.first, model.second, model.side, model.head):
        prune.ln_structured(layer, "weight", 0.5, 2, 0)
    inputs = (flambeau.randn(2, 1, 14, 14),) * calls
    _, _, change = shrunk(model, (2, 1, 14, 14), *inputs)
    assert change < 1e-6
    found = [layer.weight.shape[0] for layer in (model.first, model.second, model.side, model.head)]
    # Results that are read twice, and sums of two, stay as they are.
    assert found == ([4, 6, 6, 6] if calls else [8, 6, 6, 12])


def test_shrink_removes_what_nobody_reads_and_leaves_shared_weights():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    prune.ln_structured(model[4], "weight", 2, 2, 1)
    assert shrunk(model, (2, 3))[1] == 16 + 10 + 6
    shared = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    shared[1].weight = shared[0].weight
    with flambeau.no_grad():
        shared[0].weight[1] = 0
    before, after, _ = shrunk(shared, (2, 3))
    assert before == after


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_n_of_m_keeps_the_largest_of_every_group(dim):
    layer = nn.Linear(8, 12, bias=False)
    weight = layer.weight.detach().numpy().copy()
    prune.n_of_m(layer, "weight", 2, 4, dim=dim)
    rows = np.moveaxis(weight, dim, -1).reshape(-1, 4)
    kept = np.argsort(np.argsort(np.abs(rows), axis=1), axis=1) >= 2
    found = np.moveaxis(layer.weight.detach().numpy(), dim, -1).reshape(-1, 4)
    assert (found == rows * kept).all()


def test_n_of_m_counts_what_was_pruned_before_as_smallest():
    layer = nn.Linear(4, 2, bias=False)
    prune.custom_from_mask(layer, "weight", flambeau.tensor([[0.0, 1, 1, 1], [1, 0, 0, 0]]))
    prune.n_of_m(layer, "weight", 2, 4)
    assert layer.weight_mask.sum(1).tolist() == [2, 1] and layer.weight_mask[0, 0] == 0
    with pytest.raises(ValueError, match="no multiple of m=3"):
        prune.n_of_m(layer, "weight", 1, 3)
    with pytest.raises(ValueError, match="from 0 to m=2"):
        prune.n_of_m(layer, "weight", 3, 2)
