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
    ("gpytorch", "a Gaussian process learns a sine", """
import math
import gpytorch
torch.manual_seed(0)
X = torch.linspace(0, 1, 40)
Y = torch.sin(X * 2 * math.pi)
class Process(gpytorch.models.ExactGP):
    def __init__(self, likelihood):
        super().__init__(X, Y, likelihood)
        self.mean, kernel = gpytorch.means.ConstantMean(), gpytorch.kernels.RBFKernel()
        self.covariance = gpytorch.kernels.ScaleKernel(kernel)
    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean(x), self.covariance(x))
likelihood = gpytorch.likelihoods.GaussianLikelihood()
model = Process(likelihood)
optimizer = torch.optim.Adam(model.parameters(), 0.1)
likelihood_of = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
for _ in range(30):
    optimizer.zero_grad()
    (-likelihood_of(model(X), Y)).backward()
    optimizer.step()
model.eval(), likelihood.eval()
with torch.no_grad():
    found = likelihood(model(torch.tensor([0.25, 0.75]))).mean
assert torch.allclose(found, torch.tensor([1.0, -1.0]), atol=0.2)
"""),
    ("linear-operator", "`torch.linalg.solve` of an operator that is no tensor", """
from linear_operator.operators import DenseLinearOperator, DiagLinearOperator
matrix = DenseLinearOperator(torch.eye(5)) + DiagLinearOperator(torch.ones(5))
assert torch.allclose(torch.linalg.solve(matrix, torch.ones(5, 2)), torch.full((5, 2), 0.5))
"""),
    ("pyro-ppl", "variational inference and Hamiltonian sampling of a coin", """
import pyro
import pyro.distributions as dist
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
pyro.set_rng_seed(0)
data = torch.tensor([1.0] * 6 + [0.0] * 4)
def model(data):
    fairness = pyro.sample("fairness", dist.Beta(10.0, 10.0))
    with pyro.plate("data", len(data)):
        pyro.sample("toss", dist.Bernoulli(fairness), obs=data)
def guide(data):
    positive = dist.constraints.positive
    a = pyro.param("a", torch.tensor(15.0), constraint=positive)
    b = pyro.param("b", torch.tensor(15.0), constraint=positive)
    pyro.sample("fairness", dist.Beta(a, b))
svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
losses = [svi.step(data) for _ in range(50)]
assert 5 < sum(losses) / 50 < 9
chain = MCMC(NUTS(model), num_samples=20, warmup_steps=20, disable_progbar=True)
chain.run(data)
assert 0.4 < chain.get_samples()["fairness"].mean() < 0.7
"""),
    ("lion-pytorch", "50 steps of Lion", """
from lion_pytorch import Lion
model = torch.nn.Linear(3, 2)
optimizer = Lion(model.parameters(), lr=1e-2)
for _ in range(100):
    optimizer.zero_grad()
    loss = (model(torch.ones(4, 3)) - 1).square().mean()
    loss.backward()
    optimizer.step()
assert loss < 0.1
"""),
    ("torch-optimizer", "steps of Ranger and Yogi", """
import warnings
import torch_optimizer
warnings.simplefilter("ignore")
for make in (torch_optimizer.Ranger, torch_optimizer.Yogi):
    model = torch.nn.Linear(3, 2)
    optimizer, losses = make(model.parameters()), []
    for _ in range(10):
        optimizer.zero_grad()
        losses.append((model(torch.ones(4, 3)) - 1).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
"""),
    ("rotary-embedding-torch", "rotated queries keep their length", """
from rotary_embedding_torch import RotaryEmbedding
queries = torch.randn(1, 8, 64, 32)
found = RotaryEmbedding(dim=32).rotate_queries_or_keys(queries)
assert torch.allclose(found.norm(dim=-1), queries.norm(dim=-1), atol=1e-4)
"""),
    ("skorch", "a classifier, a search for its parameters, pickles", """
import pickle
import numpy as np
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
torch.manual_seed(0)
X = np.random.default_rng(0).standard_normal((200, 4)).astype("f")
y = (X.sum(1) > 0).astype("int64")
net = NeuralNetClassifier(
    torch.nn.Linear, module__in_features=4, module__out_features=2, max_epochs=20, lr=0.5,
    criterion=torch.nn.CrossEntropyLoss, verbose=0,
)
net.fit(X, y)
assert (pickle.loads(pickle.dumps(net)).predict(X) == y).mean() > 0.9
search = GridSearchCV(net, {"lr": [0.1, 0.5]}, refit=False, cv=2, scoring="accuracy")
assert search.fit(X, y).best_score_ > 0.8
"""),
    ("pytorch-metric-learning", "losses, a miner", """
from pytorch_metric_learning import losses, miners
torch.manual_seed(0)
points, labels = torch.randn(32, 16, requires_grad=True), torch.randint(0, 4, (32,))
pairs = miners.MultiSimilarityMiner()(points, labels)
for loss in (losses.TripletMarginLoss(), losses.ContrastiveLoss(), losses.NTXentLoss()):
    loss(points, labels, pairs).backward()
losses.ArcFaceLoss(4, 16)(points, labels).backward()
assert points.grad.isfinite().all()
"""),
    ("opt-einsum", "a chain of products", """
import opt_einsum
a, b, c = torch.randn(3, 4), torch.randn(4, 5), torch.randn(5, 6)
assert torch.allclose(opt_einsum.contract("ab,bc,cd->ad", a, b, c), a @ b @ c, atol=1e-5)
"""),
    ("einx", "means, products, axes that are split", """
import einx
x = torch.randn(4, 8, 3)
assert einx.mean("b [s] c", x).shape == (4, 3)
assert einx.dot("a b c, c d -> a b d", x, torch.randn(3, 5)).shape == (4, 8, 5)
"""),
    ("torchsummary", "the summary of a model", """
from torchsummary import summary
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
summary(model, (3, 8, 8), device="cpu")
"""),
    ("pytorch-ignite", "an engine trains", """
from ignite.engine import create_supervised_trainer
"""),
    ("torchvision", "a residual network forward and backward, transforms; no ops in C++", """
import torchvision
model = torchvision.models.resnet18(num_classes=10)
model(torch.randn(2, 3, 32, 32)).sum().backward()
assert model.conv1.weight.grad.abs().sum() > 0
T = torchvision.transforms
image = T.Compose([T.Resize(32), T.CenterCrop(28), T.Normalize([0.5] * 3, [0.5] * 3)])
assert image(torch.rand(3, 64, 64)).shape == (3, 28, 28)
"""),
    ("timm", "vision transformer, EfficientNet and DenseNet, forward and backward", """
import timm
x = torch.randn(1, 3, 64, 64)
for name, options in (
    ("vit_tiny_patch16_224", {"img_size": 64}), ("efficientnet_b0", {}), ("densenet121", {}),
):
    model = timm.create_model(name, num_classes=10, **options).eval()
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
"""),
    ("kornia", "a blur", """
import kornia
assert kornia.filters.gaussian_blur2d(torch.ones(1, 1, 5, 5), (3, 3), (1.5, 1.5)).mean() == 1
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
