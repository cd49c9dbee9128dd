"""Writes docs/ecosystem.md: which third-party packages run on flambeau, each tried on a job.

python tools/ecosystem_page.py              docs/ecosystem.md
python tools/ecosystem_page.py --out FILE

A package is tried where it is installed; each job checks its results against known values.
"""

import argparse
import importlib.metadata
import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
HEAD = """# Third-party packages

Written by `tools/ecosystem_page.py`, which runs a job of each package in a process where
`import torch` gives flambeau.

| package | version | job | verdict |
|---|---|---|---|
"""
# Package, what the job is, and the job. A job that ends without exception has worked.
JOBS = (
    ("einops", "rearrange, reduce, repeat, einsum, layers, gradients", """
from einops import einsum, rearrange, reduce, repeat
from einops.layers.torch import Rearrange, Reduce
x = torch.arange(24.0, requires_grad=True).view(2, 3, 4)
assert rearrange(x, "a b c -> (a b) c").shape == (6, 4)
assert reduce(x, "a b c -> a", "mean").tolist() == [5.5, 17.5]
assert repeat(x, "a b c -> a b c r", r=2).shape == (2, 3, 4, 2)
assert torch.equal(einsum(x, x, "a b c, a b d -> a c d"), torch.einsum("abc,abd->acd", x, x))
model = torch.nn.Sequential(Rearrange("a b c -> a (b c)"), torch.nn.Linear(12, 2))
model(x).sum().backward()
assert model[1].weight.grad.shape == (2, 12)
"""),
    ("torchdiffeq", "an exponential by three solvers, and its gradient by the adjoint method", """
import math
from torchdiffeq import odeint, odeint_adjoint
for method in ("dopri5", "rk4", "implicit_adams"):
    found = odeint(lambda t, y: -y, torch.ones(2).double(), torch.linspace(0, 1, 20), method=method)
    assert abs(found[-1, 0].item() - math.exp(-1)) < 1e-4, method
class Decay(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0))
    def forward(self, t, y):
        return -self.rate * y
model = Decay()
odeint_adjoint(model, torch.ones(1), torch.tensor([0.0, 1.0]))[-1].sum().backward()
assert abs(model.rate.grad.item() + math.exp(-1)) < 1e-3
"""),
    ("torchmetrics", "accuracy, AUROC, F1, confusion matrix, regression, collections, updates", """
import torchmetrics as metrics
target, scores = torch.tensor([0, 1, 0, 1]), torch.tensor([0.1, 0.4, 0.35, 0.8])
assert metrics.AUROC(task="binary")(scores, target).item() == 1.0
assert abs(metrics.F1Score(task="binary")(scores, target).item() - 2 / 3) < 1e-6
accuracy = metrics.Accuracy(task="multiclass", num_classes=3)
accuracy.update(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2]))
accuracy.update(torch.tensor([1]), torch.tensor([1]))
assert accuracy.compute().item() == 0.75
matrix = metrics.ConfusionMatrix(task="multiclass", num_classes=2)
assert matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])).tolist() == [[1, 1], [0, 1]]
both = metrics.MetricCollection([metrics.MeanAbsoluteError(), metrics.MeanSquaredError()])
found = both(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
assert found["MeanAbsoluteError"].item() == 1 and found["MeanSquaredError"].item() == 2
"""),
    ("lightning-utilities", "versions, functions on nested containers", """
import operator
from lightning_utilities.core.apply_func import apply_to_collection
from lightning_utilities.core.imports import RequirementCache, compare_version
assert compare_version("torch", operator.ge, "2.0.0") and RequirementCache("torch>=2.0")
found = apply_to_collection({"a": [torch.ones(1)]}, torch.Tensor, lambda tensor: tensor + 1)
assert found["a"][0].item() == 2
"""),
    ("safetensors", "`safetensors.torch`: files and models, both ways", """
import tempfile, os
from safetensors.torch import load_file, load_model, save_file, save_model
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "x.safetensors")
    save_file({"a": torch.arange(6.0).view(2, 3), "h": torch.ones(2, dtype=torch.bfloat16)}, path)
    assert load_file(path)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save_model(model, path)
    load_model(other, path)
    assert torch.equal(model.weight, other.weight)
"""),
    ("torchinfo", "the summary of a model", """
from torchinfo import summary
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
found = summary(model, (5, 3), verbose=0)
assert found.total_params == 26 and found.total_output_bytes == 240
"""),
    ("captum", "integrated gradients of a linear model", """
from captum.attr import IntegratedGradients
model = torch.nn.Linear(3, 1, bias=False)
found = IntegratedGradients(model).attribute(torch.ones(1, 3))
assert torch.allclose(found.float(), model.weight, atol=1e-5)
"""),
    ("torch-geometric", "a graph convolution", """
from torch_geometric.nn import GCNConv
edges = torch.tensor([[0, 1, 2], [1, 2, 3]])
assert GCNConv(3, 2)(torch.ones(4, 3), edges).shape == (4, 2)
"""),
    ("gpytorch", "the kernel of a Gaussian process", """
import gpytorch
found = gpytorch.kernels.RBFKernel()(torch.zeros(1, 1), torch.zeros(1, 1)).to_dense()
assert found.item() == 1
"""),
    ("pyro-ppl", "a sample of a model", """
import pyro
assert pyro.sample("x", pyro.distributions.Normal(0.0, 1.0)).shape == ()
"""),
)  # fmt: skip


def version(package: str) -> str | None:
    """The version that is installed; None where none is."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def verdict(job: str) -> str:
    """What became of a job: "works", or the last line of the error."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "flambeau",
        "run",
        "-c",
        "import torch\n" + job,
    ]
    path = os.pathsep.join(filter(None, (str(TOP), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=path)
    )
    if done.returncode == 0:
        return "works"
    line = (done.stderr.strip().splitlines() or ["it ended with no message"])[-1]
    return "fails: " + line.replace("|", "/")[:160]


def page() -> str:
    """The page's text."""
    rows = []
    for package, what, job in JOBS:
        found = version(package)
        told = "not installed here" if found is None else verdict(job)
        rows.append(f"| {package} | {found or ''} | {what} | {told} |\n")
        print(rows[-1], end="", file=sys.stderr)
    return HEAD + "".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=TOP / "docs" / "ecosystem.md")
    parser.parse_args().out.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
