"""What each new length costs `compile`: milliseconds of a call that is captured, by what is done.

python bench/many_lengths.py [--lengths 20] [--profile]
"""

import argparse
import contextlib
import cProfile
import pstats
import statistics
import time

import flambeau as torch
from flambeau import compiler
from flambeau.graph import execute, joint, recorder, variant

nn, F = torch.nn, torch.nn.functional


class Block(nn.Module):
    """A transformer block."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).chunk(3, dim=2)
        q, k, v = (p.view(batch, length, self.heads, -1).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """A language model."""

    def __init__(self, layers=4, width=64, heads=4, vocabulary=128):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(256, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, x):
        places = self.places(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(self.tokens(x) + places)))


class Classifier(nn.Module):
    """An LSTM, and a class for each sequence."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.lstm(x)[0].mean(1))


def trained(model, inputs, loss):
    """A training step, and what gives its arguments for a length."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(x, y):
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    return step, inputs


def gpt():
    """A language model on sequences of this length."""

    def inputs(n):
        return torch.randint(0, 128, (2, n)), torch.randint(0, 128, (2, n))

    return trained(GPT(), inputs, lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten()))


def lstm():
    """A classifier of sequences of this length."""

    def inputs(n):
        return torch.randn(4, n, 16), torch.randint(0, 4, (4,))

    return trained(Classifier(), inputs, F.cross_entropy)


def mlp():
    """A small network on batches of this size."""
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                          nn.Linear(64, 8))  # fmt: skip
    return trained(
        model, lambda n: (torch.randn(n, 32), torch.randint(0, 8, (n,))), F.cross_entropy
    )


def forward():
    """The language model's loss, which is differentiated outside."""
    model = GPT()

    def inputs(n):
        return torch.randint(0, 128, (2, n)), torch.randint(0, 128, (2, n))

    return (lambda x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten())), inputs


PHASES = (
    ("record", recorder.Recorder, "run"),
    ("guard", recorder.Recorder, "variant"),
    ("passes", variant, "optimize"),
    ("passes", joint, "optimize"),
    ("ready", execute.Executable, "__init__"),
    ("memory", execute, "plan_memory"),
    ("link", compiler, "link"),
)


@contextlib.contextmanager
def timed(spent):
    """A with block in which `spent` takes the seconds of each phase."""
    whole = [(owner, name, getattr(owner, name)) for _, owner, name in PHASES]

    def around(label, function):
        def run(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[label] = spent.get(label, 0.0) + time.perf_counter() - started

        return run

    for label, owner, name in PHASES:
        setattr(owner, name, around(label, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, function in whole:
            setattr(owner, name, function)


def measured(make, lengths, profile):
    """For each length: milliseconds of its first, second and third call, and of the phases."""
    torch.manual_seed(0)
    step, inputs = make()
    compiled = torch.compile(step)
    rows = []
    for k, length in enumerate(lengths):
        given = inputs(length)
        if profile and k == len(lengths) // 2:
            profile.enable()
        spent, calls = {}, []
        with timed(spent) if not profile else contextlib.nullcontext():
            for _ in range(4):
                started = time.perf_counter()
                compiled(*given)
                calls.append(time.perf_counter() - started)
        rows.append((length, calls, spent))
    if profile:
        profile.disable()
    return rows


def main() -> None:
    """Prints the first lengths, and the median of those behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("names", nargs="*", default=["mlp", "gpt", "lstm", "forward"])
    given = parser.parse_args()
    makers = {"mlp": mlp, "gpt": gpt, "lstm": lstm, "forward": forward}
    for name in given.names:
        profile = cProfile.Profile() if given.profile else None
        rows = measured(makers[name], range(20, 20 + given.lengths), profile)
        print(f"{name}: milliseconds of calls 1 to 4 of a length")
        late = rows[len(rows) // 2 :]
        phases = {p: statistics.median(s.get(p, 0.0) for _, _, s in late) for p in late[0][2]}
        calls = [statistics.median(c[k] for _, c, _ in late) for k in range(4)]
        for label, c, s in (*rows[:3], ("later", calls, phases)):
            parts = "  ".join(f"{p} {1e3 * v:.2f}" for p, v in s.items())
            print(f"  {label!s:>5}: {' '.join(f'{1e3 * v:8.2f}' for v in c)};  {parts}", flush=True)
        if profile:
            pstats.Stats(profile).sort_stats("cumtime").print_stats(60)


if __name__ == "__main__":
    main()
