"""Tensors, modules, optimizers and settings that change between two calls of a compiled function:
its results are never those of before.
"""

import collections

import pytest
from scenarios import often, same_as_eager, values, x4

import flambeau as torch

nn = torch.nn


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device("cpu")
    torch.use_deterministic_algorithms(False)


SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


@scenario
def default_dtype_and_device(compile):
    function = compile(lambda x: x + torch.full((4,), 0.1) + torch.tensor(0.1))
    out = often(function, x4())
    torch.set_default_dtype(torch.float64)
    out += often(function, torch.arange(4, dtype=torch.float32))
    torch.set_default_dtype(torch.float32)
    out += often(function, x4())
    made = compile(lambda: torch.zeros(3).device.type)
    out += often(made)
    torch.set_default_device("meta")
    out += often(made)
    torch.set_default_device("cpu")
    return out + often(made)


@scenario
def autocast_that_is_on(compile):
    weight = torch.ones(4, 4)
    function = compile(lambda x: x @ weight)
    x = torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    out = often(function, x)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            out += often(function, x)
            with torch.autocast("cpu", enabled=False):
                out += often(function, x)
    return out + often(function, x)


@scenario
def grad_mode_that_is_on(compile):
    weight = torch.ones(4, requires_grad=True)
    function = compile(lambda x: x * weight)
    out = often(function, x4())
    with torch.no_grad():
        out += often(function, x4())
    with torch.inference_mode():
        out += [function(x4()).is_inference() for _ in range(4)]
    out += often(function, x4())
    return [*out, *[function(x4()).is_inference() for _ in range(4)]]


@scenario
def grad_mode_that_is_asked(compile):
    function = compile(lambda x: x * (2 if torch.is_grad_enabled() else 3))
    out = often(function, x4())
    with torch.no_grad():
        out += often(function, x4())
    return out + often(function, x4())


@scenario
def settings_that_are_asked(compile):
    def body(x):
        y = x * torch.get_num_threads()
        return y + torch.are_deterministic_algorithms_enabled() + torch.initial_seed()

    function, threads = compile(body), torch.get_num_threads()
    torch.manual_seed(3)
    out = often(function, x4())
    torch.set_num_threads(1)
    out += often(function, x4())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    out += often(function, x4())
    torch.manual_seed(4)
    return out + often(function, x4())


@scenario
def settings_of_print_and_finfo(compile):
    function = compile(
        lambda x: x * (torch.get_default_dtype() is torch.float32) + torch.finfo().bits
    )
    out = often(function, x4())
    torch.set_default_dtype(torch.float64)
    return out + often(function, torch.ones(4, dtype=torch.float32))


@scenario
def generators(compile):
    function = compile(lambda x, g: x + torch.rand(4, generator=g))
    out = []
    for seed in (1, 2, 1):
        g = torch.Generator().manual_seed(seed)
        out += often(function, x4(), g)
        g.manual_seed(seed)
        out += often(function, x4(), g)
    holder = {"g": torch.Generator().manual_seed(5)}
    held = compile(lambda x: x + torch.rand(4, generator=holder["g"]))
    out += often(held, x4())
    holder["g"] = torch.Generator().manual_seed(5)
    return out + often(held, x4())


@scenario
def hooks_of_modules(compile):
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU())
    nn.init.ones_(model[0].weight)
    function = compile(lambda x: model(x))
    out = often(function, x4())
    handles = [
        model[0].register_forward_hook(lambda module, args, result: result * 2),
        model.register_forward_pre_hook(lambda module, args: (args[0] + 1,)),
        nn.modules.module.register_module_forward_hook(lambda module, args, result: result - 0.5),
    ]
    out += often(function, x4())
    for handle in handles:
        handle.remove()
        out += often(function, x4())
    return out


@scenario
def hooks_of_gradients(compile):
    weight = torch.ones(4, requires_grad=True)

    def body(x):
        weight.grad = None
        (x * weight).sum().backward()
        return weight.grad

    function = compile(body)
    out = often(function, x4())
    handle = weight.register_hook(lambda grad: grad * 2)
    out += often(function, x4())
    handle.remove()
    return out + often(function, x4())


def linear():
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.copy_(torch.arange(16.0).view(4, 4))
        model.bias.fill_(0.5)
    return model


@scenario
def parameters_that_are_replaced(compile):
    model = linear()
    function = compile(model)
    out = often(function, x4())
    model.weight = nn.Parameter(torch.ones(4, 4))
    out += often(function, x4())
    model.bias = None
    out += often(function, x4())
    model.weight.data = torch.full((4, 4), 3.0)
    out += often(function, x4())
    model.weight.data = torch.full((2, 4), 4.0)
    out += often(function, x4())
    model.weight.data = torch.arange(16.0).view(4, 4).t()
    out += often(function, x4())
    model.weight.requires_grad_(False)
    out += often(function, x4())
    model.weight.requires_grad_(True)
    out += often(function, x4())
    model.double()
    out += often(function, x4().double())
    model.load_state_dict({"weight": torch.zeros(4, 4)})
    return out + often(function, x4().double())


@scenario
def modules_that_are_replaced(compile):
    model = nn.Sequential(linear(), nn.ReLU())
    function = compile(model)
    out = often(function, -x4())
    model[1] = nn.Tanh()
    out += often(function, -x4())
    model.append(nn.Dropout(0.0))
    out += often(function, -x4())
    model.insert(0, nn.Identity())
    out += often(function, -x4())
    del model[1]
    out += often(function, -x4())
    model.forward = lambda x: x * 2
    return out + often(function, -x4())


@scenario
def modes_of_modules(compile):
    model = nn.Sequential(linear(), nn.BatchNorm1d(4), nn.Dropout(1.0))
    function = compile(model)
    x = torch.arange(8.0).view(2, 4)
    out = often(function, x)
    model.eval()
    out += often(function, x)
    model[1].train()
    out += often(function, x)
    model[1].momentum = 0.5
    out += often(function, x)
    model[1].eps = 1.0
    out += often(function, x)
    model[2].p = 0.0
    model.train()
    out += often(function, x)
    return [*out, values(model[1].running_mean), values(model[1].num_batches_tracked)]


def stepped(optimizer_of):
    weight = torch.ones(4, requires_grad=True)
    optimizer = optimizer_of([weight])

    def step(x):
        optimizer.zero_grad()
        (x * weight).square().sum().backward()
        optimizer.step()
        return weight.detach().clone()

    return weight, optimizer, step


@scenario
def groups_of_optimizers(compile):
    _, optimizer, step = stepped(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))
    function = compile(step)
    out = often(function, x4())
    optimizer.param_groups[0]["lr"] = 0.1
    out += often(function, x4())
    optimizer.param_groups[0]["momentum"] = 0.5
    out += often(function, x4())
    optimizer.param_groups[0]["weight_decay"] = 0.1
    out += often(function, x4())
    other = torch.ones(4, requires_grad=True)
    other.grad = torch.ones(4)
    optimizer.add_param_group({"params": [other], "lr": 1.0})
    for _ in range(4):
        other.grad = torch.ones(4)
        out += [*often(function, x4(), times=1), values(other)]
    optimizer.state.clear()
    out += often(function, x4())
    optimizer.load_state_dict(optimizer.state_dict())
    return out + often(function, x4())


@scenario
def rates_that_are_tensors(compile):
    rate = torch.tensor(0.1)
    _, optimizer, step = stepped(lambda p: torch.optim.AdamW(p, lr=rate))
    function = compile(step)
    out = often(function, x4())
    rate.fill_(0.5)
    out += often(function, x4())
    optimizer.param_groups[0]["lr"] = torch.tensor(0.01)
    out += often(function, x4())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for _ in range(5):
        out += often(function, x4(), times=1)
        schedule.step()
    return out


class Marked(torch.Tensor):
    pass


@scenario
def classes_of_tensors(compile):
    function = compile(lambda x: (x * 2, isinstance(x, Marked), type(x).__name__))
    out = often(function, x4())
    out += often(lambda x: [type(r).__name__ for r in function(x)], x4().as_subclass(Marked))
    return out + often(function, nn.Parameter(x4())) + often(function, x4())


@scenario
def arguments_that_share_memory(compile):
    def body(a, b):
        a.add_(1)
        b.mul_(2)
        return a + b

    function = compile(body)
    out = often(function, x4(), torch.ones(4))
    x = torch.ones(4)
    out += [*often(function, x, x), values(x)]
    x = torch.arange(6.0)
    for first, second in ((x[:4], x[2:]), (x[::2], x[1::2]), (x[:3], x[3:])):
        out += [*often(function, first, second), values(x)]
    x, y = torch.arange(6.0), torch.ones(6)
    return out + often(function, x[:3], y[:3]) + often(function, x[3:], y[:3]) + [values(x)]


@scenario
def the_same_argument(compile):
    function = compile(lambda a, b: (a * b, a is b))
    x, y = x4(), x4()
    out = often(function, x, y) + often(function, x, x) + often(function, y, x)
    weight = torch.ones(4)
    held = compile(lambda x: (x + weight, x is weight))
    return out + often(held, x) + often(held, weight) + often(held, x)


@scenario
def layouts_of_arguments(compile):
    def body(x):
        return x.contiguous() * 2, x.stride(), x.is_contiguous(), x.sum(-1), x.storage_offset()

    function, x = compile(body), torch.arange(24.0).view(2, 3, 4)
    out = []
    views = [x, x.transpose(0, 1), x[:, 1:], x[..., ::2], x.expand(2, 3, 4), x[:1], x[1:]]
    for view in (*views, x[:0], x[:, :0], x.permute(2, 1, 0), torch.ones(1, 1, 1).expand(2, 3, 4)):
        out += often(function, view)
    return out


@scenario
def sizes_that_decide(compile):
    def body(x):
        y = x * 2 if x.shape[0] > 5 else x * 3
        return y if len(x) % 2 else y.sum() / max(len(x), 1)

    function = compile(body)
    return [r for n in (1, 4, 5, 6, 7, 0, 8, 1, 0) for r in often(function, torch.arange(float(n)))]


@scenario
def values_that_decide(compile):
    def body(x):
        return x * 2 if x.sum() > 5 else x - 1

    function = compile(body)
    return often(function, x4()) + often(function, -x4()) + often(function, x4())


@scenario
def gradients_and_buffers(compile):
    weight = torch.ones(4, requires_grad=True)

    def body(x):
        (x * weight).sum().backward()
        return weight.grad.clone()

    function = compile(body)
    out = often(function, x4())
    weight.grad = None
    out += often(function, x4())
    weight.grad = torch.full((4,), 9.0)
    out += often(function, x4())
    weight.grad.zero_()
    out += often(function, x4())
    weight.grad = torch.arange(8.0)[::2]
    return out + often(function, x4())


@scenario
def methods_of_layers(compile):
    model = nn.Sequential(linear(), nn.ReLU())
    function = compile(model)
    out = often(function, -x4())
    before = nn.ReLU.forward
    try:
        nn.ReLU.forward = lambda self, x: x * 3
        out += often(function, -x4())
    finally:
        nn.ReLU.forward = before
    out += often(function, -x4())
    model[0].forward = lambda x: x + 100
    return out + often(function, -x4())


@scenario
def order_of_modules(compile):
    model = nn.ModuleDict({"a": linear(), "b": nn.ReLU()})
    ordered = collections.OrderedDict(first=lambda x: x * 2, second=lambda x: x + 1)

    def body(x):
        for module in model.values():
            x = module(x)
        for function in ordered.values():
            x = function(x)
        return x

    function = compile(body)
    out = often(function, -x4())
    model["a"] = model.pop("a")
    out += often(function, -x4())
    ordered.move_to_end("first")
    return out + often(function, -x4())


@scenario
def arguments_that_are_parameters(compile):
    weight = torch.ones(4)

    def body(x):
        x.add_(1)
        return weight * 2

    function = compile(body)
    out = often(function, x4())
    out += often(function, weight)
    return [*out, *often(function, weight[:]), *often(function, x4()), values(weight)]


@pytest.mark.parametrize("run", SCENARIOS, ids=lambda f: f.__name__)
def test_what_changes_between_calls(run):
    same_as_eager(run)
