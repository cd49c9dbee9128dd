"""Byte-level byte-pair encoding, as GPT-2 has it, from the lists in a GGUF file."""

import itertools
import re

# Digits stand alone; then contractions, words, other signs, and white space.
PIECES = re.compile(
    r"\d|'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+", flags=re.UNICODE
)
CONTROL = 3  # the type of tokens that stand for no text


def byte_letters():
    """A printable letter for each byte: itself where it is printable, else one from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + place) for place, byte in enumerate(others)}


class Tokenizer:
    """Texts to token numbers and back."""

    def __init__(self, metadata):
        self.tokens = metadata["tokenizer.ggml.tokens"]
        self.end = metadata["tokenizer.ggml.eos_token_id"]
        self.numbers = {token: number for number, token in enumerate(self.tokens)}
        merges = metadata["tokenizer.ggml.merges"]
        self.ranks = {tuple(pair.split(" ")): rank for rank, pair in enumerate(merges)}
        self.letters = byte_letters()
        self.bytes = {letter: byte for byte, letter in self.letters.items()}
        types = metadata["tokenizer.ggml.token_type"]
        control = [token for token, kind in zip(self.tokens, types, strict=True) if kind == CONTROL]
        self.control = set(control)
        self.split_control = re.compile("(" + "|".join(map(re.escape, control)) + ")")

    def encode(self, text):
        """The numbers of a text's tokens; control tokens may be spelled out in it."""
        numbers = []
        for part in self.split_control.split(text):
            if part in self.control:
                numbers.append(self.numbers[part])
                continue
            for piece in PIECES.findall(part):
                letters = [self.letters[byte] for byte in piece.encode()]
                numbers += [self.numbers[token] for token in self.merge(letters)]
        return numbers

    def merge(self, parts):
        """Joins neighbours for as long as there is a rule, always the one learned first."""
        while len(parts) > 1:
            pairs = list(itertools.pairwise(parts))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            place, joined = 0, []
            while place < len(parts):
                if tuple(parts[place : place + 2]) == best:
                    joined.append(parts[place] + parts[place + 1])
                    place += 2
                else:
                    joined.append(parts[place])
                    place += 1
            parts = joined
        return parts

    def decode(self, numbers):
        """The text of tokens; control tokens have none."""
        letters = "".join(self.tokens[number] for number in numbers if not self.is_control(number))
        return bytes(self.bytes[letter] for letter in letters).decode(errors="replace")

    def is_control(self, number):
        return self.tokens[number] in self.control
