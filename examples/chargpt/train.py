"""Trains a small GPT, character by character, on the sources of Python's standard library.

python train.py                  # a couple of minutes on two cores
python train.py --steps 200      # a quick look
python train.py --prompt "class "
"""

import argparse
import math
import pathlib
import sys
import sysconfig
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SKIPPED = {"test", "tests", "site-packages", "dist-packages", "encodings", "pydoc_data", "lib2to3"}
INDENT = "    "  # written as one tab, so that the context holds more text
VALIDATION_SHARE = 0.05


def read_sources(megabytes):
    """The standard library's modules as one string, at most so many million characters of ASCII."""
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    limit = int(megabytes * 1_000_000)
    parts, total = [], 0
    for path in sorted(root.rglob("*.py")):
        if SKIPPED & set(path.relative_to(root).parts):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        if not text.isascii():  # few are not; their letters would swell the vocabulary
            continue
        parts.append(text.replace(INDENT, "\t"))
        total += len(parts[-1])
        if total >= limit:
            break
    if not parts:
        sys.exit(f"train.py: no Python sources under {root}")
    return "".join(parts)[:limit]


class Vocabulary:
    """The characters that occur in a text, numbered."""

    def __init__(self, text):
        self.characters = sorted(set(text))
        self.table = np.zeros(128, dtype=np.int64)
        for number, character in enumerate(self.characters):
            self.table[ord(character)] = number

    def encode(self, text):
        return torch.from_numpy(self.table[np.frombuffer(text.encode("ascii"), dtype=np.uint8)])

    def __len__(self):
        return len(self.characters)


class Attention(nn.Module):
    """Causal self-attention with several heads; [batch, time, width] to the same."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        split = (batch, length, self.heads, width // self.heads)
        query, key, value = self.project_in(x).chunk(3, dim=-1)
        query, key, value = (part.view(split).transpose(1, 2) for part in (query, key, value))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.project_out(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each on normalised input and added to it."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.perceptron(self.norm2(x)))


class CharGPT(nn.Module):
    """Character numbers [batch, time] to the next characters' logits [batch, time, vocabulary]."""

    def __init__(self, vocabulary, context, width, heads, layers, dropout):
        super().__init__()
        self.context = context
        self.characters = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.apply(self.initialise)
        self.head.weight = self.characters.weight  # the same table reads and writes

    @staticmethod
    def initialise(module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.06)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, numbers):
        x = self.characters(numbers) + self.positions(torch.arange(numbers.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def sample_batch(data, batch_size, context):
    """Random stretches of the text [batch, context], and the same one character on."""
    starts = torch.randint(0, len(data) - context, (batch_size,))
    stretches = data[starts.unsqueeze(1) + torch.arange(context + 1)]
    return stretches[:, :-1], stretches[:, 1:]


def loss_of(model, data, options):
    inputs, targets = sample_batch(data, options.batch_size, options.context)
    logits = model(inputs)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def validate(model, data, options, batches=8):
    """Mean loss over some random batches."""
    model.eval()
    losses = [loss_of(model, data, options).item() for _ in range(batches)]
    model.train()
    return sum(losses) / len(losses)


@torch.no_grad()
def write_sample(model, vocabulary, options, length):
    """Prints the prompt and what the model writes after it, character by character."""
    model.eval()
    numbers = vocabulary.encode("\n" + options.prompt.replace(INDENT, "\t")).unsqueeze(0)
    sys.stdout.write(options.prompt)
    for _ in range(length):
        logits = model(numbers[:, -options.context :])[:, -1, :]
        probabilities = F.softmax(logits / options.temperature, dim=-1)
        chosen = torch.multinomial(probabilities, num_samples=1)
        numbers = torch.cat((numbers, chosen), dim=1)
        sys.stdout.write(vocabulary.characters[chosen.item()].replace("\t", INDENT))
        sys.stdout.flush()
    sys.stdout.write("\n")
    model.train()


def learning_rate_factor(step, options):
    """Rises linearly for the warm-up, then falls as a cosine to a tenth."""
    warmup = min(options.warmup, max(1, options.steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, options.steps - warmup))
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))


def train(model, train_data, validation_data, vocabulary, options):
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.lr, betas=(0.9, 0.99), weight_decay=0.01
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, options)
    )
    start = time.perf_counter()
    running = None
    for step in range(1, options.steps + 1):
        optimizer.zero_grad()
        loss = loss_of(model, train_data, options)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        value = loss.item()
        running = value if running is None else 0.95 * running + 0.05 * value
        if step % options.report_every == 0 or step == options.steps:
            seconds = time.perf_counter() - start
            validation = validate(model, validation_data, options)
            print(
                f"step {step}: training loss {running:.3f}, validation loss {validation:.3f}, "
                f"{seconds:.0f} s, {1000 * seconds / step:.0f} ms a step",
                flush=True,
            )
        if step % options.sample_every == 0 and step != options.steps:
            write_sample(model, vocabulary, options, 120)


def parse_options():
    parser = argparse.ArgumentParser(description="Trains a small character GPT on Python sources.")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--context", type=int, default=64, help="characters that it looks back")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--lr", type=float, default=8e-3, help="highest learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="steps that the rate rises")
    parser.add_argument("--megabytes", type=float, default=4.0, help="how much text to read")
    parser.add_argument("--report-every", type=int, default=100)
    parser.add_argument("--sample-every", type=int, default=500)
    parser.add_argument("--length", type=int, default=600, help="characters of the last sample")
    parser.add_argument("--prompt", default="def ")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in ("steps", "batch_size", "context", "layers", "report_every", "sample_every"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if options.width % options.heads:
        parser.error(f"--width {options.width} is no multiple of --heads {options.heads}")
    if not options.prompt or not options.prompt.isascii():
        parser.error("--prompt must be some ASCII characters")
    if options.temperature <= 0:
        parser.error("--temperature must be above 0")
    return options


def main():
    options = parse_options()
    torch.manual_seed(options.seed)
    text = read_sources(options.megabytes)
    vocabulary = Vocabulary(text)
    data = vocabulary.encode(text)
    split = int(len(data) * (1 - VALIDATION_SHARE))
    if len(data) - split <= options.context:
        sys.exit(f"train.py: {len(data)} characters are too few for --context {options.context}")
    model = CharGPT(
        len(vocabulary),
        options.context,
        options.width,
        options.heads,
        options.layers,
        options.dropout,
    )
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{len(text)} characters, {len(vocabulary)} different ones, {parameters} parameters")
    train(model, data[:split], data[split:], vocabulary, options)
    print("-" * 40)
    write_sample(model, vocabulary, options, options.length)


if __name__ == "__main__":
    main()
