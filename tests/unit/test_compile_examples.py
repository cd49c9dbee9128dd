"""The models of all examples compiled do what they do eagerly, in training and in use."""

import pathlib
import re
import sys
from types import ModuleType

import pytest
from test_compile_models import check

import flambeau as torch

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    """Loads an example's script as a module, with flambeau as torch; so are the scripts beside it
    that it imports.
    """

    def load(script):
        path = EXAMPLES / script
        text = re.sub(r"(?m)^(import|from) torch\.", r"\1 flambeau.", path.read_text())
        text = re.sub(r"(?m)^import torch$", "import flambeau as torch", text)
        text = text.replace("from torch import", "from flambeau import")
        text = text.replace("from safetensors.torch import load_file\n", "")  # reads no weights
        for name in re.findall(r"(?m)^from (\w+) import", text):
            beside = path.with_name(f"{name}.py")
            if beside.exists():
                monkeypatch.setitem(sys.modules, name, load(beside))
        module = ModuleType(f"example_{path.stem}")
        module.__file__ = str(path)
        exec(compile(text, str(path), "exec"), vars(module))
        return module

    torch.manual_seed(0)
    return load


def bert(m):
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)
    sizes |= dict(vocab_size=11, max_position_embeddings=8, type_vocab_size=2, pad_token_id=0)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    return m.Bert(sizes | {"layer_norm_eps": 1e-5}), (torch.randint(0, 11, (2, 6)), mask)


def words(kind):
    def made(m):
        sizes = dict(words=11, width=8, layers=2, dropout=0.1)
        model = m.Transformer(**sizes) if kind == "transformer" else m.Recurrent(kind, **sizes)
        return model, (torch.randint(0, 11, (5, 3)),)

    return made


def graph(kind):
    return lambda m: (m.Network(kind, m.MEMBERS), (torch.eye(m.MEMBERS), m.edges()))


# What makes a model and its inputs from the script's module.
MODELS = [
    ("cartpole/train.py", lambda m: (m.Policy(16), (torch.rand(4),))),
    ("chargpt/train.py", lambda m: (
        m.CharGPT(vocabulary=11, context=8, width=16, heads=2, layers=2, dropout=0.1),
        (torch.randint(0, 11, (3, 8)),))),
    ("graphs/train.py", graph("gcn")),
    ("graphs/train.py", graph("gat")),
    ("mnist/train.py", lambda m: (m.DigitNet(), (torch.rand(4, 1, 28, 28),))),
    ("mnist/vae.py", lambda m: (m.VAE(12, 3), (torch.rand(4, 784),))),
    ("mnist/dcgan.py", lambda m: (m.generator(2), (torch.randn(3, m.CODE, 1, 1),))),
    ("mnist/dcgan.py", lambda m: (m.discriminator(2), (torch.rand(3, 1, 28, 28),))),
    ("rewriting/train.py", lambda m: (m.Net(16), (torch.rand(3, 1, m.SIZE, m.SIZE),))),
    ("sentences/similarity.py", bert),
    ("sine/train.py", lambda m: (m.Continuation(4).double(), (m.make_waves(3, 6), 2))),
    *(("words/train.py", words(kind)) for kind in ("rnn", "gru", "lstm", "transformer")),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize(("script", "made"), MODELS)
def test_models_in_training_and_in_use(example, script, made):
    check(*made(example(script)))


def test_a_step_of_two_networks(example):
    """As in the example: one trains on what the other makes, and the other on what it says."""
    m = example("mnist/dcgan.py")
    given = [torch.rand(4, 1, 28, 28) for _ in range(4)]

    def trained(wrap):
        torch.manual_seed(1)
        make, judge = m.generator(2).apply(m.initialise), m.discriminator(2).apply(m.initialise)
        optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4) for n in (make, judge)]
        step = wrap(lambda real: m.train_step(real, make, judge, optimizers))
        return [loss for real in given for loss in step(real)]

    assert trained(torch.compile) == pytest.approx(trained(lambda step: step), rel=1e-5)


def test_generation_with_caches(example):
    """A model with caches that it writes, prompt and tokens of one text after the other."""
    told = dict(embedding_length=32, vocab_size=50, block_count=2, feed_forward_length=48)
    told |= {"context_length": 64, "attention.head_count": 4, "attention.head_count_kv": 2}
    told |= {"rope.freq_base": 10000.0, "attention.layer_norm_rms_epsilon": 1e-5}
    m = example("smollm/generate.py")
    model = m.Llama({f"llama.{name}": value for name, value in told.items()}).eval()
    compiled = torch.compile(model)
    for prompt in ([3, 14], [1, 5, 9, 2, 6], [7]):
        expected = list(m.generate(model, prompt, 8, end=-1))
        assert list(m.generate(compiled, prompt, 8, end=-1)) == expected
    caches = [model.caches(8), model.caches(8)]
    with torch.no_grad():
        for start, count in ((0, 5), (5, 1), (6, 1), (7, 1)):
            numbers = torch.randint(0, 50, (1, count))
            a, b = (f(numbers, c, start) for f, c in zip((compiled, model), caches, strict=True))
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(*caches, strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours.values, theirs.values, rtol=1e-5, atol=1e-6)


def test_every_example_with_a_model_is_here():
    scripts = {p.relative_to(EXAMPLES).as_posix(): p.read_text() for p in EXAMPLES.rglob("*.py")}
    models = {name for name, text in scripts.items() if "nn.Module)" in text or "nn.Sequ" in text}
    assert models == {script for script, _ in MODELS} | {"smollm/generate.py"}
