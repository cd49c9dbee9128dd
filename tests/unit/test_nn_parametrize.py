"""Parametrizations: what is registered and comes back, copies and files, and the three of ours."""

import copy
import io
import pickle

import numpy as np
import pytest

import flambeau
from flambeau import nn
from flambeau.nn.utils import parametrizations, parametrize


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, matrix):
        return matrix.triu()


class Shifted(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x + 1


class Outer(nn.Module):
    def forward(self, column, row):
        return column[:, None] * row[None, :]

    def right_inverse(self, matrix):
        return matrix[:, 0].clone(), flambeau.ones(matrix.size(1), dtype=matrix.dtype)


@pytest.fixture(autouse=True)
def seed():
    flambeau.manual_seed(0)


def array(tensor):
    return tensor.detach().numpy().copy()


def trained(module, steps, rate=0.05):
    optimizer = flambeau.optim.SGD(module.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        x = flambeau.randn(5, module.weight.size(-1), dtype=module.weight.dtype)
        (module(x) - 1).abs().square().sum().backward()
        optimizer.step()
    return module


def saved_and_loaded(module):
    file = io.BytesIO()
    flambeau.save(module, file)
    file.seek(0)
    return flambeau.load(file, weights_only=False)


# --- registering and removing ---


def test_a_parameter_becomes_a_property_and_comes_back_as_the_same_object():
    module = nn.Linear(3, 3)
    parameter, before = module.weight, array(module.weight)
    assert parametrize.register_parametrization(module, "weight", Symmetric()) is module
    upper = np.triu(before)
    np.testing.assert_array_equal(array(module.weight), upper + np.triu(before, 1).T)
    assert module.parametrizations.weight.original is parameter
    assert list(module.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert parametrize.is_parametrized(module) and parametrize.is_parametrized(module, "weight")
    assert not parametrize.is_parametrized(module, "bias")
    assert type(module).__name__ == "ParametrizedLinear" and isinstance(module, nn.Linear)
    assert parametrize.type_before_parametrizations(module) is nn.Linear
    value = array(module.weight)
    parametrize.remove_parametrizations(module, "weight")
    assert module.weight is parameter and type(module) is nn.Linear
    np.testing.assert_array_equal(array(module.weight), value)
    assert set(module.state_dict()) == {"weight", "bias"}
    assert not hasattr(module, "parametrizations")


def test_removing_can_bring_back_the_original_value():
    module = nn.Linear(2, 2)
    before = array(module.weight)
    parametrize.register_parametrization(module, "weight", Shifted())
    parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    np.testing.assert_array_equal(array(module.weight), before)


def test_an_optimizer_from_before_trains_the_original():
    module = nn.Linear(3, 3)
    optimizer = flambeau.optim.SGD(module.parameters(), lr=0.1)
    parametrize.register_parametrization(module, "weight", Symmetric())
    before = array(module.weight)
    module(flambeau.ones(1, 3)).sum().backward()
    optimizer.step()
    after = array(module.weight)
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, after.T)


def test_parametrizations_are_chained_in_order_and_inverted_in_reverse():
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

        def right_inverse(self, x):
            return x / 2

    class Raised(Shifted):
        def right_inverse(self, x):
            return x - 1

    module = nn.Linear(2, 2)
    parametrize.register_parametrization(module, "weight", Doubled())
    parametrize.register_parametrization(module, "weight", Raised())
    before = array(module.weight)
    original = array(module.parametrizations.weight.original)
    np.testing.assert_allclose(before, 2 * original + 1, rtol=1e-6)
    module.weight = flambeau.full((2, 2), 7.0)
    np.testing.assert_array_equal(
        array(module.parametrizations.weight.original), np.full((2, 2), 3)
    )
    np.testing.assert_array_equal(array(module.weight), np.full((2, 2), 7))


def test_several_originals():
    module = nn.Linear(3, 2, bias=False)
    parametrize.register_parametrization(module, "weight", Outer())
    names = ["parametrizations.weight.original0", "parametrizations.weight.original1"]
    assert [name for name, _ in module.named_parameters()] == names
    module(flambeau.ones(1, 3)).sum().backward()
    column = module.parametrizations.weight.original0
    np.testing.assert_array_equal(array(column.grad), [3, 3])
    with pytest.raises(ValueError, match=r"Cannot leave unparametrized \(`leave_parametrized=Fal"):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    parametrize.remove_parametrizations(module, "weight")
    assert isinstance(module.weight, nn.Parameter) and module.weight.is_leaf
    assert np.linalg.matrix_rank(array(module.weight)) == 1


def test_buffers_stay_buffers():
    module = nn.BatchNorm1d(2)
    parametrize.register_parametrization(module, "running_mean", Shifted())
    np.testing.assert_array_equal(array(module.running_mean), [1, 1])
    assert "parametrizations.running_mean.original" in dict(module.named_buffers())
    parametrize.remove_parametrizations(module, "running_mean")
    assert "running_mean" in dict(module.named_buffers())


def made(forward, inverse=None):
    body = {"forward": lambda self, x: forward(x)}
    if inverse is not None:
        body["right_inverse"] = lambda self, x: inverse(x)
    return type("Made", (nn.Module,), body)()


@pytest.mark.parametrize(
    "forward, inverse, message",
    [
        (lambda x: 3, None, "A parametrization must return a tensor. Got int."),
        (lambda x: x.double(), None, "may not change the dtype of the tensor"),
        (lambda x: x[:1], None, "may not change the shape of the tensor"),
        (lambda x: x, lambda x: 3, "Got"),
        (lambda x: x, lambda x: x.double(), "dtype"),
    ],
)
@pytest.mark.parametrize("chained", [False, True])
def test_a_parametrization_that_does_not_fit_changes_nothing(forward, inverse, message, chained):
    module = nn.Linear(2, 2)
    if chained:
        parametrize.register_parametrization(module, "weight", Shifted())
    before, names = array(module.weight), list(module.state_dict())
    with pytest.raises(ValueError, match=message):
        parametrize.register_parametrization(module, "weight", made(forward, inverse))
    assert list(module.state_dict()) == names
    np.testing.assert_array_equal(array(module.weight), before)


def test_unsafe_lets_the_shape_change():
    module = nn.Linear(2, 2)
    parametrize.register_parametrization(module, "weight", made(lambda x: x[:1]), unsafe=True)
    assert module.weight.shape == (1, 2)


def test_errors_name_the_culprit():
    module = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="parametrized element with name 'nothing'"):
        parametrize.register_parametrization(module, "nothing", Shifted())
    with pytest.raises(ValueError, match="does not have a parametrization on bias"):
        parametrize.remove_parametrizations(module, "bias")
    parametrize.register_parametrization(module, "weight", Shifted())
    with pytest.raises(RuntimeError, match="Shifted does not implement right_inverse"):
        module.weight = flambeau.ones(2, 2)


# --- the cache ---


def test_cached_computes_once_until_the_outermost_block_ends():
    module = nn.Linear(2, 2)
    shifted = Shifted()
    parametrize.register_parametrization(module, "weight", shifted)
    shifted.calls = 0
    with parametrize.cached():
        with parametrize.cached():
            first = module.weight
        assert module.weight is first
        module(flambeau.ones(1, 2))
    assert shifted.calls == 1
    assert module.weight is not first and shifted.calls == 2


def test_cached_does_not_outlive_an_assignment_or_hand_constants_to_autograd():
    module = nn.Linear(2, 2)
    parametrize.register_parametrization(module, "weight", Symmetric())
    with parametrize.cached():
        with flambeau.no_grad():
            assert not module.weight.requires_grad
        assert module.weight.requires_grad
        module.weight = flambeau.eye(2)
        np.testing.assert_array_equal(array(module.weight), np.eye(2))


# --- copies, files, transfers ---


@pytest.mark.parametrize("duplicate", [copy.deepcopy, saved_and_loaded], ids=["copy", "file"])
@pytest.mark.parametrize(
    "parametrized",
    [parametrizations.orthogonal, parametrizations.weight_norm, parametrizations.spectral_norm],
)
def test_parametrized_modules_are_copied_and_saved_whole(parametrized, duplicate):
    model = nn.Sequential(parametrized(nn.Linear(3, 4)), nn.ReLU()).eval()
    other = duplicate(model)
    x = flambeau.randn(2, 3)
    np.testing.assert_array_equal(array(other(x)), array(model(x)))
    assert list(other.state_dict()) == list(model.state_dict())
    mine = {id(parameter) for parameter in model.parameters()}
    assert not any(id(parameter) in mine for parameter in other.parameters())
    parametrize.remove_parametrizations(other[0], "weight")
    assert type(other[0]) is nn.Linear
    assert parametrize.is_parametrized(model[0], "weight")
    np.testing.assert_array_equal(array(model[0].weight), array(other[0].weight))


def test_a_pickle_keeps_several_tensors_and_keeps_training():
    module = parametrizations.weight_norm(nn.Linear(3, 4))
    parametrizations.weight_norm(module, "bias", dim=None)
    other = pickle.loads(pickle.dumps(module))
    np.testing.assert_array_equal(array(other.weight), array(module.weight))
    np.testing.assert_array_equal(array(other.bias_v), array(module.bias_v))
    before = array(other.weight)
    trained(other, 2)
    assert not np.array_equal(array(other.weight), before)


def test_a_shallow_copy_shares_the_tensors():
    module = parametrizations.weight_norm(nn.Linear(3, 4))
    other = copy.copy(module)
    assert other.parametrizations.weight.original0 is module.parametrizations.weight.original0


def test_transfer_shares_parametrizations_and_originals():
    source = parametrizations.orthogonal(nn.Linear(3, 3))
    parametrize.register_parametrization(source, "bias", Shifted())
    base = array(source.weight)
    target = nn.Linear(3, 3)
    parametrize.transfer_parametrizations_and_params(source, target, "weight")
    assert not parametrize.is_parametrized(target, "bias")
    np.testing.assert_array_equal(array(target.weight), base)
    np.testing.assert_array_equal(array(source.weight), base)
    assert target.parametrizations.weight.original is source.parametrizations.weight.original
    bare = nn.Module()
    parametrize.transfer_parametrizations_and_params(source, bare)
    np.testing.assert_array_equal(array(bare.bias), array(source.bias))


# --- orthogonal ---


@pytest.mark.parametrize("dtype", [flambeau.float32, flambeau.float64, flambeau.complex128])
@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 5, 3), (1, 1)])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("trivial", [True, False])
def test_orthogonal_stays_orthogonal_while_it_trains(kind, shape, dtype, trivial):
    if dtype.is_complex and kind == "householder":
        return
    module = nn.Module()
    module.weight = nn.Parameter(flambeau.randn(shape, dtype=dtype))
    parametrizations.orthogonal(module, "weight", kind, use_trivialization=trivial)
    target = flambeau.randn(shape, dtype=dtype)
    optimizer = flambeau.optim.SGD(module.parameters(), lr=0.1)
    first = array(module.weight)
    for _ in range(20):
        optimizer.zero_grad()
        (module.weight - target).abs().square().sum().backward()
        optimizer.step()
    last = array(module.weight)
    if shape != (1, 1):
        assert np.abs(last - first).max() > 1e-2
    for matrix in (first, last):
        tall = matrix if shape[-2] >= shape[-1] else np.swapaxes(matrix, -1, -2)
        gram = np.conj(np.swapaxes(tall, -1, -2)) @ tall
        tolerance = 1e-5 if dtype == flambeau.float32 else 1e-12
        np.testing.assert_allclose(gram, np.broadcast_to(np.eye(gram.shape[-1]), gram.shape),
                                   atol=tolerance)  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)])
def test_orthogonal_matrices_are_kept_and_can_be_assigned(shape):
    rng = np.random.default_rng(0)
    tall = np.linalg.qr(rng.standard_normal((max(shape), max(shape))))[0][: shape[0], : shape[1]]
    for kind, trivial in [("matrix_exp", True), ("cayley", True), ("householder", True),
                          ("householder", False)]:  # fmt: skip
        module = nn.Linear(shape[1], shape[0], dtype=flambeau.float64)
        parametrizations.orthogonal(module, "weight", kind, use_trivialization=trivial)
        module.weight = flambeau.tensor(tall)
        np.testing.assert_allclose(array(module.weight), tall, atol=1e-12)


def test_orthogonal_matches_the_exponential_of_a_skew_matrix():
    linalg = pytest.importorskip("scipy.linalg")
    module = nn.Linear(4, 4, dtype=flambeau.float64)
    lower = np.tril(array(module.weight))
    expected = {
        "matrix_exp": linalg.expm(lower - lower.T),
        "cayley": np.linalg.solve(
            np.eye(4) - (lower - lower.T) / 2, np.eye(4) + (lower - lower.T) / 2
        ),
    }
    for kind, matrix in expected.items():
        other = copy.deepcopy(module)
        parametrizations.orthogonal(other, "weight", kind, use_trivialization=False)
        np.testing.assert_allclose(array(other.weight), matrix, atol=1e-12)


def test_orthogonal_states_resume_exactly():
    module = trained(parametrizations.orthogonal(nn.Linear(4, 4)), 5)
    other = parametrizations.orthogonal(nn.Linear(4, 4))
    other.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(array(other.weight), array(module.weight))


def test_orthogonal_refuses():
    with pytest.raises(ValueError, match=r"Expected a matrix .* Got a tensor of 1 dimensions\."):
        parametrizations.orthogonal(nn.Linear(2, 2), "bias")
    with pytest.raises(ValueError, match="Got: qr"):
        parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="qr")
    with pytest.raises(ValueError, match="does not support complex tensors"):
        module = nn.Linear(2, 2, dtype=flambeau.complex64)
        parametrizations.orthogonal(module, "weight", "householder")
    module = parametrizations.orthogonal(nn.Linear(2, 2), use_trivialization=False)
    with pytest.raises(NotImplementedError, match="not possible to assign"):
        module.weight = flambeau.eye(2)


# --- weight norm ---


@pytest.mark.parametrize("dim, axes", [(0, (1, 2, 3)), (1, (0, 2, 3)), (None, None)])
def test_weight_norm_splits_norms_from_directions(dim, axes):
    module = nn.Conv2d(3, 4, 2)
    before = array(module.weight)
    parametrizations.weight_norm(module, dim=dim)
    np.testing.assert_allclose(array(module.weight), before, rtol=1e-5)
    norms = np.sqrt((before**2).sum(axis=axes, keepdims=axes is not None))
    np.testing.assert_allclose(array(module.weight_g), norms, rtol=1e-6)
    np.testing.assert_array_equal(array(module.weight_v), before)
    with flambeau.no_grad():
        module.parametrizations.weight.original0.mul_(2)
        module.parametrizations.weight.original1.mul_(5)
    np.testing.assert_allclose(array(module.weight), 2 * before, rtol=1e-5)


def legacy(function, *args):
    with pytest.warns(FutureWarning, match="is deprecated"):
        return function(*args)


def test_weight_norm_states_interchange_between_old_and_new():
    old = nn.Sequential(legacy(nn.utils.weight_norm, nn.Linear(3, 4)))
    new = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)))
    new.load_state_dict(old.state_dict())
    np.testing.assert_array_equal(array(new[0].weight), array(old[0].weight))
    assert "0.weight_g" in old.state_dict()
    third = nn.Sequential(legacy(nn.utils.weight_norm, nn.Linear(3, 4)))
    third.load_state_dict(new.state_dict())
    np.testing.assert_array_equal(array(third[0].weight_v), array(old[0].weight_v))
    copied = pickle.loads(pickle.dumps(new))
    copied.load_state_dict(old.state_dict())


def test_the_old_weight_norm_recomputes_before_forward_and_is_removed():
    module = legacy(nn.utils.weight_norm, nn.Linear(3, 4))
    with pytest.warns(FutureWarning), pytest.raises(RuntimeError, match="Cannot register two"):
        nn.utils.weight_norm(module)
    trained(module, 3)
    magnitude, direction = array(module.weight_g), array(module.weight_v)
    x = flambeau.eye(3)
    expected = magnitude * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    np.testing.assert_allclose(array(module(x) - module.bias).T, expected, atol=1e-6)
    nn.utils.remove_weight_norm(module)
    assert set(module.state_dict()) == {"weight", "bias"}
    np.testing.assert_allclose(array(module.weight), expected, atol=1e-6)
    with pytest.raises(ValueError, match="weight_norm of 'weight' not found"):
        nn.utils.remove_weight_norm(module)


# --- spectral norm ---


def largest_singular_value(weight, dim):
    matrix = np.moveaxis(array(weight), dim, 0)
    return np.linalg.svd(matrix.reshape(matrix.shape[0], -1), compute_uv=False)[0]


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    "make, dim",
    [
        (lambda: nn.Linear(5, 4), 0),
        (lambda: nn.Conv2d(3, 4, 2), 0),
        (lambda: nn.ConvTranspose2d(3, 4, 2), 1),
    ],
)
def test_spectral_norm_divides_by_the_largest_singular_value(make, dim, new):
    module = make()
    before = array(module.weight)
    normed = (parametrizations if new else nn.utils).spectral_norm(module, n_power_iterations=100)
    x = flambeau.ones(1, 5) if isinstance(module, nn.Linear) else flambeau.ones(1, 3, 4, 4)
    normed(x)
    assert largest_singular_value(module.weight, dim) == pytest.approx(1, abs=1e-3)
    ratio = array(module.weight) / before
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-5)


@pytest.mark.parametrize("family", [parametrizations, nn.utils])
def test_spectral_norm_iterates_in_training_only_and_survives_two_forwards(family):
    module = family.spectral_norm(nn.Linear(5, 4))
    x = flambeau.ones(1, 5)
    (module(x).sum() - 2 * module(-x).sum()).backward()
    module.eval()
    assert np.array_equal(array(module(x)), array(module(x)))
    vectors = [array(each) for each in module.buffers()]
    module(x)
    assert all(np.array_equal(a, array(b)) for a, b in zip(vectors, module.buffers()))


def test_spectral_norm_states_interchange_between_old_and_new():
    old = nn.utils.spectral_norm(nn.Linear(5, 4)).eval()
    new = parametrizations.spectral_norm(nn.Linear(5, 4)).eval()
    x = flambeau.randn(2, 5)
    new.load_state_dict(old.state_dict())
    np.testing.assert_allclose(array(new(x)), array(old(x)), rtol=1e-6)
    other = nn.utils.spectral_norm(nn.Linear(5, 4)).eval()
    other.load_state_dict(new.state_dict())
    np.testing.assert_allclose(array(other(x)), array(old(x)), rtol=1e-6)


def test_the_oldest_spectral_norm_states_load():
    source = nn.utils.spectral_norm(nn.Linear(5, 4), n_power_iterations=50)
    x = flambeau.randn(2, 5)
    source(x)
    source.eval()
    state = source.state_dict()
    del state["weight_v"], state._metadata
    state["weight"] = source.weight.detach().clone()
    target = nn.utils.spectral_norm(nn.Linear(5, 4)).eval()
    target.load_state_dict(state)
    np.testing.assert_allclose(array(target(x)), array(source(x)), rtol=1e-4, atol=1e-6)


def test_spectral_norm_of_a_vector_and_refusals():
    module = parametrizations.spectral_norm(nn.LayerNorm(4))
    np.testing.assert_allclose(array(module.weight), np.full(4, 0.5), rtol=1e-6)
    with pytest.raises(ValueError, match="Expected n_power_iterations to be positive"):
        parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
    with pytest.raises(IndexError, match=r"range of \[-2, 1\] but got 2"):
        parametrizations.spectral_norm(nn.Linear(2, 2), dim=2)
    with pytest.raises(ValueError, match="has no parameter or buffer with name 'w'"):
        parametrizations.spectral_norm(nn.Linear(2, 2), "w")
    module = nn.utils.spectral_norm(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="Cannot register two spectral_norm hooks"):
        nn.utils.spectral_norm(module)
    nn.utils.remove_spectral_norm(module)
    assert set(module.state_dict()) == {"weight", "bias"}
    with pytest.raises(ValueError, match="spectral_norm of 'weight' not found"):
        nn.utils.remove_spectral_norm(module)
