"""Graphs: replays do what the captured code did, to the same memory."""

import copy
import gc
import pickle
import re
import threading

import numpy
import pytest

import flambeau as torch
from flambeau import runtime
from flambeau.nn import functional as F

nn = torch.nn


def net(dropout=0.2):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 5))


def batches(count):
    torch.manual_seed(4)
    return [(torch.randn(8, 12), torch.randint(0, 5, (8,))) for _ in range(count)]


@pytest.mark.parametrize(
    "make", [torch.optim.Adam, torch.optim.SGD, torch.optim.NAdam, torch.optim.ASGD]
)
def test_a_whole_step_replayed_equals_eager_steps(make):
    data = batches(12)
    found = []
    for graphed in (False, True):
        model = net()
        optimizer = make(model.parameters(), lr=0.05)
        x, y = (t.clone() for t in data[0])

        def step():
            loss = F.cross_entropy(model(x), y)  # noqa: B023
            loss.backward()
            optimizer.step()  # noqa: B023
            return loss

        torch.manual_seed(9)
        losses = []
        for a, b in data[:2]:
            x.copy_(a), y.copy_(b)
            optimizer.zero_grad()
            losses.append(step().item())
        optimizer.zero_grad()
        if graphed:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                loss = step()
        for a, b in data[2:]:
            x.copy_(a), y.copy_(b)
            if graphed:
                graph.replay()
                losses.append(loss.item())
            else:
                optimizer.zero_grad()
                losses.append(step().item())
        states = [p.detach().numpy().copy() for p in model.parameters()]
        grads = [p.grad.numpy().copy() for p in model.parameters()]
        found.append((losses, states, grads, torch.rand(2).tolist()))
    assert found[0][0] == found[1][0] and found[0][3] == found[1][3]
    for a, b in zip(found[0][1] + found[0][2], found[1][1] + found[1][2], strict=True):
        numpy.testing.assert_array_equal(a, b)


def test_a_capture_leaves_everything_as_it_was():
    weight, state = torch.ones(3), torch.get_rng_state()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        weight.mul_(2)
        noise = torch.rand(3)
        weight[1] = 7
        torch.add(weight, 1, out=weight)
    assert weight.tolist() == [1, 1, 1] and torch.equal(torch.get_rng_state(), state)
    graph.replay()
    assert weight.tolist() == [3, 8, 3]
    torch.set_rng_state(state)
    assert torch.equal(torch.rand(3), noise)


def test_what_cannot_be_captured_raises_and_leaves_no_trace():
    x = torch.ones(1000)
    gc.collect()
    before = runtime.memory().allocated
    for read in (lambda: x.sum().item(), lambda: bool(x[0] > 0), lambda: x.nonzero()):
        graph = torch.cuda.CUDAGraph()
        with pytest.raises(RuntimeError, match="cannot be captured") as error:
            with torch.cuda.graph(graph):
                x.add_(1)
                read()
        assert "test_graphs.py" in str(error.value)
        assert not torch.cuda.is_current_stream_capturing()
        assert x[0].item() == 1
        with pytest.raises(RuntimeError, match="without a preceding successful capture"):
            graph.replay()
        with pytest.raises(RuntimeError, match="without a preceding successful capture"):
            graph.pool()
    with pytest.raises(KeyError), torch.cuda.graph(graph):
        raise KeyError("the user's own")
    del graph, error
    gc.collect()
    assert runtime.memory().allocated == before


def test_states_of_a_graph():
    graph, other = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    x = torch.ones(3)
    assert not torch.cuda.is_current_stream_capturing()
    with torch.cuda.graph(graph, pool=torch.cuda.graph_pool_handle()):
        assert torch.cuda.is_current_stream_capturing()
        y = x * 2
        with pytest.raises(RuntimeError, match="do not nest"):
            other.capture_begin()
    with pytest.raises(RuntimeError, match="already owns a captured graph"):
        graph.capture_begin()
    with pytest.raises(RuntimeError, match="without capture_begin"):
        graph.capture_end()
    with pytest.raises(ValueError, match="capture error mode"):
        other.capture_begin(capture_error_mode="strict")
    with torch.cuda.graph(other, pool=graph.pool()):
        z = y + 1
    assert other.pool() == graph.pool()
    x.fill_(5)
    graph.replay(), other.replay()
    assert z.tolist() == [11, 11, 11] and "mul" in str(graph)
    graph.reset()
    with torch.cuda.graph(graph):
        x.sub_(1)
    graph.replay()
    assert x.tolist() == [4, 4, 4]


def test_memory_between_ops_is_not_kept():
    x = torch.randn(1000)
    gc.collect()
    before = runtime.memory().allocated
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x
        for _ in range(50):
            y = y.cumsum(0) * 0.5
    gc.collect()
    assert runtime.memory().allocated - before <= 2 * 4096
    expected = x
    for _ in range(50):
        expected = expected.cumsum(0) * 0.5
    graph.replay()
    assert torch.equal(y, expected)
    del graph, y
    gc.collect()


def test_graphed_parts_beside_parts_that_cannot_be():
    found = []
    for graphed in (False, True):
        first, second, third = net(0.1), nn.Linear(5, 5), nn.Linear(5, 5)
        for layer in (second, third):
            with torch.no_grad():
                layer.weight.copy_(torch.eye(5) * 0.7)
                layer.bias.zero_()
        parameters = [*first.parameters(), *second.parameters(), *third.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        data = batches(6)
        torch.manual_seed(5)
        if graphed:
            sample = torch.randn(8, 5, requires_grad=True)
            first = torch.cuda.make_graphed_callables(first, (torch.randn(8, 12),))
            second, third = torch.cuda.make_graphed_callables(
                (second, third), ((sample,), (sample,))
            )
        torch.manual_seed(5)
        losses = []
        for x, y in data:
            optimizer.zero_grad()
            h = first(x)
            h = second(h) if h.sum() > 0 else third(h)
            loss = F.cross_entropy(h, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found.append(losses)
    assert found[0] == found[1]


def test_graphed_modules_must_be_plain():
    layer = nn.Linear(3, 3)
    layer.register_forward_hook(lambda *_: None)
    with pytest.raises(AssertionError, match="hooks registered"):
        torch.cuda.make_graphed_callables(layer, (torch.ones(2, 3),))
    with pytest.raises(TypeError, match="tuple of tensors"):
        torch.cuda.make_graphed_callables(nn.Linear(3, 3), torch.ones(2, 3))


def test_graphs_of_one_pool_share_memory():
    def graphs(pools):
        made = []
        for pool in pools:
            x, graph = torch.randn(50_000), torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                # What is kept between native calls: the host performs `cummax`.
                y = (torch.fft.rfft(x * 2).real + 1).sum()
            made.append((graph, x, y))
        return made

    def growth(pools):
        gc.collect()
        before = runtime.memory().allocated
        made = graphs(pools)
        gc.collect()
        return runtime.memory().allocated - before, made

    apart, _made = growth([None, None])
    token = torch.cuda.graph_pool_handle()
    together, made = growth([token, token])
    assert together < apart
    for graph, x, y in made:
        x.fill_(1.0)
        graph.replay()
        assert torch.equal(y, (torch.fft.rfft(x * 2).real + 1).sum())


def test_autocast_and_generators_in_graphs():
    layer, generator = nn.Linear(4, 4), torch.Generator().manual_seed(3)
    x, graph = torch.randn(2, 4), torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.autocast("cpu"):
        layer(x)  # the cast of the weight is cached
        with torch.cuda.graph(graph):
            out = layer(x)
            noise = torch.rand(3, generator=generator)
    with torch.no_grad():
        layer.weight.mul_(2)
    graph.replay()
    with torch.autocast("cpu"):
        assert torch.equal(out, layer(x))
        with pytest.raises(RuntimeError, match="cache_enabled=False"):
            torch.cuda.make_graphed_callables(layer, (x,))
    other = torch.Generator().manual_seed(3)
    assert torch.equal(noise, torch.rand(3, generator=other))
    assert torch.equal(torch.rand(2, generator=generator), torch.rand(2, generator=other))


def test_scaled_training_with_a_graphed_forward_and_backward():
    found = []
    for graphed in (False, True):
        model = net(0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        x, y = batches(1)[0]

        def forward_backward():
            with torch.autocast("cpu"):
                loss = F.cross_entropy(model(x), y)  # noqa: B023
            scaler.scale(loss).backward()  # noqa: B023
            return loss

        scaler.scale(torch.ones(()))
        forward_backward()
        optimizer.zero_grad(set_to_none=True)
        if graphed:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                forward_backward()
        for a, b in batches(5):
            x.copy_(a), y.copy_(b)
            if graphed:
                graph.replay()
            else:
                optimizer.zero_grad(set_to_none=True)
                forward_backward()
            scaler.step(optimizer)
            scaler.update()
        found.append([p.tolist() for p in model.parameters()])
    assert found[0] == found[1]


def test_unused_inputs_of_graphed_callables():
    x, y = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        torch.cuda.make_graphed_callables(lambda x, y: x * 2, (x, y))
    doubled = torch.cuda.make_graphed_callables(lambda x, y: x * 2, (x, y), allow_unused_input=True)
    [grad] = torch.autograd.grad(doubled(x, y).sum(), x)
    assert grad.tolist() == [2, 2, 2]


def test_messages_name_the_op_and_the_line():
    x = torch.ones(3)
    for read, name in ((lambda: x.sum().item(), "item"), (lambda: x.nonzero(), "nonzero")):
        with (
            pytest.raises(RuntimeError, match=name) as error,
            torch.cuda.graph(torch.cuda.CUDAGraph()),
        ):
            read()
        assert "test_graphs.py" in str(error.value)


def test_memory_comes_back_when_a_graph_is_reset():
    def captured(fails):
        x, graph = torch.randn(40_000), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = torch.fft.rfft(x * 2).real + 1
            assert not fails, "the user's own"
        graph.replay()
        graph.reset()
        return y.sum()

    captured(False)
    gc.collect()
    before = runtime.memory().allocated
    captured(False)
    with pytest.raises(AssertionError, match="own"):
        captured(True)
    gc.collect()
    assert runtime.memory().allocated == before


def test_a_capture_ends_in_its_thread_and_is_no_other_threads():
    graph, x, found = torch.cuda.CUDAGraph(), torch.ones(2), []

    def elsewhere():
        found.append(torch.cuda.is_current_stream_capturing())
        for end in (graph.capture_end, graph.reset):
            with pytest.raises(RuntimeError, match="in the thread that began it"):
                end()
        found.append((x * 7).tolist())

    with torch.cuda.graph(graph):
        y = x + 1
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        z = y * 2
    assert found == [False, [7, 7]] and "7.0" not in str(graph)
    x.fill_(3)
    graph.replay()
    assert z.tolist() == [8, 8]


def test_streams_are_not_seeded_in_a_graph():
    generator, state = torch.Generator(), torch.get_rng_state()
    for seed in (torch.manual_seed, generator.manual_seed):
        with (
            pytest.raises(RuntimeError, match="manual_seed"),
            torch.cuda.graph(torch.cuda.CUDAGraph()),
        ):
            torch.rand(2)
            seed(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_arguments_of_captures():
    graph, x = torch.cuda.graphs.CUDAGraph(keep_graph=True), torch.ones(2)
    for pool in (graph, "pool", 7, (0, 1.0)):
        with pytest.raises(TypeError, match="graph_pool_handle"):
            graph.capture_begin(pool)
    with pytest.raises(TypeError, match="a graph is expected"):
        torch.cuda.graph(3)
    with pytest.raises(TypeError, match="bogus"):
        torch.cuda.graph(graph, bogus=1)
    with pytest.raises(RuntimeError, match="without a successful capture"):
        graph.debug_dump("nowhere")
    token = torch.cuda.graph_pool_handle()
    with torch.accelerator.Graph(pool=token, capture_error_mode="relaxed") as graph:
        y = x + 1
    x.fill_(4)
    graph.instantiate(), graph.replay()
    assert graph.pool() == token and y.tolist() == [5, 5]
    with pytest.raises(RuntimeError, match="no cudaGraph_t"):
        graph.raw_cuda_graph()


def test_a_dump_is_a_graph_of_who_needs_whom(tmp_path):
    x, graph = torch.randn(3, 4), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ((x.softmax(1) @ x.t()).cumsum(0), x.sort())
    graph.debug_dump(tmp_path / "graph.dot")
    text = (tmp_path / "graph.dot").read_text()
    count = len(graph._executable.program.instructions)
    assert text.startswith("digraph") and text.count("[label=") == count
    assert {tuple(map(int, edge)) for edge in re.findall(r"(\d+) -> (\d+)", text)}


def test_graphed_modules_are_captured_before_their_first_use():
    module = net(0.0)
    x = torch.randn(8, 12, requires_grad=True)

    def twice(y):
        [grad] = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), x)[0]

    want = twice(module(x))
    y = torch.cuda.make_graphed_callables(module, (x,))(x)
    assert "program of" in module.forward.captured.show()
    torch.testing.assert_close(twice(y), want)


def test_copies_of_graphed_modules_have_their_own_parameters():
    x = torch.randn(8, 12)
    module = torch.cuda.make_graphed_callables(net(0.0), (x,))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), module(x))
        with torch.no_grad():
            twin[3].bias += 1
        for _ in range(3):
            torch.testing.assert_close(twin(x), module(x) + 1)


def test_hooks_of_parameters_of_graphed_modules():
    found = []
    for graphed in (False, True):
        module, seen = net(0.0), []
        module[0].weight.register_hook(lambda grad: grad * 2)
        module[0].bias.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.sum()))  # noqa: B023
        x = torch.randn(8, 12, generator=torch.Generator().manual_seed(1))
        if graphed:
            module = torch.cuda.make_graphed_callables(module, (x,))
        for _ in range(3):
            module(x).square().sum().backward()
        found.append([*seen, *(p.grad for p in module.parameters())])
    for eager, graphed in zip(*found, strict=True):
        torch.testing.assert_close(eager, graphed)


def test_a_capture_that_cannot_be_leaves_a_module_as_it_was():
    class Branch(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    module = Branch(3, 3)
    with pytest.raises(RuntimeError, match=r"__bool__.*\n.*test_graphs.py"):
        torch.cuda.make_graphed_callables(module, (torch.ones(2, 3),))
    assert "forward" not in vars(module)
    with pytest.raises(TypeError, match="each of the 2 callables"):
        torch.cuda.make_graphed_callables((module, module), ((torch.ones(2, 3),),))
