"""Compiled functions, and machine code, in files for other processes: hostile ones included."""

import io
import json
import os
import pickle
import subprocess
import sys
import textwrap

import pytest

import flambeau as torch
from flambeau._base import knobs
from flambeau.graph import artifacts, library
from flambeau.runtime import jit


@pytest.fixture
def cache(tmp_path):
    """A cache folder of the test's own."""
    before, knobs.cache = knobs.cache, str(tmp_path / "cache")
    yield knobs.cache
    knobs.cache = before


def elsewhere(program: str, folder, *arguments) -> list:
    """What a program prints as JSON, in another process with this cache folder."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        env={**os.environ, "FLAMBEAU_CACHE": str(folder)}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 3, 3)
        self.norm = torch.nn.BatchNorm2d(3)
        self.out = torch.nn.Linear(3, 4)
        self.out.weight = torch.nn.Parameter(torch.randn(4, 6)[:, ::2])  # does not lie densely

    def forward(self, x, mask=None, *, scale=1.0):
        x = self.norm(self.conv(x)).relu().mean((2, 3))
        y = self.out(x.to(torch.float32)) * scale + torch.tensor([1.0, 2.0, 3.0, 4.0])
        if mask is not None:
            y[mask] = -1.0
        return {"y": y, "parts": (y.softmax(-1), [x.shape[0], None]), "first": y[:, 0]}


def example():
    torch.manual_seed(3)
    net, x = Net(), torch.randn(2, 1, 8, 8)
    return net, x, torch.tensor([True, False])


def test_the_function_of_a_file_is_the_function(tmp_path):
    net, x, mask = example()
    saved = torch.compile(net).aot_compile(((x, mask), {"scale": 2.0}))
    path = tmp_path / "net"
    saved.save_compiled_function(path)
    with path.open("rb") as file:
        loaded = torch.compiler.load_compiled_function(file)
    for _ in range(4):  # op by op, captured, native; the running mean changes with each
        x = torch.randn(2, 1, 8, 8)
        want = net(x, mask, scale=2.0)
        for function in (saved, loaded):
            got = function(x, mask, scale=2.0)
            assert list(got) == ["y", "parts", "first"] and got["parts"][1] == [2, None]
            assert torch.equal(got["y"], want["y"].detach())
            assert torch.equal(got["parts"][0], want["parts"][0].detach())
            assert got["first"]._storage is got["y"]._storage or got["first"].equal(got["y"][:, 0])


def test_casts_of_autocast_are_in_the_file():
    weight, x = torch.randn(3, 4), torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        want = torch.nn.functional.linear(x, weight)
        saved = torch.compile(lambda x: torch.nn.functional.linear(x, weight)).aot_compile(
            ((x,), {})
        )
    assert want.dtype is torch.bfloat16
    for _ in range(3):
        got = saved(x)
        assert got.dtype is torch.bfloat16 and torch.equal(got, want)


def test_compiling_ahead_changes_nothing_of_the_users():
    net, x, mask = example()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    copy, state = x.clone(), torch.get_rng_state()
    torch.compile(net).aot_compile(((x, mask), {"scale": 2.0}))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(x, copy) and torch.equal(torch.get_rng_state(), state)


def test_arguments_are_written_and_random_numbers_continue(tmp_path):
    def function(x, items):
        x.mul_(2)
        items["a"].add_(torch.rand(3))
        return torch.nn.functional.dropout(x, 0.5), x

    x, a = torch.randn(4, 5).t(), torch.zeros(3)
    torch.compile(function).aot_compile(((x, {"a": a}), {})).save_compiled_function(tmp_path / "f")
    loaded = torch.compiler.load_compiled_function(tmp_path / "f")
    outer = torch.randn(40)
    for seed in range(4):
        results = []
        for called in (function, loaded):
            torch.manual_seed(seed)
            given = outer.clone()[seed : seed + 20].view(4, 5).t(), {"a": torch.ones(3)}
            results.append([*called(*given), given[0], given[1]["a"]])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


class Learned(torch.nn.Module):
    """A module whose forward has all that a history may meet."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm = torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6)
        self.scale, self.out = torch.nn.Parameter(torch.ones(3)), torch.nn.Linear(3, 2)
        self.out.bias.requires_grad_(False)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x, y):
        h = self.norm(self.inner(x)).relu()
        with torch.no_grad():
            self.mean.mul_(0.5).add_(h.mean(0), alpha=0.5)
            scale = h.abs().amax() + 1
        h = (h / scale - self.mean).view(-1, 2, 3)
        h[:, 0] *= 2  # into a view of what has a history
        loss = torch.nn.functional.cross_entropy(self.out(h[:, -1] * self.scale), y)
        return {"loss": loss, "features": (h.detach(), x * 2)}


def learned():
    torch.manual_seed(5)
    return Learned(), torch.randn(7, 4), torch.randint(0, 2, (7,))


def trained(function, parameters, x, y):
    """Losses and gradients of some steps."""
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    found = []
    for _ in range(5):
        optimizer.zero_grad()
        given = x.clone().requires_grad_()
        made = function(given, y)
        (made["loss"] + made["features"][1].sum()).backward()
        assert not made["features"][0].requires_grad
        grads = [p.grad.clone() for p in parameters]
        found.append([made["loss"].detach(), given.grad, made["features"][0], *grads])
        optimizer.step()
    return found


def test_the_function_of_a_file_is_trained(tmp_path):
    net, x, y = learned()
    saved = torch.compile(net).aot_compile(((x.clone().requires_grad_(), y), {}))
    saved.save_compiled_function(tmp_path / "net")
    loaded = torch.compiler.load_compiled_function(tmp_path / "net")
    wanted = {name: p for name, p in net.named_parameters() if p.requires_grad}
    for function in (loaded, saved):
        names = function.named_parameters()
        assert set(names) == set(wanted) and len(function.parameters()) == len(wanted)
        assert all(torch.equal(p, wanted[name]) for name, p in names.items())
    with torch.no_grad():
        assert not saved(x.requires_grad_(), y)["loss"].requires_grad
    x, (copy, *_) = x.detach(), learned()
    saved = torch.compile(copy).aot_compile(((x.clone().requires_grad_(), y), {}))
    parameters = [wanted[name] for name in loaded.named_parameters()]
    want = trained(net, parameters, x, y)
    for function in (loaded, saved):
        got = trained(function, function.parameters(), x, y)
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            assert all(torch.equal(u, v) for u, v in zip(a, b, strict=True)), f"step {k}"


def test_results_with_names_are_results_with_names(tmp_path):
    def function(pair):
        return pair, torch.linalg.svd(pair.values)

    pair = torch.randn(4, 5, 3).max(0)
    torch.compile(function).aot_compile(((pair,), {})).save_compiled_function(tmp_path / "f")
    loaded = torch.compiler.load_compiled_function(tmp_path / "f")
    for got, want in zip(loaded(pair), function(pair), strict=True):
        assert type(got) is type(want)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    with pytest.raises(TypeError, match="a result"):
        loaded(tuple(pair))


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_recurrent_layers_are_trained_from_a_file(kind, tmp_path):
    net, x = kind(4, 5, num_layers=2, dropout=0.1), torch.randn(6, 3, 4)
    torch.compile(net).aot_compile(((x,), {})).save_compiled_function(tmp_path / "net")
    loaded = torch.compiler.load_compiled_function(tmp_path / "net")
    copies = loaded.named_parameters()
    for seed in range(3):
        results = []
        for function in (net, loaded):
            torch.manual_seed(seed)
            results.append(function(x)[0])
            results[-1].square().sum().backward()
        assert torch.equal(*results)
    for name, p in net.named_parameters():
        assert torch.equal(p.grad, copies[name].grad), name


def test_functions_without_grad_mode_or_parameters_are_not_differentiated():
    net, x, y = learned()
    with torch.no_grad():
        saved = torch.compile(net).aot_compile(((x, y), {}))
    assert saved.parameters() == [] and not saved(x, y)["loss"].requires_grad
    saved = torch.compile(lambda x: x * 2).aot_compile(((x,), {}))
    assert not saved(x.clone().requires_grad_()).requires_grad


TRAINING = """
    import json, sys
    import flambeau as torch
    from flambeau.runtime import jit
    torch.manual_seed(0)
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 3))
    loss_of = torch.nn.CrossEntropyLoss()
    if sys.argv[2] == "save":
        function = lambda x, y: loss_of(model(x), y)
        loaded = torch.compile(function).aot_compile(((x, y), {}))
    else:
        loaded = torch.compiler.load_compiled_function(sys.argv[1], trusted=True)
    before = jit.statistics().compiled
    optimizer = torch.optim.AdamW(loaded.parameters(), lr=0.05)
    def step(x, y):
        optimizer.zero_grad()
        loss = loaded(x, y)
        loss.backward()
        optimizer.step()
        return loss
    if sys.argv[2] == "save":  # so that the file has the machine code of the step, too
        old = [p.tolist() for p in loaded.parameters()]
    whole = torch.compile(step)
    losses = [whole(x, y).item() for _ in range(5)]
    compiled = jit.statistics().compiled - before
    if sys.argv[2] == "save":
        with torch.no_grad():
            for p, was in zip(loaded.parameters(), old):
                p.copy_(torch.tensor(was))
        loaded.save_compiled_function(sys.argv[1])
    print(json.dumps([losses, compiled]))
"""


@pytest.mark.machine_code("files bring it along")
def test_another_process_trains_without_compiling(tmp_path):
    losses, compiled = elsewhere(TRAINING, tmp_path / "one", tmp_path / "step", "save")
    assert compiled > 1 and losses[-1] < losses[0]
    assert elsewhere(TRAINING, tmp_path / "two", tmp_path / "step", "load") == [losses, 0]


LOADING = """
    import json, sys
    import flambeau as torch
    from flambeau.runtime import jit
    loaded = torch.compiler.load_compiled_function(sys.argv[1], trusted=eval(sys.argv[2]))
    x = torch.arange(12.0).view(3, 4)
    results = [loaded(x).tolist() for _ in range(4)]
    print(json.dumps([results, jit.statistics().compiled]))
"""


def test_another_process_compiles_nothing(tmp_path, cache):
    weight = torch.randn(4, 2)
    x = torch.arange(12.0).view(3, 4)

    def function(x):
        return torch.special.expit(x @ weight).cumsum(0)

    saving = """
        import sys
        import flambeau as torch
        weight = torch.load(sys.argv[2])
        f = torch.compile(lambda x: torch.special.expit(x @ weight).cumsum(0))
        saved = f.aot_compile(((torch.arange(12.0).view(3, 4),), {}))
        saved.save_compiled_function(sys.argv[1])
        print("null")
    """
    path = tmp_path / "f"
    torch.save(weight, tmp_path / "weight")
    assert elsewhere(saving, cache, path, tmp_path / "weight") is None
    want = [function(x).tolist()] * 4
    # The same user's cache, but for its objects, vouches for the file; elsewhere the caller does.
    os.rename(os.path.join(cache, "objects"), tmp_path / "gone")
    assert elsewhere(LOADING, cache, path, None) == [want, 0]
    assert elsewhere(LOADING, tmp_path / "other", path, True) == [want, 0]


@pytest.mark.machine_code("a file's is not taken from everybody")
def test_machine_code_that_nobody_vouches_for_is_not_run(tmp_path, cache):
    # A kernel that no other test has made: its code must be in this cache.
    saved = torch.compile(lambda x: x * 3 - 0.8125).aot_compile(((torch.ones(3),), {}))
    path = tmp_path / "f"
    saved.save_compiled_function(path)
    torch.compiler.load_compiled_function(path)  # ours: no warning
    torch.compiler.load_compiled_function(path, trusted=False)
    os.unlink(os.path.join(cache, "seal"))
    with pytest.warns(RuntimeWarning, match="compiled again: nobody vouches for it"):
        loaded = torch.compiler.load_compiled_function(path)
    assert loaded(torch.ones(3)).tolist() == [2.1875] * 3
    index, blocks = artifacts.opened(library.MAGIC, path.read_bytes())
    foreign = artifacts.sealed(library.MAGIC, {**index, "identity": "another"}, blocks)
    with pytest.warns(RuntimeWarning, match="another processor"):
        torch.compiler.load_compiled_function(io.BytesIO(foreign), trusted=True)
    damaged = artifacts.sealed(library.MAGIC, index, [*blocks[:-1], blocks[-1][::-1]])
    with pytest.warns(RuntimeWarning, match="nobody vouches"):
        torch.compiler.load_compiled_function(io.BytesIO(damaged))
    with pytest.warns(RuntimeWarning, match="it is damaged"):
        torch.compiler.load_compiled_function(io.BytesIO(damaged), trusted=True)


def refused(content: bytes, match: str = "no compiled function") -> None:
    with pytest.raises(RuntimeError, match=match):
        torch.compiler.load_compiled_function(io.BytesIO(content), trusted=False)


def a_file() -> bytes:
    saved = torch.compile(lambda x: torch.softmax(x + 1, -1)).aot_compile(((torch.ones(2, 3),), {}))
    file = library.Replay(saved._data, saved._memory)
    assert file.arguments
    index = dict(saved._data, memory=list(saved._memory), identity="", seal="")
    blocks = [*saved._memory.values(), b""]
    return artifacts.sealed(library.MAGIC, dict(index, sizes=list(map(len, blocks))), blocks)


def test_files_that_are_cut_flipped_or_something_else():
    content = a_file()
    assert torch.compiler.load_compiled_function(io.BytesIO(content), trusted=False)
    for size in (0, 5, len(library.MAGIC), 40, len(content) // 2, len(content) - 1):
        refused(content[:size])
    for at in range(0, len(content), 97):
        refused(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    refused(pickle.dumps({"a": 1}))
    refused(content.replace(b"program 2", b"program 1"))
    refused(library.MAGIC + (2**63).to_bytes(8, "little") + content)


CHANGES = {
    "no ops": lambda d: d.pop("ops"),
    "ops of no form": lambda d: d.update(ops=[1]),
    "no such op": lambda d: d["ops"][0].__setitem__(0, "aten::system.") ,
    "a part of an op": lambda d: d["ops"][0].__setitem__(0, "aten::_distinct."),
    "an attribute": lambda d: d["ops"][0].__setitem__(0, "__class__"),
    "a name of another kind": lambda d: d["ops"][0].__setitem__(0, ["aten::add."]),
    "an unknown kind of value": lambda d: d["ops"][0][1].__setitem__(0, {"call": "os.system"}),
    "two kinds": lambda d: d["ops"][0][1].__setitem__(0, {"list": [], "tuple": []}),
    "no layout": lambda d: d["layouts"].clear(),
    "negative sizes": lambda d: d["layouts"][0][0].__setitem__(0, -1),
    "sizes that are no integers": lambda d: d["layouts"][0][0].__setitem__(0, 2.5),
    "sizes beyond all memory": lambda d: d["layouts"][0].__setitem__(0, [2**62, 2**62]),
    "no such dtype": lambda d: d["layouts"][0].__setitem__(2, "object"),
    "a place before memory": lambda d: d["results"].__setitem__(0, [0, -8, 0, -1]),
    "a layout that is not there": lambda d: d["results"].__setitem__(0, [0, 0, 99, -1]),
    "a place without a number": lambda d: d["results"].__setitem__(0, [0, 0, 0]),
    "a number that is none": lambda d: d["results"].__setitem__(0, [0, 0, 0, "a"]),
    "a parameter outside of memory": lambda d: d.update(leaves=[[0, 1 << 40, 0, 0]], names=["a"]),
    "a parameter without a name": lambda d: d.update(names=["a"]),
    "a deep tree": lambda d: d.update(ops=[["aten::add.", [nested(5000)], [False, None], []]]),
    "arguments that are not there": lambda d: d["arguments"]["list"][0]["list"].append(
        {"tensor": 9}
    ),
    "results that are not there": lambda d: d.update(returns={"tensor": 5}),
    "memory without numbers": lambda d: d.update(memory=["a", "b", "c"]),
    "sizes of blocks": lambda d: d.update(sizes=[-1, 1]),
}  # fmt: skip


def nested(depth):
    value = {"list": []}
    for _ in range(depth):
        value = {"list": [value]}
    return value


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_files_whose_digest_is_right_and_content_is_not(change):
    index, blocks = artifacts.opened(library.MAGIC, a_file())
    CHANGES[change](index)
    try:
        content = artifacts.sealed(library.MAGIC, index, blocks)
    except RecursionError:
        return
    refused(content)


BEYOND = {
    "a result": lambda d: d["results"][0].__setitem__(1, 1 << 40),
    "a result, by one": lambda d: d["results"][0].__setitem__(1, 4),
    "an operand": lambda d: d["ops"][0][1][0]["tensor"].__setitem__(1, 1 << 40),
    "memory that is not there": lambda d: d["results"][0].__setitem__(0, 77),
    "other strides": lambda d: d["layouts"][0].__setitem__(1, [1 << 30, 1 << 30]),
}


@pytest.mark.parametrize("change", BEYOND, ids=str)
def test_places_outside_of_memory_are_refused_when_met(change):
    index, blocks = artifacts.opened(library.MAGIC, a_file())
    BEYOND[change](index)
    content = artifacts.sealed(library.MAGIC, index, blocks)
    loaded = torch.compiler.load_compiled_function(io.BytesIO(content), trusted=False)
    with pytest.raises((RuntimeError, TypeError), match=r"outside of its memory|was made for"):
        loaded(torch.ones(2, 3))


def test_other_arguments_are_refused():
    loaded = torch.compile(lambda x, n, flag=False: x * n).aot_compile(((torch.ones(2, 3), 2), {}))
    assert loaded(torch.ones(2, 3), 2).tolist() == [[2.0] * 3] * 2
    for args in ((torch.ones(3, 2), 2), (torch.ones(2, 3).double(), 2), (torch.ones(3, 2).t(), 2),
                 (torch.ones(2, 3), 3), (torch.ones(2, 3), 2.0), (torch.ones(2, 3), True),
                 (torch.ones(2, 3),), (2, torch.ones(2, 3)), ([torch.ones(2, 3)], 2)):  # fmt: skip
        with pytest.raises(TypeError, match="the program was made for"):
            loaded(*args)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


def reads(x):
    return x if x.sum().item() > 0 else -x


def optimizes(x):
    parameter = torch.nn.Parameter(torch.ones(3))
    torch.optim.SGD([parameter], lr=0.1).step()
    return x


@pytest.mark.parametrize(
    "function, match",
    [
        (reads, "elements were read"),
        (optimizes, "optimizer"),
        (lambda x: object(), "object cannot be saved"),
        (lambda x: print(x) or x, "print|elements"),
        (lambda x: x.to("meta"), "meta"),
        (lambda x: Doubled.apply(x * torch.nn.Parameter(x.clone())) + 1, "made by no op"),
        (lambda x: (x * torch.nn.Parameter(x)).sum().backward(), "history|backward"),
        (lambda x: torch.from_numpy(x.numpy() + 1), "elements|NumPy|numpy"),
    ],
)
def test_what_cannot_be_saved_says_why(function, match):
    with pytest.raises(RuntimeError, match=match):
        torch.compile(function).aot_compile(((torch.ones(3),), {}))


def test_an_old_file_stays_whole_where_writing_fails(tmp_path, monkeypatch):
    saved = torch.compile(lambda x: x + 1).aot_compile(((torch.ones(3),), {}))
    path = tmp_path / "f"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        saved.save_compiled_function(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


# Machine code alone.

STEPS = """
    import json, sys
    import flambeau as torch
    from flambeau.runtime import jit
    if sys.argv[2] == "load":
        with open(sys.argv[1], "rb") as file:
            info = torch.compiler.load_cache_artifacts(file.read())
        assert info is not None and not info.empty()
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 4)
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(3, 5)
    def step():
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss
    step = torch.compile(step)
    losses = [step().item() for _ in range(4)]
    compiled = jit.statistics().compiled
    if sys.argv[2] == "save":
        content, info = torch.compiler.save_cache_artifacts()
        assert info.artifacts["objects"]
        with open(sys.argv[1], "wb") as file:
            file.write(content)
    print(json.dumps([losses, compiled]))
"""


@pytest.mark.machine_code("it is kept on disk")
def test_cache_artifacts_spare_another_process_all_compiling(tmp_path):
    losses, compiled = elsewhere(STEPS, tmp_path / "one", tmp_path / "code", "save")
    assert compiled > 5
    again = elsewhere(STEPS, tmp_path / "two", tmp_path / "code", "load")
    assert again == [losses, 0]


def test_cache_artifacts_that_are_damaged_or_foreign_are_not_taken():
    made = torch.compiler.save_cache_artifacts()
    assert made is not None
    content = made[0]
    offered = dict(jit._offered)
    for bad in (b"", content[:-1], content[:50], content[:99] + b"?" + content[100:], b"\x80\x04."):
        assert torch.compiler.load_cache_artifacts(bad) is None
    index, blocks = artifacts.opened(artifacts.MAGIC, content)
    for change in ({"identity": "another"}, {"keys": {"a": 9999}}, {"keys": [1]}, {"keys": None}):
        bad = artifacts.sealed(artifacts.MAGIC, {**index, **change}, blocks)
        assert torch.compiler.load_cache_artifacts(bad) is None
    assert jit._offered == offered
    with pytest.raises(TypeError, match="bytes are expected"):
        torch.compiler.load_cache_artifacts("text")
