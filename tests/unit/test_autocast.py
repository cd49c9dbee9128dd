"""Autocast: which dtype ops compute in, and the scaling of gradients."""

import threading

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.amp import GradScaler, custom_bwd, custom_fwd
from flambeau.tensor import autocast as module
from flambeau.utils.checkpoint import checkpoint

HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("half", HALVES)
def test_products_are_half_and_what_loses_by_that_is_float32(half):
    x = torch.randn(4, 4, requires_grad=True)
    with torch.autocast("cpu", half):
        product = x @ x
        assert product.dtype is half
        assert (x + x).dtype is torch.float32  # in no list: as it comes
        assert (product + product).dtype is half
        assert torch.einsum("ij,kj", x, x).dtype is half  # a composite: its parts are cast
        assert torch.linalg.inv(product.detach()).dtype is torch.float32
        assert nn.functional.mse_loss(product, x).dtype is torch.float32
        assert (x.double() @ x.double()).dtype is torch.float64
        assert torch.cat([product, x]).dtype is torch.float32
        assert x.index_copy(0, torch.tensor([1]), product[:1]).dtype is torch.float32
        assert nn.functional.pad(product[None], (1, 1), "reflect").dtype is torch.float32
        assert nn.functional.pad(product[None], (1, 1)).dtype is half
        assert nn.LSTM(4, 3)(x)[0].dtype is half
        assert nn.functional.bilinear(x, x, x[None]).dtype is torch.float32  # PyTorch's kernel
    assert (x @ x).dtype is torch.float32
    product.float().sum().backward()
    assert x.grad.dtype is torch.float32


def test_out_and_in_place_forms_are_not_cast():
    x, out = torch.eye(3), torch.zeros(3, 3)
    with torch.autocast("cpu"):
        assert torch.mm(x, x, out=out).dtype is torch.float32
        assert out.addmm_(x, x).dtype is torch.float32


def test_blocks_nest_and_restore():
    x = torch.eye(2)
    with torch.autocast("cpu", torch.float16):
        with torch.autocast("cpu", enabled=False):
            assert not torch.is_autocast_enabled("cpu")
            assert (x @ x).dtype is torch.float32
            with torch.autocast("cpu"):
                assert (x @ x).dtype is torch.float16  # the dtype set outside holds on
        with torch.autocast("cpu", torch.bfloat16):
            assert (x @ x).dtype is torch.bfloat16
        assert (x @ x).dtype is torch.float16
        assert torch.get_autocast_dtype("cpu") is torch.float16
    assert torch.get_autocast_dtype("cpu") is torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(ZeroDivisionError), torch.autocast("cpu"):
        raise ZeroDivisionError
    assert not torch.is_autocast_enabled("cpu")


def test_autocast_is_of_its_thread_and_decorates():
    x, found = torch.eye(2), []
    with torch.autocast("cpu"):
        thread = threading.Thread(target=lambda: found.append((x @ x).dtype))
        thread.start()
        thread.join()
    assert found == [torch.float32]
    assert torch.autocast("cpu")(lambda: x @ x)().dtype is torch.bfloat16


def test_parameters_are_cast_once():
    layer, x = nn.Linear(3, 3), torch.randn(2, 3)
    with torch.autocast("cpu"):
        layer(layer(x))
        kept = {key[0] for key in module._thread.casts}
        assert kept == {id(layer.weight), id(layer.bias)}
        before = layer(x)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.zero_()
        assert before.abs().sum() > 0
        assert layer(x).abs().sum() == 0  # a parameter that changed is cast anew
        loss = layer(x).float().sum()
    assert not module._thread.casts
    loss.backward()
    assert layer.weight.grad.dtype is torch.float32
    assert layer.weight.grad[0].tolist() == pytest.approx(x.sum(0).tolist(), abs=0.05)
    with torch.autocast("cpu", cache_enabled=False):
        layer(x)
        assert not module._thread.casts


def test_checkpoints_run_again_under_the_same_autocast():
    layer, x = nn.Linear(4, 4), torch.randn(2, 4, requires_grad=True)
    for reentrant in (False, True):
        with torch.autocast("cpu"):
            result = checkpoint(lambda v: layer(v).float().tanh(), x, use_reentrant=reentrant)
        result.sum().backward()
        direct = torch.autograd.grad(torch.autocast("cpu")(layer)(x).float().tanh().sum(), x)[0]
        assert torch.equal(x.grad, direct)
        x.grad = None


def test_custom_functions():
    seen = []

    class Product(torch.autograd.Function):
        @staticmethod
        @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            seen.append((a.dtype, (a @ b).dtype))
            return a @ b

        @staticmethod
        @custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            a, b = ctx.saved_tensors
            seen.append((grad @ b.T).dtype)
            return grad @ b.T, a.T @ grad

    x = torch.eye(2).bfloat16().requires_grad_()
    with torch.autocast("cpu"):
        Product.apply(x, x).sum().backward()
    assert seen == [(torch.float32, torch.float32), torch.float32]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: torch.autocast("cpu", torch.float64), "CPU Autocast only supports dtypes"),
        (lambda: torch.autocast("cuda"), "CUDA is not available"),
        (lambda: GradScaler(), "CUDA is not available"),
    ],
)
def test_what_cannot_be_is_warned_of_and_off(make, message):
    with pytest.warns(UserWarning, match=message):
        assert not make()._enabled


def scaled(scaler, gradient):
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], 0.5)
    scaler.scale(torch.tensor(1.0))
    parameter.grad = torch.tensor(gradient)
    return parameter, optimizer


def test_the_scaler_divides_skips_and_adapts():
    scaler = GradScaler("cpu", init_scale=8.0, growth_interval=2)
    assert scaler.scale([torch.ones(1)])[0].item() == 8
    parameter, optimizer = scaled(scaler, [8.0, 16.0])
    scaler.unscale_(optimizer)
    assert parameter.grad.tolist() == [1, 2]
    scaler.step(optimizer)
    scaler.update()
    assert parameter.tolist() == [0.5, 0]
    parameter, optimizer = scaled(scaler, [8.0, float("inf")])
    assert scaler.step(optimizer) is None
    scaler.update()
    assert parameter.tolist() == [1, 1] and scaler.get_scale() == 4
    for _ in range(2):
        scaler.step(scaled(scaler, [0.0, 0.0])[1])
        scaler.update()
    assert scaler.get_scale() == 8
    other = GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()


def test_the_scaler_minds_the_order_of_calls():
    scaler = GradScaler("cpu")
    parameter = nn.Parameter(torch.ones(2))
    with pytest.raises(AssertionError, match="_scale is None"):
        scaler.step(torch.optim.SGD([parameter], 0.5))
    _, optimizer = scaled(scaler, [1.0, 1.0])
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called since"):
        scaler.step(optimizer)


@pytest.mark.parity
def test_the_lists_are_pytorchs():
    reference = pytest.importorskip("torch")
    listed = {
        name.removeprefix("aten::").partition(".")[0]
        for name in reference._C._dispatch_get_all_op_names()
        if name.startswith("aten::")
        and reference._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastCPU")
    }
    ours = module.LOWER | module.FLOAT
    # What is spelt otherwise here, or has no op of its own.
    elsewhere = {name for name in listed if name.startswith(("_", "reflection_pad", "replication"))}
    elsewhere |= {"nll_loss", "nll_loss2d", "mkldnn_rnn_layer", "fake_quantize_per_tensor_affine"}
    elsewhere |= {"multilabel_margin_loss_forward", "conv_tbc", "cat", "stack", "index_copy"}
    assert listed - elsewhere == ours - {"nll_loss_nd"}
