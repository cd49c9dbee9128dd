"""Writes docs/modules.md: how far the modules of torch.nn agree with PyTorch's.

    python tools/module_page.py                needs PyTorch in the same environment
    python tools/module_page.py Linear LSTM    prints what differs in these, and writes nothing

Samples come from PyTorch's own module database (`torch.testing`), and, for the modules that it
leaves out, from OWN below. Both sides are constructed after the same seed and get the same inputs.
Compared are `repr`, the state dict (names, shapes, and every bit of the initial values), results,
and the gradients of parameters and inputs for a random cotangent; in training and in evaluation.
"""

import argparse
import dataclasses
import importlib
import pathlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy

TOP = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = ("repr", "state dict", "forward", "gradient", "errors")
RELATIVE, ABSOLUTE = 2e-4, 5e-5

IMAGE, VOLUME, LINE = (
    "torch.randn(2, 4, 6, 6)",
    "torch.randn(2, 4, 4, 4, 4)",
    "torch.randn(2, 4, 6)",
)
POOLED = "*torch.nn.functional.max_pool{0}d({1}, 2, return_indices=True)"
TRIPLE = ", ".join(["torch.randn(5, 4)"] * 3)
# Module -> constructor calls, each with what `forward` gets; both are Python.
OWN = {
    "AdaptiveLogSoftmaxWithLoss": {
        "nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10])": "torch.randn(6, 8), torch.arange(6) * 3",
        "nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4], 2.0, head_bias=True)": "torch.randn(8), "
        "torch.tensor(9)",
    },
    "AlphaDropout": {"nn.AlphaDropout(0.3)": LINE},
    "ChannelShuffle": {"nn.ChannelShuffle(2)": IMAGE},
    "CosineSimilarity": {"nn.CosineSimilarity(1)": f"{LINE}, {LINE}"},
    "CrossMapLRN2d": {"nn.CrossMapLRN2d(3, k=2)": IMAGE},
    "DataParallel": {"nn.DataParallel(nn.Linear(6, 2))": LINE},
    "Dropout": {"nn.Dropout(0.3)": LINE, "nn.Dropout(1.0)": LINE},
    "Dropout1d": {"nn.Dropout1d(0.3)": LINE},
    "Dropout2d": {"nn.Dropout2d(0.3)": IMAGE},
    "Dropout3d": {"nn.Dropout3d(0.3)": VOLUME},
    "EmbeddingBag": {
        "nn.EmbeddingBag(9, 3)": "torch.randint(9, (2, 4))",
        "nn.EmbeddingBag(9, 3, mode='sum', padding_idx=2)": "torch.randint(9, (7,)), "
        "torch.tensor([0, 3])",
        "nn.EmbeddingBag(9, 3, mode='max', max_norm=1.0)": "torch.randint(9, (2, 4))",
    },
    "FeatureAlphaDropout": {"nn.FeatureAlphaDropout(0.3)": IMAGE},
    "Flatten": {"nn.Flatten()": IMAGE, "nn.Flatten(0, -2)": IMAGE},
    "Fold": {"nn.Fold((4, 5), 2)": "torch.randn(2, 8, 12)"},
    "Hardsigmoid": {"nn.Hardsigmoid()": LINE},
    "Identity": {"nn.Identity(3, a=4)": LINE},
    "LazyBatchNorm1d": {"nn.LazyBatchNorm1d()": LINE},
    "LazyBatchNorm2d": {"nn.LazyBatchNorm2d(momentum=None)": IMAGE},
    "LazyBatchNorm3d": {"nn.LazyBatchNorm3d(bias=False)": VOLUME},
    "LazyInstanceNorm1d": {"nn.LazyInstanceNorm1d()": LINE},
    "LazyInstanceNorm2d": {"nn.LazyInstanceNorm2d()": IMAGE},
    "LazyInstanceNorm3d": {"nn.LazyInstanceNorm3d()": VOLUME},
    "LazyLinear": {"nn.LazyLinear(3)": LINE, "nn.LazyLinear(3, bias=False)": LINE},
    "MaxUnpool1d": {"nn.MaxUnpool1d(2)": POOLED.format(1, LINE)},
    "MaxUnpool2d": {"nn.MaxUnpool2d(2)": POOLED.format(2, IMAGE)},
    "MaxUnpool3d": {"nn.MaxUnpool3d(2)": POOLED.format(3, VOLUME)},
    "ModuleDict": {"nn.Sequential(nn.ModuleDict({'a': nn.Linear(6, 2)})['a'])": LINE},
    "ModuleList": {"nn.ModuleList([nn.Linear(6, 2), nn.Linear(6, 2), nn.ReLU()])": ""},
    "NLLLoss2d": {"nn.NLLLoss2d()": "torch.randn(2, 4, 3, 3), torch.randint(4, (2, 3, 3))"},
    "PairwiseDistance": {"nn.PairwiseDistance(1.5, keepdim=True)": f"{LINE}, {LINE}"},
    "ParameterDict": {"nn.ParameterDict({'a': torch.ones(2, 3)})": ""},
    "ParameterList": {"nn.ParameterList([torch.ones(2), torch.zeros(3)])": ""},
    "PixelShuffle": {"nn.PixelShuffle(2)": IMAGE},
    "PixelUnshuffle": {"nn.PixelUnshuffle(2)": IMAGE},
    "RReLU": {"nn.RReLU()": LINE},
    "Sequential": {"nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))": LINE},
    "SyncBatchNorm": {"nn.SyncBatchNorm(4)": None},
    "TransformerEncoder": {
        "nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0), 2, nn.LayerNorm(8))": ""
        "torch.randn(3, 2, 8)",
        "nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, 'gelu', norm_first=True), "
        "1, enable_nested_tensor=False)": "torch.randn(3, 2, 8), torch.zeros(3, 3).bool().triu(1)",
    },
    "TransformerDecoder": {
        "nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, 0.0), 2, nn.LayerNorm(8))": ""
        "torch.randn(3, 2, 8), torch.randn(4, 2, 8)"
    },
    "TripletMarginLoss": {"nn.TripletMarginLoss(swap=True)": TRIPLE},
    "TripletMarginWithDistanceLoss": {
        "nn.TripletMarginWithDistanceLoss()": TRIPLE,
        "nn.TripletMarginWithDistanceLoss(swap=True, margin=2.0, reduction='sum')": TRIPLE,
    },
    "Unflatten": {"nn.Unflatten(1, (2, 2))": LINE},
    "Unfold": {"nn.Unfold(3, padding=1, stride=2)": IMAGE},
    "Upsample": {
        "nn.Upsample(scale_factor=2, mode='bicubic')": IMAGE,
        "nn.Upsample((5, 7), mode='nearest')": IMAGE,
    },
    "UpsamplingBilinear2d": {"nn.UpsamplingBilinear2d(scale_factor=2)": IMAGE},
    "UpsamplingNearest2d": {"nn.UpsamplingNearest2d((3, 4))": IMAGE},
}
# Base classes: nothing to run.
BASES = {"Container", "Module", "RNNBase", "RNNCellBase"}
REMARKS = {
    "CrossMapLRN2d": "has a gradient in PyTorch that `torch.autograd.gradcheck` rejects; that of "
    "flambeau passes",
    "SyncBatchNorm": "runs on accelerators only in PyTorch",
}

HEAD = """# Modules

How far the modules of `torch.nn` agree with PyTorch's (release 2.13): written by
`tools/module_page.py`, which constructs both after the same seed and gives both the same inputs, in
training and in evaluation.

* **repr**: the same text.
* **state dict**: the same names in the same order, and every bit of the initial values.
* **forward**: the same results, to the rounding of float32; draws of random numbers are the same.
* **gradient**: of all parameters and inputs.
* **errors**: the same type and first line for the wrong arguments and inputs that PyTorch's module
  database has.

"""


@dataclasses.dataclass
class Sample:
    """How to construct a module, and what to call it with, in PyTorch's values."""

    make: Any  # of the module nn -> module
    args: tuple
    kwargs: dict
    runs: bool = True


class Side:
    """PyTorch, or flambeau: brings PyTorch's values to it, and its values to NumPy."""

    def __init__(self, name: str) -> None:
        self.lib = importlib.import_module(name)
        self.nn = importlib.import_module(f"{name}.nn")

    def bring(self, value: Any, made: list) -> Any:
        """`value` with tensors of this side; those that require grad are put into `made`."""
        kind = type(value).__module__.partition(".")[0]
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            return type(value)(self.bring(each, made) for each in value)
        if isinstance(value, dict):
            return {key: self.bring(each, made) for key, each in value.items()}
        if hasattr(value, "detach"):
            tensor = self.lib.tensor(value.detach().numpy().copy())
            if value.requires_grad:
                made.append(tensor.requires_grad_())
            return tensor
        if kind == "torch" and hasattr(value, "is_floating_point"):
            return getattr(self.lib, str(value).removeprefix("torch."))
        if callable(value) and hasattr(self.nn.functional, getattr(value, "__name__", "")):
            return getattr(self.nn.functional, value.__name__)
        named = isinstance(value, tuple) and hasattr(value, "_fields")
        return getattr(self.nn, type(value).__name__)(*value) if named else value


def tensors(value: Any) -> Iterator[Any]:
    """The tensors in nested results, in order."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from tensors(each)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif hasattr(value, "detach"):
        yield value
    elif hasattr(value, "data") and hasattr(value, "batch_sizes"):
        yield value.data


def array(tensor: Any) -> numpy.ndarray:
    return tensor.detach().cpu().numpy().copy()


class Run:
    """What one sample gives on one side."""

    def __init__(self, side: Side, sample: Sample, training: bool) -> None:
        lib = side.lib
        inputs: list = []
        lib.manual_seed(0)
        module = sample.make(side)
        module.train(training)
        self.repr = repr(module)
        self.state = {key: self._value(each) for key, each in module.state_dict().items()}
        self.results, self.gradients = [], []
        if not sample.runs:
            return
        args = side.bring(sample.args, inputs)
        kwargs = side.bring(sample.kwargs, inputs)
        lib.manual_seed(1)
        outputs = list(tensors(module(*args, **kwargs)))
        self.results = [array(each) for each in outputs]
        # Of lazy modules, there is something to compare only now.
        self.repr += "\n" + repr(module)
        self.state |= {"+" + key: self._value(x) for key, x in module.state_dict().items()}
        self._backward(lib, outputs, inputs, module)

    @staticmethod
    def _value(value: Any) -> Any:
        lazy = type(value).__name__.startswith("Uninitialized")
        return type(value).__name__ if lazy or not hasattr(value, "detach") else array(value)

    def _backward(self, lib: Any, outputs: list, inputs: list, module: Any) -> None:
        outputs = [each for each in outputs if each.requires_grad]
        if not outputs:
            return
        draws = numpy.random.default_rng(2)
        weights = [
            lib.tensor(draws.standard_normal(x.shape).astype(array(x).dtype)) for x in outputs
        ]
        lib.autograd.backward(outputs, weights)
        leaves = [*inputs, *module.parameters()]
        self.gradients = [None if x.grad is None else array(x.grad) for x in leaves]


def _unequal(ours: Any, theirs: Any, exact: bool) -> str | None:
    if not isinstance(ours, numpy.ndarray) or not isinstance(theirs, numpy.ndarray):
        same = type(ours) is type(theirs) and (ours is None or ours == theirs)
        return None if same else f"{ours!r}, not {theirs!r}"
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{ours.dtype}{ours.shape}, not {theirs.dtype}{theirs.shape}"
    if exact:
        return None if numpy.array_equal(ours, theirs, equal_nan=True) else "other values"
    size = max(1.0, float(numpy.abs(theirs[numpy.isfinite(theirs)]).max(initial=0)))
    if numpy.allclose(ours, theirs, RELATIVE, ABSOLUTE * size, equal_nan=True):
        return None
    return f"off by {numpy.nanmax(numpy.abs(ours - theirs)):.2g} where the largest is {size:.2g}"


def differences(ours: Run, theirs: Run) -> dict[str, str]:
    """What differs, by column."""
    found = {}
    if ours.repr != theirs.repr:
        found["repr"] = f"{ours.repr!r}, not {theirs.repr!r}"
    if list(ours.state) != list(theirs.state):
        found["state dict"] = f"{list(ours.state)}, not {list(theirs.state)}"
    else:
        for key, value in ours.state.items():
            # What forward put there (running means) is rounded as results are.
            problem = _unequal(value, theirs.state[key], exact=not key.startswith("+"))
            if problem:
                found["state dict"] = f"{key}: {problem}"
    for column, a, b in (
        ("forward", ours.results, theirs.results),
        ("gradient", ours.gradients, theirs.gradients),
    ):
        if len(a) != len(b):
            found[column] = f"{len(a)} tensors, not {len(b)}"
        for x, y in zip(a, b, strict=False):
            problem = _unequal(x, y, exact=False)
            if problem:
                found[column] = problem
    return found


def from_database(info: Any, training: bool) -> Iterator[Sample]:
    """PyTorch's own samples of a module."""
    torch = importlib.import_module("torch")
    name = info.module_cls.__name__
    for given in info.module_inputs_func(info, "cpu", torch.float32, True, training):
        built, called = given.constructor_input, given.forward_input

        def make(side: Side, built: Any = built) -> Any:
            args, kwargs = side.bring((tuple(built.args), dict(built.kwargs)), [])
            return getattr(side.nn, name)(*args, **kwargs)

        args, kwargs = (tuple(called.args), dict(called.kwargs)) if called else ((), {})
        yield Sample(make, args, kwargs, called is not None)


def refusals(info: Any, sides: tuple[Side, Side]) -> Iterator[tuple[str, str]]:
    """What each side says to the wrong inputs that PyTorch's database has."""
    name = info.module_cls.__name__
    for case in info.module_error_inputs_func(info, "cpu", sides[1].lib.float32, False, True):
        yield tuple(_refusal(side, name, case.module_error_input) for side in sides)


def _refusal(side: Side, name: str, given: Any) -> str:
    built, called = given.constructor_input, given.forward_input
    try:
        args, kwargs = side.bring((tuple(built.args), dict(built.kwargs)), [])
        module = getattr(side.nn, name)(*args, **kwargs)
        if called is not None:
            args, kwargs = side.bring((tuple(called.args), dict(called.kwargs)), [])
            module(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return "no error"


def from_table(name: str) -> Iterator[Sample]:
    torch = importlib.import_module("torch")
    for call, inputs in OWN[name].items():
        torch.manual_seed(5)
        args = eval(f"[{inputs or ''}]", {"torch": torch})
        for each in args:
            if each.is_floating_point():
                each.requires_grad_()

        def make(side: Side, call: str = call) -> Any:
            return eval(call, {"nn": side.nn, "torch": side.lib})

        yield Sample(make, tuple(args), {}, bool(inputs))


def compare(name: str, infos: dict, ours: Side, theirs: Side) -> tuple[int, dict[str, str]]:
    """(how many samples ran on PyTorch, the last difference found in each column)."""
    count, found = 0, {}
    for training in (True, False):
        samples = from_database(infos[name], training) if name not in OWN else from_table(name)
        for sample in samples:
            try:
                wanted = Run(theirs, sample, training)
            except Exception:
                continue  # the database has samples that PyTorch itself refuses
            count += 1
            try:
                found |= differences(Run(ours, sample, training), wanted)
            except Exception as error:
                found["forward"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    if name in infos and infos[name].module_error_inputs_func is not None:
        different = [f"{a}, not {b}" for a, b in refusals(infos[name], (ours, theirs)) if a != b]
        found |= {"errors": different[-1]} if different else {}
    return count, found


def row(name: str, count: int, found: dict[str, str]) -> str:
    cells = [found.get(column, "yes").replace("|", "\\|").replace("\n", " ") for column in COLUMNS]
    return f"| `{name}` | {count} | " + " | ".join(cells) + " |"


def page(rows: dict[str, tuple[int, dict[str, str]]]) -> str:
    equal = sum(not found for _, found in rows.values())
    lines = [f"{equal} of {len(rows)} modules are equal in everything compared.\n"]
    lines += [
        "| module | samples | " + " | ".join(COLUMNS) + " |",
        "|---|---:|" + "---|" * len(COLUMNS),
    ]
    lines += [row(name, *rows[name]) for name in sorted(rows)]
    lines += ["", *(f"`{name}` {text}." for name, text in REMARKS.items())]
    return HEAD + "\n".join(lines) + "\n"


def rows_of(names: list[str]) -> dict[str, tuple[int, dict[str, str]]]:
    """`compare` of these modules, or of all."""
    database = importlib.import_module("torch.testing._internal.common_modules").module_db
    infos = {info.module_cls.__name__: info for info in database}
    ours, theirs = Side("flambeau"), Side("torch")
    base = theirs.nn.Module
    classes = {n for n, c in vars(theirs.nn).items() if isinstance(c, type) and issubclass(c, base)}
    return {n: compare(n, infos, ours, theirs) for n in names or sorted(classes - BASES)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=pathlib.Path, default=TOP / "docs" / "modules.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = rows_of(arguments.names)
    if not arguments.names:
        arguments.out.write_text(page(rows), encoding="utf-8")
    different = {name: found for name, (_, found) in rows.items() if found}
    for name, found in different.items():
        print(name, *(f"    {column}: {text}" for column, text in found.items()), sep="\n")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
