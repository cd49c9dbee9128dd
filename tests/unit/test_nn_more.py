"""Lazy modules, and what torch.nn has besides layers: fusion, gradients of convolutions, masks."""

import collections
import copy
import pickle
import warnings

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn.attention import SDPBackend, sdpa_kernel
from flambeau.nn.attention import flex_attention as flex
from flambeau.nn.attention.bias import causal_lower_right, causal_upper_left
from flambeau.nn.parallel.scatter_gather import gather, scatter, scatter_kwargs

PAIRS = [
    (nn.LazyLinear, (3,), nn.Linear, (4, 3), (2, 4)),
    (nn.LazyConv1d, (6, 3), nn.Conv1d, (4, 6, 3), (2, 4, 5)),
    (nn.LazyConv2d, (6, 3, 2), nn.Conv2d, (4, 6, 3, 2), (2, 4, 5, 5)),
    (nn.LazyConv3d, (6, 2), nn.Conv3d, (4, 6, 2), (2, 4, 3, 3, 3)),
    (nn.LazyConvTranspose1d, (6, 3), nn.ConvTranspose1d, (4, 6, 3), (2, 4, 5)),
    (nn.LazyConvTranspose2d, (6, 3), nn.ConvTranspose2d, (4, 6, 3), (2, 4, 5, 5)),
    (nn.LazyConvTranspose3d, (6, 2), nn.ConvTranspose3d, (4, 6, 2), (2, 4, 3, 3, 3)),
    (nn.LazyBatchNorm1d, (), nn.BatchNorm1d, (4,), (3, 4)),
    (nn.LazyBatchNorm2d, (), nn.BatchNorm2d, (4,), (3, 4, 2, 2)),
    (nn.LazyBatchNorm3d, (), nn.BatchNorm3d, (4,), (3, 4, 2, 2, 2)),
    (nn.LazyInstanceNorm1d, (), nn.InstanceNorm1d, (4, 1e-5, 0.1, True, True), (3, 4, 2)),
    (nn.LazyInstanceNorm2d, (), nn.InstanceNorm2d, (4, 1e-5, 0.1, True, True), (3, 4, 2, 2)),
    (nn.LazyInstanceNorm3d, (), nn.InstanceNorm3d, (4, 1e-5, 0.1, True, True), (3, 4, 2, 2, 2)),
]


@pytest.mark.parametrize("lazy, lazily, eager, eagerly, shape", PAIRS)
def test_a_lazy_module_becomes_the_eager_one(lazy, lazily, eager, eagerly, shape):
    module = lazy(*lazily)
    assert module.has_uninitialized_params()
    assert "Uninitialized" in repr(next(iter(module.state_dict().values())))
    parameters = list(module.parameters())
    x = torch.randn(shape)
    for candidate in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), module):
        torch.manual_seed(1)
        result = candidate(x)
        torch.manual_seed(1)
        expected = eager(*eagerly)
        assert type(candidate) is eager and repr(candidate) == repr(expected)
        assert torch.equal(result, expected(x))
    assert all(a is b for a, b in zip(parameters, module.parameters(), strict=True))


@pytest.mark.parametrize("lazy, lazily, eager, eagerly, shape", PAIRS)
def test_loading_gives_shapes(lazy, lazily, eager, eagerly, shape):
    source, module, x = eager(*eagerly).eval(), lazy(*lazily).eval(), torch.randn(shape)
    module.load_state_dict(source.state_dict())
    assert not module.has_uninitialized_params()
    assert torch.equal(module(x), source(x))
    assert repr(module) == repr(source)


def test_lazy_errors():
    with pytest.raises(RuntimeError, match=r"Expected 3D \(unbatched\) or 4D \(batched\) input to"):
        nn.LazyConv2d(2, 3)(torch.ones(3, 3))
    with pytest.raises(ValueError, match="must be divisible by groups"):
        nn.LazyConv1d(4, 1, groups=2)(torch.ones(1, 3, 4))
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized"):
        nn.LazyLinear(2).weight.shape  # noqa: B018
    with pytest.raises(RuntimeError, match="Can't access the shape"):
        nn.Linear(2, 2).load_state_dict(nn.LazyLinear(2).state_dict())

    class Forgetful(nn.modules.lazy.LazyModuleMixin, nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.UninitializedParameter()

        def initialize_parameters(self, x):
            pass

    with pytest.raises(RuntimeError, match="Forgetful has not been fully initialized"):
        Forgetful()(torch.ones(1))


def test_adaptive_softmax_is_a_distribution():
    module = nn.AdaptiveLogSoftmaxWithLoss(32, 20, [4, 10], head_bias=True)
    x, target = torch.randn(12, 32), torch.randint(20, (12,))
    log_prob = module.log_prob(x)
    np.testing.assert_allclose(log_prob.exp().sum(1).tolist(), 1, rtol=1e-5)
    output, loss = module(x, target)
    picked = log_prob.gather(1, target[:, None]).squeeze(1)
    np.testing.assert_allclose(output.tolist(), picked.tolist(), rtol=1e-5)
    assert loss.item() == pytest.approx(-picked.mean().item(), rel=1e-5)
    assert torch.equal(module.predict(x), log_prob.argmax(1))
    assert module(x[0], target[0]).output.item() == pytest.approx(picked[0].item(), rel=1e-5)
    with pytest.raises(RuntimeError, match=r"Target values should be in \[0, 19\]"):
        module(x, target + 20)
    with pytest.raises(ValueError, match="cutoffs should be a sequence of unique"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 20, [10, 4])


def test_linear_cross_entropy_loss_is_both():
    module = nn.LinearCrossEntropyLoss(4, 5, bias=True, label_smoothing=0.1)
    x, target = torch.randn(6, 4), torch.randint(5, (6,))
    both = nn.CrossEntropyLoss(label_smoothing=0.1)(module.linear(x), target)
    assert module(x, target).item() == pytest.approx(both.item(), rel=1e-5)
    assert list(module.state_dict()) == ["linear.weight", "linear.bias"]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradients_of_convolutions(rank):
    options = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    x = torch.randn(2, 4, *[6] * rank, dtype=torch.float64, requires_grad=True)
    w = torch.randn(6, 2, *[3] * rank, dtype=torch.float64, requires_grad=True)
    y = getattr(nn.functional, f"conv{rank}d")(x, w, **options)
    g = torch.randn_like(y)
    of_x, of_w = torch.autograd.grad(y, [x, w], g)
    found = getattr(nn.grad, f"conv{rank}d_input")(x.shape, w, g, **options)
    np.testing.assert_allclose(found.tolist(), of_x.tolist(), atol=1e-12)
    found = getattr(nn.grad, f"conv{rank}d_weight")(x, w.shape, g, **options)
    np.testing.assert_allclose(found.tolist(), of_w.tolist(), atol=1e-12)


@pytest.mark.parametrize(
    "layer, norm, shape, options",
    [
        (nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), (2, 3, 5, 5), ()),
        (nn.ConvTranspose1d(3, 4, 3), nn.BatchNorm1d(4, affine=False), (2, 3, 5), (True,)),
        (nn.Linear(3, 4), nn.BatchNorm1d(4), (6, 3), ()),
    ],
)
def test_fusion_keeps_results(layer, norm, shape, options):
    for _ in range(3):
        norm(layer(torch.randn(shape)))
    fuse = nn.utils.fuse_linear_bn_eval if type(layer) is nn.Linear else nn.utils.fuse_conv_bn_eval
    with pytest.raises(AssertionError, match="only for eval"):
        fuse(layer, norm, *options)
    x = torch.randn(shape)
    both, fused = norm.eval()(layer.eval()(x)), fuse(layer, norm, *options)(x)
    np.testing.assert_allclose(fused.tolist(), both.tolist(), rtol=1e-4, atol=1e-5)


def test_skip_init_and_memory_format():
    layer = nn.utils.skip_init(nn.Conv2d, 2, 3, 3)
    assert layer.weight.shape == (3, 2, 3, 3) and not layer.weight.is_meta
    nn.utils.convert_conv2d_weight_memory_format(layer, torch.channels_last)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="must support a 'device' arg"):
        nn.utils.skip_init(nn.ReLU)


def test_causal_masks():
    assert causal_upper_left(2, 4).tolist() == [[True] + [False] * 3, [True] * 2 + [False] * 2]
    q, k = torch.randn(1, 2, 4), torch.randn(1, 4, 4)
    mask = causal_lower_right(2, 4)
    assert mask.tolist() == [[True] * 3 + [False], [True] * 4]
    with sdpa_kernel([SDPBackend.MATH]):
        found = nn.functional.scaled_dot_product_attention(q, k, k, mask)
    scores = (q.numpy() @ k.numpy().transpose(0, 2, 1) / 2)[0]
    weights = np.where(mask.numpy(), np.exp(scores), 0)
    weights /= weights.sum(1, keepdims=True)
    np.testing.assert_allclose(found[0].numpy(), weights @ k[0].numpy(), rtol=1e-5)


def test_flex_attention_is_attention_with_functions():
    q, k, v = (torch.randn(2, 4, n, 8, dtype=torch.float64) for n in (5, 7, 7))
    bias = torch.randn(4, 13, dtype=torch.float64, requires_grad=True)
    seen = flex.and_masks(lambda b, h, i, j: i + 3 >= j, lambda b, h, i, j: (j != 1) | (b == 0))
    blocks = flex.create_block_mask(seen, 2, None, 5, 7, BLOCK_SIZE=2)
    found, sums = flex.flex_attention(
        q, k, v, lambda s, b, h, i, j: s + bias[h, i - j + 6], blocks, return_lse=True
    )
    wanted = np.zeros((2, 4, 5, 8))
    for b, h, i in np.ndindex(2, 4, 5):
        keys = [j for j in range(7) if i + 3 >= j and (j != 1 or b == 0)]
        scores = [
            (q[b, h, i] @ k[b, h, j]).item() / 8**0.5 + bias[h, i - j + 6].item() for j in keys
        ]
        weights = np.exp(scores) / np.exp(scores).sum()
        wanted[b, h, i] = weights @ v[b, h].numpy()[keys]
        assert sums[b, h, i].item() == pytest.approx(np.log(np.exp(scores).sum()))
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-12)
    found.sum().backward()
    assert bias.grad.abs().sum() > 0
    dense = np.zeros((2, 1, 6, 8), dtype=bool)
    dense[:, :, :5, :7] = flex.create_mask(seen, 2, None, 5, 7).numpy()
    cells = dense.reshape(2, 1, 3, 2, 4, 2).any((3, 5))
    np.testing.assert_array_equal(blocks.to_dense().numpy(), cells)
    count = blocks.kv_num_blocks + blocks.full_kv_num_blocks
    np.testing.assert_array_equal(count.numpy(), cells.sum(-1))


def test_flex_attention_without_anything_to_see_and_with_shared_heads():
    q, k = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 3, 8)
    later = flex.create_block_mask(lambda b, h, i, j: j < i, None, None, 3, 3)
    found = flex.flex_attention(q, k, k, block_mask=later, enable_gqa=True)
    assert found[:, :, 0].abs().sum() == 0 and found.isfinite().all()
    plain = nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    np.testing.assert_allclose(
        flex.flex_attention(q, k, k, enable_gqa=True).numpy(), plain.numpy(), atol=1e-6
    )
    with pytest.raises(ValueError, match="Try setting enable_gqa=True"):
        flex.flex_attention(q, k, k)
    with pytest.raises(ValueError, match="block_mask was created for"):
        flex.flex_attention(q, q[:, :, :2], q[:, :, :2], block_mask=later)


def test_prefixes_are_consumed():
    state = nn.DataParallel(nn.Sequential(nn.Linear(2, 2))).state_dict()
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == ["0.weight", "0.bias"]
    assert list(state._metadata) == ["", "0"]


@pytest.mark.parity
def test_every_module_agrees_with_pytorch():
    pytest.importorskip("torch")
    from module_page import rows_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        different = {name: found for name, (_, found) in rows_of([]).items() if found}
    assert set(different) <= {"CrossMapLRN2d", "SyncBatchNorm"}, different


def test_batches_are_scattered_over_devices_and_gathered():
    Pair = collections.namedtuple("Pair", "left right")
    x = torch.arange(6.0).view(3, 2)
    parts = scatter((Pair(x, 1), {"key": [x]}), ["cpu", "cpu"])
    assert [part[0].left.shape[0] for part in parts] == [2, 1] and parts[1][0].right == 1
    assert torch.equal(gather(scatter(x, ["cpu"] * 5), "cpu"), x)
    assert gather([x.sum(), x.sum()], "cpu").tolist() == [15, 15]
    assert gather([{"a": (x, None)}] * 2, "cpu")["a"][0].shape == (6, 2)
    assert scatter_kwargs((x,), {"k": 1}, ["cpu"] * 2)[1] == ({"k": 1}, {"k": 1})
    assert scatter_kwargs((), {"k": x}, ["cpu"] * 2)[0] == ((), ())
    with pytest.raises(ValueError, match="same number of keys"):
        gather([{"a": x}, {}], "cpu")


def test_tensors_are_flattened_into_one_and_taken_apart():
    tensors = [torch.arange(6.0).view(2, 3), torch.ones(2).expand(3, 2)]
    flat = torch._utils._flatten_dense_tensors(tensors)
    assert flat.tolist() == [0, 1, 2, 3, 4, 5] + [1] * 6
    parts = torch._utils._unflatten_dense_tensors(flat, tensors)
    assert all(torch.equal(*pair) for pair in zip(parts, tensors, strict=True))
    assert parts[0].data_ptr() == flat.data_ptr()


def test_parameters_without_shape_refuse_to_compute():
    layer = torch.nn.LazyLinear(2)
    for use in (lambda w: w + 1, lambda w: w.numel(), torch.nn.init.ones_):
        with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter in"):
            use(layer.weight)
    assert layer.double().weight.dtype == torch.float64
    assert layer(torch.ones(1, 3, dtype=torch.float64)).shape == (1, 2)
    assert type(layer.weight) is torch.nn.Parameter and layer.weight.numel() == 6


def test_hooks_are_not_told_of_gradients_that_come_by_no_output():
    class Named(torch.nn.Module):
        def forward(self, x):
            return {"twice": x * 2}

    told, model, x = [], Named(), torch.ones(2, requires_grad=True)
    model.register_full_backward_hook(lambda *given: told.append(given))
    model(x)["twice"].sum().backward()
    assert told == [] and x.grad.tolist() == [2, 2]


def test_gradients_of_weights_that_no_convolution_has():
    x, grad = torch.randn(2, 3, 5, 6), torch.randn(2, 4, 3, 4)
    assert torch.nn.grad.conv2d_weight(x, (4, 3, 3, 3), grad).shape == (4, 3, 3, 3)
    for size in ((0, 3, 3, 3), (4, 2, 3, 3), (4, 3, 4, 3), (4, 3, 0, 3), (4, 3, -1, 3)):
        with pytest.raises(RuntimeError, match="has no result of"):
            torch.nn.grad.conv2d_weight(x, size, grad)
