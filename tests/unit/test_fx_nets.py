"""Nets in plain style: traced, interpreted, transformed, pickled, they compute the same."""

import math
import pickle
import re

import pytest

import flambeau as ft
from flambeau import fx, nn
from flambeau.fx.experimental.optimization import fuse
from flambeau.nn import functional as F


def image(size=16, channels=3):
    return (ft.randn(2, channels, size, size),)


def tokens(length=6):
    return (ft.randint(0, 11, (2, length)),)


class Perceptron(nn.Module):
    inputs = (ft.randn(3, 8),)

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = ft.tanh(layer(x)) + x
        return x


class LeNet(nn.Module):
    inputs = image(28, 1)

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5), nn.Conv2d(4, 8, 5)
        self.fc1, self.fc2 = nn.Linear(128, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), (2, 2))
        x = x.view(-1, x.size(1) * x.size(2) * x.size(3))
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


def conv_norm(inside, outside, kernel=3, stride=1, groups=1, act=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
        act(),
    )


class BasicBlock(nn.Module):
    def __init__(self, inside, outside, stride=1):
        super().__init__()
        self.one = conv_norm(inside, outside, 3, stride)
        self.two = nn.Sequential(nn.Conv2d(outside, outside, 3, 1, 1), nn.BatchNorm2d(outside))
        self.down = None if stride == 1 else nn.Conv2d(inside, outside, 1, stride)

    def forward(self, x):
        identity = x if self.down is None else self.down(x)
        out = self.two(self.one(x))
        out += identity
        return F.relu(out, inplace=True)


class ResNet(nn.Module):
    inputs = image()

    def __init__(self):
        super().__init__()
        self.stem = conv_norm(3, 8)
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 16, 2))
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.layer1(self.stem(x)), (1, 1))
        return self.fc(ft.flatten(x, 1))


class Inverted(nn.Module):
    def __init__(self, width, stride):
        super().__init__()
        self.use_skip = stride == 1
        self.body = nn.Sequential(
            conv_norm(width, width * 2, 1, act=nn.ReLU6),
            conv_norm(width * 2, width * 2, 3, stride, width * 2, nn.ReLU6),
            nn.Conv2d(width * 2, width, 1),
        )

    def forward(self, x):
        return x + self.body(x) if self.use_skip else self.body(x)


class MobileNet(nn.Module):
    inputs = image()

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(conv_norm(3, 8, 3, 2), Inverted(8, 1), Inverted(8, 2))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 4))

    def forward(self, x):
        return self.head(self.features(x).mean([2, 3]))


class SqueezeExcite(nn.Module):
    inputs = (ft.randn(2, 8, 6, 6),)

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x):
        scale = x.mean((2, 3), keepdim=True)
        return x * F.hardsigmoid(self.up(F.silu(self.down(scale))))


class UNet(nn.Module):
    inputs = image()

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = conv_norm(3, 4), conv_norm(4, 8)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        up = self.up(two)
        return self.out(ft.cat([one, up], dim=1)), F.interpolate(two, scale_factor=2.0)


class DenseNet(nn.Module):
    inputs = image()

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([conv_norm(3 + 4 * i, 4) for i in range(3)])

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(ft.cat(features, 1)))
        return ft.cat(features, 1)


class Inception(nn.Module):
    inputs = image()

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv_norm(3, 2, 1), conv_norm(3, 2, 3), conv_norm(3, 2, 5)

    def forward(self, x):
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1)
        return ft.cat((self.a(x), self.b(x), self.c(pooled)), 1)


class Attention(nn.Module):
    def __init__(self, width=8, heads=2, causal=False):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(b, n, c))


class Layer(nn.Module):
    def __init__(self, causal=False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = Attention(causal=causal)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    inputs = image()

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(ft.randn(1, 1, 8))
        self.places = nn.Parameter(ft.randn(1, 17, 8))
        self.layers, self.head = nn.Sequential(Layer(), Layer()), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = ft.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.places
        return self.head(self.layers(x)[:, 0])


class GPT(nn.Module):
    inputs = tokens()

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Embedding(12, 8)
        self.layers, self.norm = nn.ModuleList([Layer(True) for _ in range(2)]), nn.LayerNorm(8)

    def forward(self, ids):
        x = self.words(ids) + self.places(ft.arange(ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.words.weight.t()


class Masked(nn.Module):
    """Attention in its parts, with a buffer of which a slice is read."""

    inputs = (ft.randn(2, 5, 8),)

    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("mask", ft.tril(ft.ones(16, 16)))

    def forward(self, x):
        n = x.size(1)
        scores = self.q(x) @ self.k(x).transpose(-2, -1) / math.sqrt(x.size(-1))
        scores = scores.masked_fill(self.mask[:n, :n] == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ x


class Rotary(nn.Module):
    inputs = (ft.randn(2, 5, 8),)

    def forward(self, x):
        half = x.shape[-1] // 2
        angles = ft.arange(x.shape[1]).unsqueeze(1) / 10000 ** (ft.arange(half) / half)
        first, second = x[..., :half], x[..., half:]
        sine, cosine = angles.sin(), angles.cos()
        return ft.cat((first * cosine - second * sine, first * sine + second * cosine), -1)


class LSTM(nn.Module):
    inputs = tokens()

    def __init__(self):
        super().__init__()
        self.words, self.lstm = nn.Embedding(11, 8), nn.LSTM(8, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, ids):
        out, (h, _) = self.lstm(self.words(ids))
        return self.head(out), h


class GRUCell(nn.Module):
    inputs = (ft.randn(4, 2, 6), ft.randn(2, 6))

    def __init__(self):
        super().__init__()
        self.gates, self.new = nn.Linear(12, 12), nn.Linear(12, 6)

    def forward(self, xs, h):
        for step in range(4):
            r, z = ft.sigmoid(self.gates(ft.cat([xs[step], h], 1))).chunk(2, 1)
            h = (1 - z) * ft.tanh(self.new(ft.cat([xs[step], r * h], 1))) + z * h
        return h


class GNN(nn.Module):
    inputs = (ft.randn(5, 4), ft.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]))

    def __init__(self):
        super().__init__()
        self.own, self.near = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x, edges):
        source, target = edges[0], edges[1]
        messages = self.near(x[source])
        summed = ft.zeros_like(x).index_add(0, target, messages)
        return F.relu(self.own(x) + summed), ft.zeros_like(x).scatter_add_(
            0, target.unsqueeze(1).expand(-1, 4), messages
        )


class VAE(nn.Module):
    inputs = (ft.randn(3, 8),)

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(8, 8), nn.Linear(4, 8)

    def forward(self, x):
        mean, log_variance = self.encode(x).chunk(2, dim=-1)
        noise = ft.zeros_like(mean)  # a draw would differ from run to run
        z = mean + noise * ft.exp(0.5 * log_variance)
        loss = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum(1).mean()
        return {"out": self.decode(z).sigmoid(), "loss": loss}


class DLRM(nn.Module):
    inputs = (ft.randn(2, 4), ft.randint(0, 7, (2, 3)))

    def __init__(self):
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
        self.tables = nn.ModuleList([nn.Embedding(7, 6) for _ in range(3)])
        self.top = nn.Linear(6 + 16, 1)

    def forward(self, dense, sparse):
        x = self.bottom(dense)
        rows = [x, *(table(sparse[:, i]) for i, table in enumerate(self.tables))]
        stacked = ft.stack(rows, dim=1)
        products = ft.bmm(stacked, stacked.transpose(1, 2)).flatten(1)
        return self.top(ft.cat([x, products], dim=1)).squeeze(-1)


class Mixture(nn.Module):
    inputs = (ft.randn(5, 8),)

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(8, 3)
        self.experts = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x):
        weights, chosen = ft.topk(F.softmax(self.gate(x), -1), 2)
        dense = ft.zeros(x.shape[0], 3).scatter(1, chosen, weights)
        return sum(e(x) * dense[:, i : i + 1] for i, e in enumerate(self.experts))


class WaveNet(nn.Module):
    inputs = (ft.randn(2, 3, 20),)

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(3, 4, 1)
        self.layers = nn.ModuleList([nn.Conv1d(4, 8, 2, dilation=2**i) for i in range(3)])

    def forward(self, x):
        x = self.first(x)
        total = 0
        for i, layer in enumerate(self.layers):
            a, b = layer(F.pad(x, (2**i, 0))).split(4, dim=1)
            y = ft.tanh(a) * ft.sigmoid(b)
            total = total + y
            x = x + y
        return F.relu(total)


class InPlace(nn.Module):
    inputs = (ft.randn(3, 4),)

    def forward(self, x):
        y = x.clone()
        y[:, 0] = 1
        y[1:].mul_(2)
        z = y
        y += z.sum()
        y.relu_().add_(x[0])
        return y, z, y.shape[0] + z.dim()


class Functional(nn.Module):
    inputs = (ft.randn(2, 4),)

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(ft.randn(4, 4)), nn.Parameter(ft.randn(4))
        self.act = F.gelu  # a function that the module holds

    def forward(self, x):
        y = F.layer_norm(F.linear(x, self.weight, self.bias), (4,))
        return ft.einsum("bi,ij->bj", self.act(y), self.weight), F.normalize(y, dim=-1)


NETS = (
    Perceptron, LeNet, ResNet, MobileNet, SqueezeExcite, UNet, DenseNet, Inception, ViT, GPT,
    Masked, Rotary, LSTM, GRUCell, GNN, VAE, DLRM, Mixture, WaveNet, InPlace, Functional,
)  # fmt: skip


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [leaf for each in value for leaf in leaves(each)]
    return [value]


@pytest.mark.parametrize("kind", NETS)
def test_nets(kind):
    net = kind().eval()
    module = fx.symbolic_trace(net)
    module.graph.lint()
    wanted = leaves(net(*kind.inputs))
    copied = pickle.loads(pickle.dumps(module))
    for made in (module, fx.Interpreter(module).run, copied, fx.Transformer(module).transform()):
        found = leaves(made(*[each.clone() for each in kind.inputs]))
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert ft.equal(a, b) if isinstance(a, ft.Tensor) else a == b
    module.graph.eliminate_dead_code()
    module.recompile()
    for a, b in zip(leaves(module(*kind.inputs)), wanted, strict=True):
        assert ft.equal(a, b) if isinstance(a, ft.Tensor) else a == b


@pytest.mark.parametrize("kind", [Perceptron, ResNet, GPT])
def test_gradients_are_the_modules_own(kind):
    net = kind().eval()
    module = fx.symbolic_trace(net)
    ft.stack([each.sum() for each in leaves(net(*kind.inputs))]).sum().backward()
    wanted = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    ft.stack([each.sum() for each in leaves(module(*kind.inputs))]).sum().backward()
    for name, parameter in net.named_parameters():
        assert ft.equal(parameter.grad, wanted[name])


class LowRank(nn.Module):
    def __init__(self, linear, rank):
        super().__init__()
        u, s, v = ft.linalg.svd(linear.weight.detach(), full_matrices=False)
        self.down = nn.Parameter(v[:rank] * s[:rank, None])
        self.up, self.bias = nn.Parameter(u[:, :rank].clone()), linear.bias

    def forward(self, x):
        return F.linear(F.linear(x, self.down), self.up, self.bias)


def test_layers_are_folded_and_swapped():
    """Conv-bn folding, then a low-rank layer for every linear one: smaller, and still close."""

    class Wide(ResNet):
        def __init__(self):
            super().__init__()
            with ft.no_grad():
                self.fc = nn.Linear(16, 64)
                self.fc.weight.copy_(ft.randn(64, 2) @ ft.randn(2, 16))
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.copy_(ft.randn(module.num_features))

    net = Wide().eval()
    module = fuse(net)
    for node in module.graph.find_nodes(op="call_module"):
        old = module.get_submodule(node.target)
        if isinstance(old, nn.Linear):
            module.add_submodule(node.target, LowRank(old, 2))
    module.graph.lint()
    assert ft.allclose(module(*Wide.inputs), net(*Wide.inputs), atol=1e-4)

    def size(each):
        return sum(p.numel() for p in each.parameters())

    assert size(module) < size(net)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in module.modules())


def shown_kernels(compiled):
    """What a compiled function does, without the numbers of its buffers, which follow the order of
    evaluation within an expression.
    """
    return sorted(re.sub(r"[@%]\d+", "", compiled.show()).splitlines())


@pytest.mark.parametrize("kind", [Perceptron, ResNet, GPT, LSTM, GNN])
def test_a_traced_module_compiles_to_the_modules_kernels(kind):
    net = kind().eval()
    compiled = ft.compile(net), ft.compile(fx.symbolic_trace(net))
    with ft.no_grad():
        for _ in range(2):
            results = [leaves(each(*kind.inputs)) for each in compiled]
    assert all(map(ft.equal, *results))
    kernels, traced_kernels = map(shown_kernels, compiled)
    assert any("pointwise" in line or "call" in line for line in kernels), kernels
    assert kernels == traced_kernels


class Inlined(fx.Tracer):
    """Looks into every module."""

    def is_leaf_module(self, m, module_qualified_name):
        return False


@pytest.mark.parametrize("kind", [kind for kind in NETS if kind is not LSTM])
def test_modules_of_flambeau_are_traced_into(kind):
    """With example inputs, since layers ask for shapes."""
    net = kind().eval()
    module = fx.GraphModule(net, Inlined().trace(net, example_inputs=kind.inputs))
    module.graph.lint()
    assert not module.graph.find_nodes(op="call_module")
    for a, b in zip(leaves(module(*kind.inputs)), leaves(net(*kind.inputs)), strict=True):
        assert ft.equal(a, b) if isinstance(a, ft.Tensor) else a == b


def test_inner_functions_of_losses_have_names():
    loss, x, y = nn.CrossEntropyLoss(), ft.randn(3, 4), ft.tensor([0, 1, 2])
    module = fx.GraphModule(loss, Inlined().trace(loss))
    assert ft.equal(module(x, y), loss(x, y))
