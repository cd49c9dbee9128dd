"""Module: registration, attributes, state, hooks, copies."""

import copy
import gc
import pickle
import weakref
from collections import OrderedDict

import numpy as np
import pytest

import flambeau
from flambeau import nn


class Scale(nn.Module):
    def __init__(self, count=3):
        super().__init__()
        self.weight = nn.Parameter(flambeau.ones(count))
        self.register_buffer("shift", flambeau.zeros(count))
        self.register_buffer("scratch", flambeau.zeros(count), persistent=False)
        self.register_parameter("absent", None)

    def forward(self, x):
        return x * self.weight + self.shift


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Scale()
        self.second = Scale()

    def forward(self, x):
        return self.second(self.first(x))


def vector(*values):
    return flambeau.tensor([float(value) for value in values])


def test_members_are_listed_in_order_of_registration_and_once():
    model = Pair()
    names = ["first.weight", "second.weight"]
    assert [name for name, _ in model.named_parameters()] == names
    buffers = [name for name, _ in model.named_buffers()]
    assert buffers == ["first.shift", "first.scratch", "second.shift", "second.scratch"]
    assert list(model.state_dict()) == [
        "first.weight",
        "first.shift",
        "second.weight",
        "second.shift",
    ]
    model.second.weight = model.first.weight
    assert [name for name, _ in model.named_parameters()] == ["first.weight"]
    assert len(list(model.named_parameters(remove_duplicate=False))) == 2
    assert [name for name, _ in model.named_modules()] == ["", "first", "second"]


def test_attributes_follow_the_registries():
    module = Scale()
    replacement = nn.Parameter(flambeau.zeros(3))
    module._parameters["weight"] = replacement
    assert module.weight is replacement
    del module._parameters["weight"]
    assert not hasattr(module, "weight")
    module.weight = flambeau.zeros(3)
    assert "weight" not in module._parameters
    module.weight = replacement
    assert module._parameters["weight"] is replacement
    module._buffers["shift"] = vector(1, 2, 3)
    assert module.shift.tolist() == [1, 2, 3]
    del module.shift
    assert "shift" not in module._buffers and not hasattr(module, "shift")
    module._parameters = {"other": replacement}
    assert module.other is replacement and not hasattr(module, "weight")


def test_a_name_moves_between_registries():
    module = Scale()
    module.shift = nn.Parameter(flambeau.zeros(3))
    assert "shift" in module._parameters and "shift" not in module._buffers
    module.scratch = Scale()
    assert "scratch" in module._modules and "scratch" not in module._buffers
    assert module.scratch is module._modules["scratch"]
    assert "scratch" not in module._non_persistent_buffers_set


def test_class_attributes_win_over_registered_names():
    class Typed(nn.Module):
        part = None

        def __init__(self):
            super().__init__()
            self.half = Scale()
            self.part = Scale()

    module = Typed()
    assert module.part is None and module._modules["part"] is not None
    assert callable(module.half) and not isinstance(module.half, nn.Module)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda m: setattr(m, "weight", 3), TypeError, "cannot assign 'int' as parameter 'weight'"),
        (lambda m: m.register_parameter("a.b", None), KeyError, "parameter name can.+t contain"),
        (lambda m: m.register_buffer("", None), KeyError, "buffer name can.+t be empty"),
        (lambda m: m.register_buffer("weight", None), KeyError, "'weight' already exists"),
        (lambda m: m.add_module("x", 3), TypeError, "int is not a Module subclass"),
        (lambda m: m.nothing, AttributeError, "'Scale' object has no attribute 'nothing'"),
        (lambda m: m.get_submodule("weight"), AttributeError, "`weight` is not an nn.Module"),
        (lambda m: m.train(1), ValueError, "training mode is expected to be boolean"),
        (lambda m: nn.Module()(1), NotImplementedError, 'missing the required "forward"'),
        (lambda m: m.to(flambeau.int64), TypeError, "only accepts floating point or complex"),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(")):
        action(Scale())


def test_assignment_before_init_is_refused():
    class Early(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(flambeau.zeros(1))

    with pytest.raises(AttributeError, match="cannot assign parameters before Module"):
        Early()


def test_load_state_dict_copies_and_reports():
    source, target = Pair(), Pair()
    with flambeau.no_grad():
        source.first.weight.fill_(5)
    held = target.first.weight
    result = target.load_state_dict(source.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert target.first.weight is held and held.tolist() == [5, 5, 5]

    state = source.state_dict()
    state["extra"] = state.pop("second.shift")
    with pytest.raises(RuntimeError) as caught:
        target.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Pair:\n"
        '\tMissing key(s) in state_dict: "second.shift". \n'
        '\tUnexpected key(s) in state_dict: "extra". '
    )
    keys = target.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["second.shift"] and keys.unexpected_keys == ["extra"]

    with pytest.raises(RuntimeError, match="size mismatch for weight: copying a param with shape"):
        Scale(2).load_state_dict(Scale(3).state_dict())


def test_load_state_dict_assign_takes_the_tensors():
    state = Scale().state_dict()
    module = Scale()
    module.load_state_dict(state, assign=True)
    assert isinstance(module.weight, nn.Parameter) and module.weight.requires_grad
    assert module.weight.data_ptr() == state["weight"].data_ptr()
    assert module.shift is state["shift"]


def test_forward_hooks_change_arguments_and_results():
    module = Scale()
    seen = []
    first = module.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    second = module.register_forward_hook(lambda m, args, out: out * 10)
    module.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs), with_kwargs=True)
    assert module(vector(1, 2, 3)).tolist() == [20, 30, 40]
    assert seen == [{}]
    first.remove()
    with second:
        assert module(vector(1, 2, 3)).tolist() == [10, 20, 30]
    assert module(vector(1, 2, 3)).tolist() == [1, 2, 3]


def test_always_called_hooks_run_when_forward_raises():
    class Failing(nn.Module):
        def forward(self):
            raise ValueError("no")

    seen = []
    module = Failing()
    module.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    module.register_forward_hook(lambda m, args, out: seen.append("not reached"))
    with pytest.raises(ValueError, match="no"):
        module()
    assert seen == [None]


def test_global_hooks_see_every_module():
    seen = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda m, args, out: seen.append(type(m).__name__)
    )
    try:
        Pair()(vector(1, 2, 3))
    finally:
        handle.remove()
    Pair()(vector(1, 2, 3))
    assert seen == ["Scale", "Scale", "Pair"]


def test_full_backward_hooks_see_and_replace_gradients():
    module = Scale()
    seen = []

    def hook(m, grad_input, grad_output):
        seen.append((grad_input[0].tolist(), grad_output[0].tolist()))
        return (grad_input[0] * 100,)

    module.register_full_backward_hook(hook)
    with flambeau.no_grad():
        module.weight.copy_(vector(1, 2, 3))
    x = vector(1, 1, 1).requires_grad_()
    (module(x) * 2).sum().backward()
    assert seen == [([2, 4, 6], [2, 2, 2])]
    assert x.grad.tolist() == [200, 400, 600]
    assert module.weight.grad.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks and full"):
        module.register_backward_hook(hook)


def test_full_backward_hook_without_input_gradient():
    module = Scale()
    seen = []
    module.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    module(vector(1, 1, 1)).sum().backward()
    assert seen == [((None,), [1, 1, 1])]


def test_backward_pre_hook_replaces_the_output_gradient():
    module = Scale()
    module.register_full_backward_pre_hook(lambda m, grads: (grads[0] * 3,))
    x = vector(1, 1, 1).requires_grad_()
    module(x).sum().backward()
    assert x.grad.tolist() == [3, 3, 3]


def test_deepcopy_is_independent_and_keeps_the_mirror():
    model = Pair()
    twin = copy.deepcopy(model)
    assert twin.first.weight is twin.first._parameters["weight"]
    assert twin.first.weight is not model.first.weight
    twin.first._parameters["weight"] = nn.Parameter(vector(7, 7, 7))
    assert twin.first.weight.tolist() == [7, 7, 7]
    assert model.first.weight.tolist() == [1, 1, 1]
    assert "weight" not in model.first.__getstate__()


def test_modules_are_freed_without_the_cycle_collector():
    gc.disable()
    try:
        model = Pair()
        reference = weakref.ref(model.first)
        del model
        assert reference() is None
    finally:
        gc.enable()


def test_conversion_keeps_parameter_identity_and_integer_buffers():
    module = nn.Module()
    module.weight = nn.Parameter(flambeau.ones(2))
    module.register_buffer("count", flambeau.tensor(3))
    held = module.weight
    module.double()
    assert module.weight is held and held.dtype is flambeau.float64
    assert module.count.dtype is flambeau.int64


def test_zero_grad_and_requires_grad():
    module = Scale()
    module(vector(1, 2, 3)).sum().backward()
    module.zero_grad(set_to_none=False)
    assert module.weight.grad.tolist() == [0, 0, 0]
    module.zero_grad()
    assert module.weight.grad is None
    module.requires_grad_(False)
    assert not module(vector(1, 2, 3)).requires_grad


def test_repr_nests():
    model = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.Sequential(nn.ReLU())))
    assert repr(model) == (
        "Sequential(\n"
        "  (a): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (b): Sequential(\n"
        "    (0): ReLU()\n"
        "  )\n"
        ")"
    )
    layers = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])
    assert repr(layers) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"


def test_sequential_edits():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    model = nn.Sequential(a, b)
    model.insert(1, c)
    assert list(model) == [a, c, b] and model[-1] is b
    del model[0]
    assert list(model._modules) == ["0", "1"] and model[0] is c
    assert list(model + nn.Sequential(a)) == [c, b, a]
    assert list(model[1:]) == [b]
    with pytest.raises(IndexError, match="index 5 is out of range"):
        model[5]


def test_module_dict_and_parameter_containers():
    table = nn.ModuleDict({"x": nn.ReLU()})
    table["y"] = nn.Tanh()
    assert list(table.keys()) == ["x", "y"] and "x" in table
    table.pop("x")
    assert list(table) == ["y"]
    with pytest.raises(KeyError, match="already exists"):
        table["keys"] = nn.ReLU()
    parameters = nn.ParameterList([flambeau.zeros(2), flambeau.ones(1)])
    assert [name for name, _ in parameters.named_parameters()] == ["0", "1"]
    named = nn.ParameterDict({"b": flambeau.zeros(1), "a": flambeau.ones(1)})
    assert list(named.keys()) == ["a", "b"]
    assert isinstance(named["a"], nn.Parameter)


def test_linear_draws_weights_from_the_documented_range():
    flambeau.manual_seed(3)
    layer = nn.Linear(16, 500)
    for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
        assert np.abs(values).max() <= 0.25
        assert np.abs(values).max() > 0.24
        assert abs(values.mean()) < 0.02


def test_compile_replaces_the_forward_of_this_object_only():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    inputs = flambeau.ones(2, 4)
    expected = model(inputs)
    seen = []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.compile()
    assert all(flambeau.equal(model(inputs), expected) for _ in range(4))
    assert len(seen) == 4
    assert "program of" in model._compiled_call_impl.show()
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(nn.Linear(1, 1)))):
        assert "forward" not in vars(other) and other._compiled_call_impl is None
