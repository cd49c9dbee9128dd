#!/usr/bin/env python3
"""Times `torch.fx`: tracing, interpreting, and passes over programs of growing size.

    python bench/fx.py [--against torch] [--nodes 100 1000 10000]

The first table compares libraries (least of the rounds, taken in turns); the second one shows
microseconds per node for each pass, which must not grow with the program.
"""

import argparse
import copy
import importlib
import pathlib
import pickle
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))


def resnet(library, width):
    """A network with the structure of ResNet-50."""
    nn = library.nn

    class Bottleneck(nn.Module):
        def __init__(self, channels, width, stride):
            super().__init__()
            out = 4 * width
            self.conv1, self.norm1 = nn.Conv2d(channels, width, 1, bias=False), norm(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
            self.norm2 = norm(width)
            self.conv3, self.norm3 = nn.Conv2d(width, out, 1, bias=False), norm(out)
            self.relu, self.down = nn.ReLU(inplace=True), None
            if stride != 1 or channels != out:
                conv = nn.Conv2d(channels, out, 1, stride=stride, bias=False)
                self.down = nn.Sequential(conv, norm(out))

        def forward(self, x):
            skip = x if self.down is None else self.down(x)
            x = self.relu(self.norm1(self.conv1(x)))
            x = self.norm3(self.conv3(self.relu(self.norm2(self.conv2(x)))))
            x += skip
            return self.relu(x)

    norm = nn.BatchNorm2d
    stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), norm(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels, stages = width, []
    for place, (blocks, stride) in enumerate(((3, 1), (4, 2), (6, 2), (3, 2))):
        inner = width * 2**place
        for block in range(blocks):
            stages.append(Bottleneck(channels, inner, stride if block == 0 else 1))
            channels = 4 * inner
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)]
    return nn.Sequential(*stem, *stages, *head).eval()


def compare(libraries, rounds):
    """Milliseconds of tracing, of the plain call, and of an interpreter, for each library."""
    calls = {}
    for library in libraries:
        library.set_num_threads(2)
        net, x = resnet(library, 16), library.randn(1, 3, 64, 64)
        module = library.fx.symbolic_trace(net)
        interpreter = library.fx.Interpreter(module)
        name = library.__name__
        calls["trace", name] = lambda library=library, net=net: library.fx.symbolic_trace(net)
        calls["plain call", name] = lambda net=net, x=x: net(x)
        calls["GraphModule", name] = lambda module=module, x=x: module(x)
        calls["Interpreter", name] = lambda interpreter=interpreter, x=x: interpreter.run(x)
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for key, call in calls.items():
            begin = time.perf_counter()
            call()
            best[key] = min(best[key], time.perf_counter() - begin)
    names = [library.__name__ for library in libraries]
    print(f"| ms | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for what in dict.fromkeys(what for what, _ in calls):
        print(f"| {what} | {' | '.join(f'{1000 * best[what, name]:.2f}' for name in names)} |")


def long_program(torch, nodes):
    """A chain with some long edges."""
    graph = torch.fx.Graph()
    last = [graph.placeholder("x")]
    for number in range(nodes):
        target = (torch.relu, torch.add, torch.sin)[number % 3]
        args = (last[-1], last[len(last) // 2]) if target is torch.add else (last[-1],)
        last.append(graph.call_function(target, args))
    graph.output(last[-1])
    return torch.fx.GraphModule({}, graph)


def passes(torch):
    """Name -> function of a GraphModule."""
    fx = torch.fx
    from flambeau.fx.passes.dialect.common.cse_pass import CSEPass
    from flambeau.fx.passes.infra.partitioner import CapabilityBasedPartitioner
    from flambeau.fx.passes.operator_support import create_op_support
    from flambeau.fx.passes.split_module import split_module

    support = create_op_support(lambda modules, node: node.target is not torch.sin)
    return {
        "lint": lambda m: m.graph.lint(),
        "eliminate_dead_code": lambda m: m.graph.eliminate_dead_code(),
        "recompile": lambda m: m.recompile(),
        "print": lambda m: str(m.graph),
        "deepcopy": copy.deepcopy,
        "pickle": lambda m: pickle.loads(pickle.dumps(m)),
        "Transformer": lambda m: fx.Transformer(m).transform(),
        "replace_pattern": lambda m: fx.replace_pattern(
            m, lambda x: torch.sin(torch.relu(x)), lambda x: torch.relu(torch.sin(x))
        ),
        "CSEPass": lambda m: CSEPass()(m),
        "split_module": lambda m: split_module(m, m, lambda node: 0),
        "partition": lambda m: CapabilityBasedPartitioner(m, support).partition_and_fuse(),
    }


def show_passes(torch, sizes):
    print(f"\n| µs per node | {' | '.join(f'{n:,}' for n in sizes)} |\n|---|{'---:|' * len(sizes)}")
    for name, change in passes(torch).items():
        row = []
        for nodes in sizes:
            module = long_program(torch, nodes)
            begin = time.process_time()
            change(module)
            row.append(f"{1e6 * (time.process_time() - begin) / nodes:.1f}")
        print(f"| {name} | {' | '.join(row)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against")
    parser.add_argument("--nodes", type=int, nargs="*", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    names = ["flambeau", *([options.against] if options.against else [])]
    libraries = [importlib.import_module(name) for name in names]
    for name in names:
        importlib.import_module(f"{name}.fx")
    for library in libraries:
        library.set_grad_enabled(False)
    compare(libraries, options.rounds)
    show_passes(libraries[0], options.nodes)


if __name__ == "__main__":
    main()
