"""Trains a language model of words on the sources of Python's standard library.

python train.py                        # an LSTM
python train.py --model transformer
python train.py --steps 50             # a quick look
"""

import argparse
import collections
import math
import pathlib
import re
import sysconfig

import torch
import torch.nn as nn
import torch.nn.functional as F

SKIPPED = {"test", "tests", "site-packages", "dist-packages", "encodings", "pydoc_data", "lib2to3"}


def read_sources(megabytes):
    """The standard library's modules as one text."""
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    parts, total = [], 0
    for path in sorted(root.rglob("*.py")):
        if SKIPPED & set(path.relative_to(root).parts):
            continue
        parts.append(path.read_text(encoding="utf-8", errors="ignore"))
        total += len(parts[-1])
        if total >= megabytes * 1_000_000:
            break
    return "".join(parts)


def number_words(text, most):
    """The numbers of a text's words, signs and line ends, and their list; 0 is what is rare."""
    words = re.findall(r"\w+|[^\w \t]", text)
    known = ["<rare>"] + [word for word, _ in collections.Counter(words).most_common(most - 1)]
    numbers = {word: number for number, word in enumerate(known)}
    return torch.tensor([numbers.get(word, 0) for word in words]), known


class Recurrent(nn.Module):
    """Word numbers [time, batch] to logits [time, batch, words], with a state that is passed on."""

    def __init__(self, kind, words, width, layers, dropout):
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.embedding = nn.Embedding(words, width)
        self.recurrent = getattr(nn, kind.upper())(width, width, layers, dropout=dropout)
        self.head = nn.Linear(width, words)
        self.head.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.head.bias)

    def forward(self, numbers, state=None):
        output, state = self.recurrent(self.drop(self.embedding(numbers)), state)
        return self.head(self.drop(output)), state


class Positions(nn.Module):
    """Adds sines and cosines of the places to [time, batch, width]."""

    def __init__(self, width, longest=1000):
        super().__init__()
        places = torch.arange(longest).unsqueeze(1)
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        table = torch.zeros(longest, 1, width)
        table[:, 0, 0::2] = torch.sin(places * rates)
        table[:, 0, 1::2] = torch.cos(places * rates)
        self.register_buffer("table", table)

    def forward(self, x):
        return x + self.table[: len(x)]


class Transformer(nn.Module):
    """Word numbers [time, batch] to logits [time, batch, words]; it has no state."""

    def __init__(self, words, width, layers, dropout, heads=4):
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(words, width)
        self.positions = Positions(width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, words)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(self, numbers, state=None):
        mask = nn.Transformer.generate_square_subsequent_mask(len(numbers))
        x = self.positions(self.embedding(numbers) * math.sqrt(self.width))
        return self.head(self.encoder(x, mask=mask, is_causal=True)), None


def detached(state):
    """A recurrent state without its history."""
    if isinstance(state, tuple):
        return tuple(part.detach() for part in state)
    return state.detach() if state is not None else None


def columns(numbers, batch):
    """A text as so many columns [time, batch]."""
    length = len(numbers) // batch
    return numbers[: length * batch].view(batch, length).t().contiguous()


def loss_of(model, text, place, length, state):
    inputs, targets = text[place : place + length], text[place + 1 : place + length + 1]
    logits, state = model(inputs[: len(targets)], state)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), state


@torch.no_grad()
def validate(model, text, length):
    """The mean loss over a text."""
    model.eval()
    losses, state = [], None
    for place in range(0, len(text) - length, length):
        loss, state = loss_of(model, text, place, length, state)
        losses.append(loss.item())
    model.train()
    return sum(losses) / len(losses)


def main():
    parser = argparse.ArgumentParser(description="Trains a language model of words.")
    parser.add_argument("--model", default="lstm", choices=("rnn", "gru", "lstm", "transformer"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--length", type=int, default=35, help="words that gradients go back")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--words", type=int, default=4000, help="size of the vocabulary")
    parser.add_argument("--megabytes", type=float, default=2.0, help="how much text to read")
    parser.add_argument("--text", type=pathlib.Path, help="a file to read instead")
    parser.add_argument("--report-every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    read = options.text.read_text() if options.text else read_sources(options.megabytes)
    numbers, known = number_words(read, options.words)
    split = len(numbers) * 19 // 20
    text = columns(numbers[:split], options.batch_size)
    held_out = columns(numbers[split:], options.batch_size)
    size = (len(known), options.width, options.layers, options.dropout)
    model = (
        Transformer(*size) if options.model == "transformer" else Recurrent(options.model, *size)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    state, place = None, 0
    for step in range(1, options.steps + 1):
        if place + options.length >= len(text):
            state, place = None, 0
        optimizer.zero_grad()
        loss, state = loss_of(model, text, place, options.length, detached(state))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        place += options.length
        if step % options.report_every == 0 or step == options.steps:
            print(f"step {step}: training loss {loss.item():.4f}", flush=True)
    print(f"validation loss {validate(model, held_out, options.length):.4f}")


if __name__ == "__main__":
    main()
