"""Inference tensors: PyTorch's rules and its messages, taken from PyTorch 2.13."""

import threading

import numpy as np
import pytest

import flambeau as torch
from flambeau import runtime

SAVED = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
    "inference mode in computation tracked by autograd. To work around this, you can make a clone "
    "to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
    "`torch.inference_mode()`."
)
WRITTEN = (
    "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone "
    "to get a normal tensor before doing inplace update.See "
    "https://github.com/pytorch/rfcs/pull/17 for more details."
)
VIEW = (
    "A view was created in inference mode and is being modified inplace in normal mode. Given that "
    "this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by "
    "moving both the view and the inplace either both inside the inference_mode block (if you "
    "don't want the inplace to be tracked) or both outside (if you want the inplace to be tracked)."
)


def made_inside(make=lambda: torch.ones(4)):
    with torch.inference_mode():
        return make()


def first_line(action):
    with pytest.raises(RuntimeError) as caught:
        action()
    return str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(4),
        lambda: torch.tensor([1.0]),
        lambda: torch.from_numpy(np.ones(3)),
        lambda: torch.ones(4)[1:],
        lambda: torch.ones(4).data,
        lambda: torch.ones(4).detach(),
        lambda: torch.ones(4) * 2,
        lambda: torch.ones(2, dtype=torch.complex64).conj(),
        lambda: torch.ones(2, requires_grad=True),
        lambda: torch.ones(2, device="meta"),
    ],
)
def test_what_is_made_inside_is_an_inference_tensor(make):
    assert made_inside(make).is_inference()
    assert not make().is_inference()


def test_views_are_what_their_base_is():
    normal, inside = torch.ones(4), made_inside()
    with torch.inference_mode():
        views = normal[1:], normal.view(2, 2), normal.detach(), normal.data, normal.contiguous()
        copies = normal.clone(), normal + 1
    assert not any(v.is_inference() for v in views)
    assert all(c.is_inference() for c in copies)
    assert inside[1:].is_inference() and inside.detach().is_inference()
    assert torch.is_inference(inside) and inside.data.is_inference()
    assert not inside.clone().is_inference() and not (inside * 2).is_inference()


@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.add_(1),
        lambda t: t[1:].mul_(2),
        lambda t: t.__setitem__(0, 1.0),
        lambda t: t.__setitem__(torch.tensor([0]), 1.0),
        lambda t: t.fill_(1),
        lambda t: t.zero_(),
        lambda t: t.copy_(torch.zeros(4)),
        lambda t: t.uniform_(),
        lambda t: t.index_add_(0, torch.tensor([0]), torch.ones(1)),
        lambda t: t.cumsum_(0),
        lambda t: t.resize_(5),
        lambda t: t.set_(torch.ones(4)),
        lambda t: t.t_(),
        lambda t: t.unsqueeze_(0),
        lambda t: torch.add(torch.ones(4), 1, out=t),
        lambda t: t.apply_(lambda v: v),
    ],
)
def test_writing_outside_is_an_error_and_changes_nothing(write):
    tensor = made_inside()
    for mode in (torch.enable_grad(), torch.no_grad()):
        with mode:
            assert first_line(lambda: write(tensor)) == WRITTEN
    assert tensor.tolist() == [1.0] * 4
    with torch.inference_mode():
        write(tensor)


def test_saving_for_backward_is_an_error():
    weight, tensor = torch.ones(4, requires_grad=True), made_inside()
    assert first_line(lambda: weight * tensor) == SAVED
    assert first_line(lambda: torch.cat([weight * 2, tensor]).reshape(2, 4) @ tensor) == SAVED
    assert first_line(lambda: torch.nn.functional.linear(tensor, weight.expand(2, 4))) == SAVED
    assert first_line(lambda: torch.einsum("i,i->", weight, tensor)) == SAVED
    assert (weight + tensor).requires_grad  # which saves nothing
    (weight * tensor.clone()).sum().backward()
    assert weight.grad.tolist() == [1.0] * 4


def test_saving_in_a_function_is_an_error():
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(y)
            return x * y

    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        assert (
            first_line(lambda: Scale.apply(torch.ones(4, requires_grad=True), made_inside()))
            == SAVED
        )


def test_requires_grad_and_version():
    tensor = made_inside()
    setting = "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
    assert first_line(tensor.requires_grad_) == setting
    assert first_line(lambda: setattr(tensor, "requires_grad", True)) == setting
    assert not tensor.requires_grad_(False).requires_grad
    counter = "Inference tensors do not track version counter."
    assert first_line(lambda: tensor._version) == counter
    with torch.inference_mode():
        assert first_line(lambda: tensor.add_(1)._version) == counter
        assert tensor.requires_grad_().requires_grad
        assert not (tensor * 2).requires_grad


def test_normal_tensors_count_versions_inside():
    normal = torch.ones(3)
    with torch.inference_mode():
        normal.add_(1)
        normal[0] = 5.0
    assert normal._version == 2 and normal.tolist() == [5.0, 2.0, 2.0]


def test_views_made_inside_are_not_written_outside():
    weight = torch.ones(3, requires_grad=True)
    computed = weight * 1
    view, plain = made_inside(lambda: (computed.view(3), torch.ones(3).view(3)))
    assert first_line(lambda: view.add_(1)) == VIEW
    plain_base = torch.ones(3)
    with torch.inference_mode():
        plain = plain_base.view(3)
    assert plain.add_(1).tolist() == [2.0] * 3


def test_grad_mode_inside():
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad(), torch.inference_mode(False):
        assert torch.is_grad_enabled()
    with torch.inference_mode():
        assert not torch.is_grad_enabled() and torch.is_inference_mode_enabled()
        with torch.enable_grad():  # nothing is recorded all the same
            assert torch.is_grad_enabled() and not (weight * 2).requires_grad
            with torch.no_grad():
                assert not torch.is_grad_enabled()
        with torch.inference_mode(False):
            assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
            assert (weight * 2).requires_grad and not torch.ones(1).is_inference()
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
        assert torch.ones(1).is_inference()
    assert torch.is_grad_enabled() and (weight * 2).requires_grad


def test_decorators_and_generators():
    @torch.inference_mode
    def direct():
        return torch.ones(2)

    @torch.inference_mode()
    def generator():
        yield torch.ones(2)
        yield torch.ones(2)

    assert direct().is_inference() and all(t.is_inference() for t in generator())
    assert not torch.ones(2).is_inference()


def test_each_thread_has_its_own_mode():
    inside, release = threading.Barrier(3), threading.Event()
    found = {}

    def work(name, mode):
        with torch.inference_mode(mode):
            inside.wait()
            release.wait()
            found[name] = torch.ones(2).is_inference()

    threads = [threading.Thread(target=work, args=(m, m == "on")) for m in ("on", "off")]
    for t in threads:
        t.start()
    inside.wait()
    assert not torch.ones(2).is_inference()
    with torch.inference_mode():  # now two threads are: native code has to ask
        assert torch.ones(2).is_inference()
        release.set()
        for t in threads:
            t.join()
        assert torch.ones(2).is_inference()
    assert found == {"on": True, "off": False}
    assert runtime.empty(8).version == 0
