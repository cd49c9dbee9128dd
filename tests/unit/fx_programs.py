"""Programs that are traced by flambeau and by PyTorch: both must print the same."""

import importlib
import math
from collections import namedtuple
from typing import Optional

Point = namedtuple("Point", "x y")


def twice(x):
    """A function that is wrapped: recorded as it is."""
    return x + x


def programs(torch):
    """Name -> (module or function, concrete_args), made of the `torch` that is given."""
    nn, F, PH = torch.nn, torch.nn.functional, torch.fx.PH

    class Documented(nn.Module):
        """Parameter, linear, clamp: the shape of the first example of the documentation."""

        def __init__(self):
            super().__init__()
            self.param = nn.Parameter(torch.rand(3, 4))
            self.linear = nn.Linear(4, 5)

        def forward(self, x):
            return self.linear(x + self.param).clamp(min=0.0, max=1.0)

    class Attributes(nn.Module):
        """Names that must be changed, buffers, plain tensors, nested modules."""

        def __init__(self):
            super().__init__()
            self.layerNorm = nn.LayerNorm(4)
            self.register_buffer("buffer", torch.ones(4))
            self.plain = torch.ones(4)
            self.stages = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Tanh()])
            self.table = nn.ModuleDict({"a": nn.Dropout(0.5)})

        def forward(self, input, lambda_=1.5):
            x = self.layerNorm(input) + self.buffer * self.plain
            for stage in self.stages:
                x = stage(x)
            x = self.table["a"](x) * lambda_
            return x @ self.stages[0][0].weight + torch.ones(4) - torch.eye(4)

    class Block(nn.Module):
        def __init__(self, inside, outside, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outside)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outside)
            self.downsample = None
            if stride != 1 or inside != outside:
                self.downsample = nn.Sequential(
                    nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
                )

        def forward(self, x):
            identity = x
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            if self.downsample is not None:
                identity = self.downsample(x)
            out += identity
            return self.relu(out)

    class Residual(nn.Module):
        """ResNet's blocks, with their += on fresh values."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
            self.layer1 = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
            self.fc = nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, padding=1)
            x = F.adaptive_avg_pool2d(self.layer1(x), (1, 1))
            return self.fc(torch.flatten(x, 1))

    class Attention(nn.Module):
        """Shapes as values, in-place values among containers, numbers."""

        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
            self.heads = 2

        def forward(self, x, mask: Optional[torch.Tensor] = None):  # noqa: UP045
            b, n, c = x.shape[0], x.size(1), x.size()[-1]
            q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // 2).permute(2, 0, 3, 1, 4)
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(4)
            scores = F.softmax(scores, dim=-1)
            y = F.dropout(scores, 0.1, self.training) @ v
            return self.out(y.transpose(1, 2).contiguous().view(b, n, -1))

    def operators(x, y):
        a = x + 1, 1 + x, x - y, 2 - y, x * y, 2 * x, x / y, 1 / x, x // 2, 7 // y, x % 2, 2 % x
        b = x**2, 2**x, x << 1, 1 << x, x >> 1, x & y, 1 & y, x | y, 1 | x, x ^ y, 3 ^ y, x @ y
        c = -x, +x, ~x, abs(x), x < y, x <= 1, x > y, x >= 1, x == y, x != 1
        return a, b, c

    def indices(x, i):
        return x[0], x[None, :, 1:2], x[..., i], x[i:], x[[0, i]], x[x > 0], x[(1, 2)]

    def containers(x):
        d = {"a": x, "b": [x, (x,)], 3: {}}
        return {"d": d, "inf": float("inf"), "nan": float("-inf"), "none": None, "s": slice(x, 2)}

    def named(x):
        return Point(x, [1, Point(2, x)])

    def values(x):
        y = x.to(torch.float64).to(device=torch.device("cpu")), x.to(torch.channels_last)
        return y, torch.empty_like(x, dtype=torch.int64), 1 + 2j, "text", True, ...

    def signature(x: torch.Tensor, n: int = 3, *rest, k=(1, 2), flag: bool = False, **more) -> int:
        return torch.sum(x, dim=1, keepdim=True) + n + x.sum(dim=1).relu(), more, rest

    def functions(x, y):
        a = F.linear(x, y), F.gelu(x, approximate="tanh"), F.conv2d(x, y, padding=1)
        a = *a, F.relu(x), F.relu(x, True), F.relu6(x), F.silu(x), F.hardtanh(x, -2.0), F.elu(x)
        a = *a, F.leaky_relu(x, 0.2), F.softplus(x), F.logsigmoid(x), F.softmax(x, 1), F.glu(x)
        a = *a, F.dropout(x, 0.3), F.layer_norm(x, [4]), F.batch_norm(x, y, y), F.normalize(x)
        a = *a, F.interpolate(x, scale_factor=2), F.pad(x, (1, 1)), F.embedding(x, y), F.one_hot(x)
        a = *a, F.cross_entropy(x, y), F.mse_loss(x, y), F.nll_loss(x, y, ignore_index=3)
        a = *a, F.scaled_dot_product_attention(x, x, x, is_causal=True), F.avg_pool2d(x, 2)
        a = *a, F.adaptive_avg_pool1d(x, 1), F.group_norm(x, 2), F.unfold(x, 2), F.grid_sample(x, y)
        return *a, F.cosine_similarity(x, y), F.pixel_shuffle(x, 2), F.prelu(x, y), F.kl_div(x, y)

    def namespaces(x, y):
        a = torch.fft.fft(x), torch.linalg.norm(x), torch.special.i0e(x), torch.linalg.inv(x)
        a = *a, torch.einsum("ij,jk->ik", x, y), torch.split(x, 2), torch.norm(x), torch.unique(x)
        a = *a, torch.meshgrid(x, y, indexing="ij"), torch.cdist(x, y), torch.tensordot(x, y, 1)
        a = *a, torch.atleast_1d(x), torch.block_diag(x, y), torch.broadcast_tensors(x, y)
        a = *a, torch.stack([x, y]), torch.cat((x, y), dim=1), torch.where(x, y, 0.0)
        a = *a, torch.max(x), torch.max(x, 1)[0], torch.topk(x, 2), torch.chunk(x, 2, dim=1)
        a = *a, torch.zeros_like(x), torch.full_like(x, 3), torch.rand_like(x), torch.numel(x)
        return *a, torch.is_floating_point(x), torch.add(x, 1, alpha=2), torch.clamp(x, min=0)

    def attributes(x):
        y = x.max(1)
        return y.values, x.shape[-1], x.T, x.dtype, x.device, x.grad, x.unsqueeze(0).mT.ndim

    def constants(x):
        one = torch.ones(3)
        return one + x, one - x, one * x, one / x, one**x, x + one, one @ x, torch.eye(3) @ x

    def nested(d, b):
        return {"sum": d["a"] + d["l"][0] + b, "all": (d["a"], d["l"])}

    def several_names(x, add, relu_1):
        return add + relu_1, torch.relu(x), torch.relu(x), x.add(1), x.relu_1(), x.sum_2(), x.sum()

    def unused(x, y):
        torch.relu(x)
        x.neg()
        return y

    def math_functions(x):
        return math.sqrt(x), math.floor(x.shape[0] / 2), math.sqrt(4)

    tree = {"d": {"a": PH, "l": [PH, PH]}, "b": 3}
    return {
        "documented": (Documented(), None),
        "attributes of modules": (Attributes(), None),
        "residual": (Residual().eval(), None),
        "attention": (Attention().eval(), None),
        "sequential": (nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())), None),
        "fixed flag": (Attention().eval(), {"mask": None}),
        "nested": (nested, tree),
        "nested plain": (nested, {"b": 3.5}),
        "fixed": (nested, {"b": True}),
        **{
            function.__name__: (function, None)
            for function in (
                operators,
                indices,
                containers,
                named,
                values,
                signature,
                functions,
                namespaces,
                attributes,
                constants,
                several_names,
                unused,
                math_functions,
            )
        },
    }


def printed(torch):
    """The text of all programs, in sections."""
    sections = []
    for name, (root, concrete) in programs(torch).items():
        module = torch.fx.symbolic_trace(root, concrete)
        readable = module.print_readable(print_output=False)
        sections.append(f"== {name}\n{module.code}\n{module.graph}\n{readable}")
    sections += styled(torch)
    text = "\n".join(sections)
    return "\n".join(line.rstrip() for line in text.split("\n")) + "\n"


def styled(torch):
    """One program with the shapes of its values, in the styles in which text can be had."""
    shape_prop = importlib.import_module(f"{torch.__name__}.fx.passes.shape_prop")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)
            self.shift = torch.nn.Parameter(torch.ones(3))

        def forward(self, x, y: int = 2):
            halves = torch.split(x, 2)
            z = torch.relu(self.linear(x) + self.shift) * y
            return z, halves[0].double(), x.sum().long(), x > 1.5, torch.complex(x, x), z.bfloat16()

    module = torch.fx.symbolic_trace(Net())
    shape_prop.ShapeProp(module).propagate(torch.ones(4, 3), 2)
    next(node for node in module.graph.nodes if node.name == "relu").meta["note"] = "mine"
    styles = (
        {},
        {"include_stride": True, "include_device": True},
        {"expanded_def": True},
        {"colored": True},
        {"additional_meta": ["note"]},
    )
    texts = []
    for style in styles:
        code = module.graph.python_code("self", verbose=True, **style).src
        text = code + module.print_readable(print_output=False, **style)
        texts.append(f"== style {style}\n" + text.replace("\x1b", "ESC"))
    return texts
