"""Trains a small network, then rewrites it with `torch.fx` so that it is smaller and faster.

python train.py                    # under a minute on two cores
python train.py --steps 30         # a quick look
python train.py --loss 0.05        # smaller still, and less exact
python train.py --draw DIR         # drawings of the program before and after (flambeau only)

Three steps, as quantisation tools take them: fold what is constant, calibrate on data, swap layers.
"""

import argparse
import math
import pathlib
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import fx
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp

SIZE, KINDS = 32, 10


def gratings(count):
    """Striped images [count, 1, SIZE, SIZE] in noise, and which of KINDS directions they have."""
    kinds = torch.randint(0, KINDS, (count,))
    angle = (kinds * math.pi / KINDS).view(-1, 1, 1)
    frequency = 0.5 + torch.rand(count, 1, 1)
    phase = 2 * math.pi * torch.rand(count, 1, 1)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    waves = torch.sin(frequency * (angle.cos() * x + angle.sin() * y) + phase)
    return (waves + 0.8 * torch.randn(count, SIZE, SIZE)).unsqueeze(1), kinds


def block(channels_in, channels_out):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class Net(nn.Module):
    """Two convolutional blocks and three wide linear layers, which hold most parameters."""

    def __init__(self, width=512):
        super().__init__()
        self.features = nn.Sequential(block(1, 16), block(16, 32))
        self.hidden1 = nn.Linear(32 * (SIZE // 4) ** 2, width)
        self.hidden2 = nn.Linear(width, width)
        self.output = nn.Linear(width, KINDS)

    def forward(self, images):
        x = torch.flatten(self.features(images), 1)
        x = F.relu(self.hidden1(x))
        x = F.relu(self.hidden2(x)) + x
        return self.output(x)


def train(net, steps):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    net.train()
    for step in range(1, steps + 1):
        images, kinds = gratings(64)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), kinds)
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == steps:
            print(f"step {step}: training loss {loss.item():.3f}")


class Calibration(fx.Interpreter):
    """Runs the program and sums up, for each linear layer, the second moments of what it gets."""

    def __init__(self, module):
        super().__init__(module)
        self.moments = {}

    def call_module(self, target, args, kwargs):
        if isinstance(self.fetch_attr(target), nn.Linear):
            rows = args[0].reshape(-1, args[0].shape[-1])
            self.moments[target] = self.moments.get(target, 0) + rows.T @ rows
        return super().call_module(target, args, kwargs)


def low_rank(linear, moments, loss):
    """Two thin layers that lose at most this share of the energy of the layer's results on the data
    of the calibration; None where they would not be smaller.

    The best subspace for ``W x`` is spanned by the first eigenvectors of ``W E[x xᵀ] Wᵀ``.
    """
    weight = linear.weight.double()
    energies, directions = torch.linalg.eigh(weight @ moments.double() @ weight.T)
    lost = energies.clamp(min=0).cumsum(0) / energies.clamp(min=0).sum()
    rank = max(1, int((lost > loss).sum()))
    if rank * (linear.in_features + linear.out_features) >= weight.numel():
        return None
    kept = directions[:, -rank:]
    down = nn.Linear(linear.in_features, rank, bias=False)
    up = nn.Linear(rank, linear.out_features)
    with torch.no_grad():
        down.weight.copy_(kept.T @ weight)
        up.weight.copy_(kept)
        up.bias.copy_(linear.bias)
    return nn.Sequential(down, up)


def swap_linear_layers(module, moments, loss):
    """Puts low-rank layers in the places of linear ones; the program stays as it is."""
    for node in module.graph.nodes:
        if node.op == "call_module" and node.target in moments:
            thin = low_rank(module.get_submodule(node.target), moments[node.target], loss)
            if thin is not None:
                module.add_submodule(node.target, thin)
    module.graph.lint()
    module.recompile()


def milliseconds(net, images, rounds=20):
    """The shortest of several runs."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        net(images)
        best = min(best, time.perf_counter() - begin)
    return 1000 * best


def report(title, net, images, kinds):
    parameters = sum(p.numel() for p in net.parameters())
    accuracy = (net(images).argmax(1) == kinds).double().mean().item()
    print(
        f"{title:<22} {parameters:>9,} parameters  {milliseconds(net, images[:64]):6.2f} ms  "
        f"{100 * accuracy:.1f} % right"
    )


def draw(module, images, path):
    """Writes a drawing of the program with the shapes of its values."""
    ShapeProp(module).propagate(images)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(module.graph.to_svg(path.stem), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Makes a trained network smaller with torch.fx.")
    parser.add_argument("--steps", type=int, default=120, help="of training")
    parser.add_argument("--loss", type=float, default=0.01, help="share of energy that may go")
    parser.add_argument("--draw", type=pathlib.Path, metavar="DIR", help="write drawings there")
    options = parser.parse_args()
    torch.manual_seed(0)
    net = Net()
    train(net, options.steps)
    net.eval()
    images, kinds = gratings(1000)
    with torch.no_grad():
        report("trained", net, images, kinds)
        folded = fuse(net)
        report("batch norms folded", folded, images, kinds)
        calibration = Calibration(folded)
        calibration.run(gratings(500)[0])
        if options.draw:
            draw(fx.symbolic_trace(net), images[:1], options.draw / "before.svg")
        swap_linear_layers(folded, calibration.moments, options.loss)
        report("low-rank layers", folded, images, kinds)
        if options.draw:
            draw(fx.symbolic_trace(folded), images[:1], options.draw / "after.svg")


if __name__ == "__main__":
    main()
