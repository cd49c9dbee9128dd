"""Pruning: which elements go, how prunings combine, what a module keeps and gets back."""

import numpy as np
import pytest

import flambeau
from flambeau import nn
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
