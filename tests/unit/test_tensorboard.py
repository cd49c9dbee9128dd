"""What `SummaryWriter` writes, decoded here by a reader of its own: records with their checksums,
messages field by field.
"""

import io
import json
import random
import struct
import wave
import zlib

import numpy
import pytest

import flambeau as torch
from flambeau.utils.tensorboard import SummaryWriter


def crc_of(data):
    """CRC-32C, bit by bit."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ 0x82F63B78 * (state & 1)
    return state ^ 0xFFFFFFFF


def unmasked(stored):
    turned = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return (turned >> 17 | turned << 15) & 0xFFFFFFFF


def records(content):
    """The records of a file, whose checksums must be right."""
    place = 0
    while place < len(content):
        length, check = struct.unpack_from("<QI", content, place)
        assert unmasked(check) == crc_of(content[place : place + 8])
        data = content[place + 12 : place + 12 + length]
        assert unmasked(*struct.unpack_from("<I", content, place + 12 + length)) == crc_of(data)
        yield data
        place += length + 16


def varint(data, place):
    value = shift = 0
    while True:
        value |= (data[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if data[place - 1] < 0x80:
            return value, place


def fields(data):
    """{number: [values]} of a message; messages, texts and packed numbers stay bytes."""
    found, place = {}, 0
    while place < len(data):
        key, place = varint(data, place)
        if key & 7 == 0:
            value, place = varint(data, place)
        elif key & 7 == 2:
            length, place = varint(data, place)
            value, place = data[place : place + length], place + length
        else:
            form = "<d" if key & 7 == 1 else "<f"
            (value,) = struct.unpack_from(form, data, place)
            place += struct.calcsize(form)
        found.setdefault(key >> 3, []).append(value)
    return found


def values(folder):
    """(tag, step, fields of the value) of all summaries below the folder."""
    found = []
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        first, *events = records(path.read_bytes())
        assert fields(first)[3] == [b"brain.Event:2"]
        for event in map(fields, events):
            value = fields(fields(event[5][0])[1][0])
            found.append((value[1][0].decode(), event.get(2, [0])[0], value))
    return found


def only(folder):
    [(tag, _, value)] = values(folder)
    return tag, value


@pytest.fixture
def writer(tmp_path):
    with SummaryWriter(tmp_path) as made:
        yield made


def doubles(data):
    return list(struct.unpack(f"<{len(data) // 8}d", data))


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 5000])
def test_checksums_of_long_records(writer, tmp_path, length):
    text = "".join(random.Random(length).choices("ab cd", k=length))
    writer.add_text("t", text)
    writer.flush()
    tag, value = only(tmp_path)  # checks the sums
    assert tag == "t/text_summary" and fields(value[8][0])[8] == [text.encode()]


def test_scalars(writer, tmp_path):
    writer.add_scalar("loss", 0.5, 3, walltime=10.0)
    writer.add_scalar("loss", torch.tensor([0.25]), 2**40)
    writer.add_scalar("loss", numpy.float64(2), None)
    writer.add_scalars("both/of", {"a": 1, "b": 2}, 7)
    writer.flush()
    told = [(tag, step, value[2][0]) for tag, step, value in values(tmp_path)]
    assert sorted(told) == sorted(
        [
            ("loss", 3, 0.5),
            ("loss", 2**40, 0.25),
            ("loss", 0, 2),
            ("both/of", 7, 1),
            ("both/of", 7, 2),
        ]
    )
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"both_of_a", "both_of_b"}
    with pytest.raises(ValueError, match="scalar should be 0D"):
        writer.add_scalar("loss", torch.ones(2))


def test_steps_that_are_to_be_forgotten(tmp_path):
    with SummaryWriter(tmp_path, purge_step=5) as made:
        made.flush()
    [path] = tmp_path.iterdir()
    _, event = map(fields, records(path.read_bytes()))
    assert event[2] == [5] and fields(event[7][0]) == {1: [1]}


def test_histograms(writer, tmp_path):
    data = torch.tensor([-1.5, 0.0, 0.0, 2.0, 100.0])
    writer.add_histogram("h", data)
    writer.flush()
    facts = fields(only(tmp_path)[1][5][0])
    assert [facts[i][0] for i in range(1, 6)] == [-1.5, 100, 5, 100.5, 10006.25]
    limits, counts = doubles(facts[6][0]), doubles(facts[7][0])
    assert len(limits) == len(counts) and sum(counts) == 5 and sorted(limits) == limits
    for low, high, count in zip(limits, limits[1:], counts[1:]):
        assert count == sum(low <= v < high for v in data.tolist())
    with pytest.raises(ValueError, match="no element"):
        writer.add_histogram("h", torch.ones(0))


def test_histograms_of_few_bins(writer, tmp_path):
    writer.add_histogram("h", numpy.arange(100.0), bins=[0, 25, 50, 75, 100], max_bins=2)
    writer.flush()
    facts = fields(only(tmp_path)[1][5][0])
    assert doubles(facts[6][0]) == [0, 50, 100] and doubles(facts[7][0]) == [0, 50, 50]


def pixels(data):
    """The bytes (height, width, channel) of a PNG file without filters, with its checksums."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind], place = body, place + length + 12
    width, height, depth, color = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    channels = {2: 3, 6: 4}[color]
    rows = numpy.frombuffer(zlib.decompress(chunks[b"IDAT"]), numpy.uint8).reshape(height, -1)
    assert depth == 8 and not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


def test_images(writer, tmp_path):
    picture = numpy.random.default_rng(0).random((3, 5, 7), numpy.float32)
    writer.add_image("i", torch.from_numpy(picture))
    writer.add_image("i", (picture[0] * 255).astype(numpy.uint8), dataformats="HW")
    writer.add_images("i", torch.ones(10, 4, 2, 3))
    writer.flush()
    found = [fields(value[4][0]) for _, _, value in values(tmp_path)]
    expected = (picture.transpose(1, 2, 0) * 255).astype(numpy.uint8)
    assert (pixels(found[0][4][0]) == expected).all()
    assert [found[0][i][0] for i in (1, 2, 3)] == [5, 7, 3]
    assert (pixels(found[1][4][0]) == expected[..., :1]).all()
    grid = pixels(found[2][4][0])
    assert grid.shape == (4, 24, 4) and grid[:2].all() and not grid[2:, 6:].any()
    with pytest.raises(ValueError, match="letters of NCHW"):
        writer.add_image("i", torch.ones(2, 2), dataformats="XY")
    with pytest.raises(ValueError, match="1, 3 or 4 channels, not 2"):
        writer.add_image("i", torch.ones(2, 2, 2))


def test_sounds(writer, tmp_path):
    writer.add_audio("a", torch.tensor([0.0, 1.0, -1.0, 9.0]), sample_rate=8000)
    writer.flush()
    facts = fields(only(tmp_path)[1][6][0])
    with wave.open(io.BytesIO(facts[4][0])) as sound:
        assert sound.getframerate() == 8000 and sound.getnchannels() == 1
        assert struct.unpack("<4h", sound.readframes(4)) == (0, 32767, -32767, 32767)
    assert facts[1] == [8000] and facts[5] == [b"audio/wav"]


def test_tensors(writer, tmp_path):
    writer.add_tensor("t", torch.arange(6).view(2, 3))
    writer.flush()
    facts = fields(only(tmp_path)[1][8][0])
    assert facts[1] == [1] and struct.unpack("<6f", facts[4][0]) == (0, 1, 2, 3, 4, 5)
    assert [fields(size)[1][0] for size in fields(facts[2][0])[2]] == [2, 3]


def test_precision_and_recall(writer, tmp_path):
    labels, predictions = [1, 1, 0, 0, 1], [0.9, 0.4, 0.6, 0.1, 1.0]
    writer.add_pr_curve("p", torch.tensor(labels), torch.tensor(predictions), num_thresholds=11)
    writer.flush()
    facts = fields(only(tmp_path)[1][8][0])
    rows = numpy.frombuffer(facts[4][0], "<f4").reshape(6, 11)
    for place in (0, 5, 8, 10):
        at = [p >= place / 10 - 1e-6 for p in predictions]
        right = sum(a and b for a, b in zip(at, labels))
        wrong = sum(a and not b for a, b in zip(at, labels))
        assert list(rows[:4, place]) == [right, wrong, 2 - wrong, 3 - right]
        assert rows[5, place] == pytest.approx(right / 3)


def test_hyperparameters(writer, tmp_path):
    writer.add_hparams({"lr": 0.1, "big": True, "name": "x"}, {"accuracy": 0.5}, {"lr": [0.1, 1.0]})
    writer.flush()
    found = {tag: value for tag, _, value in values(tmp_path)}
    assert set(found) == {
        "accuracy",
        "_hparams_/experiment",
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    }
    plugin = fields(fields(found["_hparams_/session_start_info"][9][0])[1][0])
    assert plugin[1] == [b"hparams"]
    started = [fields(pair) for pair in fields(fields(plugin[2][0])[3][0])[1]]
    told = {pair[1][0]: fields(pair[2][0]) for pair in started}
    assert told == {b"lr": {2: [0.1]}, b"big": {4: [1]}, b"name": {3: [b"x"]}}


def test_embeddings(writer, tmp_path):
    points, labels = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [["a", 1], ["b", 2]]
    pictures = torch.ones(2, 3, 4, 5)
    writer.add_embedding(points, labels, pictures, 7, "words", ["letter", "number"])
    folder = tmp_path / "00007" / "words"
    assert (folder / "tensors.tsv").read_text() == "1.0\t2.0\n3.0\t4.0\n"
    assert (folder / "metadata.tsv").read_text() == "letter\tnumber\na\t1\nb\t2\n"
    assert pixels((folder / "sprite.png").read_bytes()).shape == (4, 10, 3)
    told = (tmp_path / "projector_config.pbtxt").read_text()
    assert f"tensor_path: {json.dumps('00007/words/tensors.tsv')}" in told
    assert "single_image_dim: 5 single_image_dim: 4" in told


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x)) + torch.ones(2)


def test_graphs(writer, tmp_path):
    model = Model()
    writer.add_graph(model, torch.ones(5, 3))
    writer.flush()
    [path] = tmp_path.glob("events*")
    graph = fields(fields(list(records(path.read_bytes()))[1])[4][0])
    nodes = {node[1][0].decode(): node for node in map(fields, graph[1])}
    inputs = {name: [i.decode() for i in node.get(3, [])] for name, node in nodes.items()}
    first, second = "Model/Sequential[body]/Linear[0]", "Model/Linear[head]"
    assert inputs[f"{first}/linear"] == ["input/x", f"{first}/weight", f"{first}/bias"]
    assert inputs["Model/Sequential[body]/ReLU[1]/relu"] == [f"{first}/linear"]
    assert inputs[f"{second}/linear"][0] == "Model/Sequential[body]/ReLU[1]/relu"
    assert inputs["Model/add"][0] == f"{second}/linear" and inputs["output/output"] == ["Model/add"]
    assert nodes[f"{first}/weight"][2] == [b"Parameter"]
    shape = fields(fields(fields(fields(nodes[f"{first}/linear"][5][0])[2][0])[1][0])[7][0])[2]
    assert [fields(size)[1][0] for size in shape] == [5, 4]
    assert not model._forward_hooks and not model.head._forward_pre_hooks


def test_layouts_of_scalars(writer, tmp_path):
    writer.add_custom_scalars({"all": {"losses": ["Multiline", ["a", "b"]]}})
    writer.add_custom_scalars_marginchart(["value", "low", "high"], title="margin")
    writer.flush()
    found = [fields(fields(value[8][0])[8][0])[2][0] for _, _, value in values(tmp_path)]
    category, other = map(fields, found)
    assert category[1] == [b"all"] and fields(fields(category[2][0])[2][0])[1] == [b"a", b"b"]
    margin = fields(fields(fields(other[2][0])[3][0])[1][0])
    assert margin == {1: [b"value"], 2: [b"low"], 3: [b"high"]}


def test_files_are_closed_and_opened_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = SummaryWriter(comment="_mine")
    assert writer.get_logdir().startswith("runs") and writer.log_dir.endswith("_mine")
    writer.add_scalar("a", 1)
    writer.close()
    writer.add_scalar("a", 2)
    writer.close()
    assert sorted(value[2][0] for _, _, value in values(tmp_path)) == [1, 2]
    del writer


def test_what_was_added_is_in_the_file_when_the_writer_is_forgotten(tmp_path):
    SummaryWriter(tmp_path).add_scalar("a", 1)
    assert only(tmp_path)[0] == "a"


def test_tensorboard_reads_it(writer, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer.add_scalar("s", 0.5, 3)
    writer.add_histogram("h", torch.randn(100), 1)
    writer.add_image("i", torch.rand(3, 4, 5), 1)
    writer.add_graph(Model(), torch.ones(5, 3))
    writer.flush()
    read = loader.EventAccumulator(str(tmp_path))
    read.Reload()
    assert read.Tags()["scalars"] == ["s"] and read.Scalars("s")[0].value == 0.5
    assert read.Tags()["histograms"] == ["h"] and read.Tags()["images"] == ["i"]
    assert len(read.Graph().node) > 8
