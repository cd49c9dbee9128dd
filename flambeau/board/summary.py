"""Summaries: what TensorBoard shows at a step, as the bytes of a message `Summary.Value`."""

import io
import struct
import wave
import zlib

from flambeau._base import numpy
from flambeau.tensor import Tensor

from .message import double, doubles, integer, message, single, text

_FLOAT, _STRING = 1, 7  # of TensorFlow's DataType


def array_of(values):
    """A tensor, an array, a number or a sequence as a NumPy array."""
    if isinstance(values, Tensor):
        return values.numpy(force=True).astype(
            numpy.float32 if values.dtype.name == "bfloat16" else values.dtype.numpy
        )
    return numpy.asarray(values)


def _plugin(name: str, content: bytes = b"") -> bytes:
    """The field that says which part of TensorBoard shows a value."""
    return message(9, message(1, text(1, name), message(2, content)))


def _tensor(dtype: int, shape, *content: bytes) -> bytes:
    sizes = (message(2, integer(1, size)) for size in shape)
    return message(8, integer(1, dtype), message(2, *sizes), *content)


def scalar(tag: str, value) -> bytes:
    """One number."""
    array = array_of(value)
    if array.size != 1:
        raise ValueError(f"scalar should be 0D or of one element, not of shape {array.shape}")
    return text(1, tag) + single(2, float(array.reshape(())))


def tensor(tag: str, values) -> bytes:
    """Any array of floats."""
    array = array_of(values).astype(numpy.float32)
    return text(1, tag) + _tensor(_FLOAT, array.shape, message(4, array.tobytes())) + _plugin("")


def written(tag: str, value: str) -> bytes:
    """Text, in Markdown."""
    content = _tensor(_STRING, (1,), text(8, value))
    return text(1, f"{tag}/text_summary") + content + _plugin("text")


# Histograms.


def default_bins():
    """TensorFlow's bins: their bounds grow by a tenth, on both sides of 0."""
    bounds = [1e-12]
    while bounds[-1] < 1e20:
        bounds.append(bounds[-1] * 1.1)
    return numpy.array([-bound for bound in reversed(bounds)] + [0.0] + bounds)


def histogram(tag: str, values, bins, max_bins=None) -> bytes:
    """How values are distributed. `bins` is "tensorflow", or what NumPy's `histogram` takes."""
    array = array_of(values).ravel().astype(numpy.float64)
    if array.size == 0:
        raise ValueError("The input has no element.")
    if isinstance(bins, str) and bins == "tensorflow":
        bins = default_bins()
    counts, limits = numpy.histogram(array, bins)
    if max_bins is not None and len(counts) > max_bins:
        step = -(-len(counts) // max_bins)
        counts = numpy.add.reduceat(counts, range(0, len(counts), step))
        limits = numpy.append(limits[:-1:step], limits[-1])
    filled = numpy.flatnonzero(counts)
    if len(filled) == 0:
        raise ValueError("The histogram is empty, please file a bug report.")
    # An empty bin before the first marks where that begins.
    first, last = filled[0], filled[-1] + 1
    kept = [0, *counts[first:last].tolist()]
    low, high, count, total, squares = map(
        float, (array.min(), array.max(), array.size, array.sum(), array @ array)
    )
    bounds = limits[first : last + 1].tolist()
    return raw_histogram(tag, low, high, count, total, squares, bounds, kept)


def raw_histogram(tag, low, high, count, total, squares, limits, counts) -> bytes:
    """A histogram whose facts are known: the upper bounds of bins and how many values they hold."""
    numbers = (double(i + 1, value) for i, value in enumerate((low, high, count, total, squares)))
    return text(1, tag) + message(5, *numbers, doubles(6, limits), doubles(7, counts))


# Images.


def image(tag: str, values, dataformats: str) -> bytes:
    """A picture: numbers in [0, 1], or bytes, in the order of `dataformats` ("CHW", "NHWC", …)."""
    pixels = _pixels(array_of(values), dataformats)
    height, width, channels = pixels.shape
    encoded = png(pixels)
    fields = (integer(1, height), integer(2, width), integer(3, channels), message(4, encoded))
    return text(1, tag) + message(4, *fields)


def sprite(pictures) -> bytes:
    """Pictures (number, channel, height, width) in a square, as PNG."""
    columns = 1
    while columns * columns < len(pictures):
        columns += 1
    return png(_pixels(pictures, "NCHW", columns))


def _pixels(array, order: str, columns: int = 8):
    """Bytes in the order height, width, channel; several pictures in rows of `columns`."""
    order = order.upper()
    if len(set(order)) != len(order) or not {"H", "W"} <= set(order) <= set("NCHW"):
        raise ValueError(f"an image's dimensions are named by letters of NCHW, not {order!r}")
    if array.ndim != len(order):
        raise ValueError(f"size of input tensor and input format are different: {array.shape}")
    if array.dtype != numpy.uint8:
        array = (array.astype(numpy.float32) * 255.0).clip(0, 255).astype(numpy.uint8)
    for letter in set("NCHW") - set(order):
        array, order = array[None], letter + order
    array = array.transpose([order.index(letter) for letter in "NHWC"])
    count, height, width, channels = array.shape
    columns = min(count, columns)
    rows = -(-count // columns)
    padded = numpy.zeros((rows * columns, height, width, channels), numpy.uint8)
    padded[:count] = array
    grid = padded.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    grid = grid.reshape(rows * height, columns * width, channels)
    return grid.repeat(3, 2) if channels == 1 else grid


def png(pixels) -> bytes:
    """A picture of bytes (height, width, 3 or 4) as PNG (ISO 15948)."""
    height, width, channels = pixels.shape
    if channels not in (3, 4):
        raise ValueError(f"a picture has 1, 3 or 4 channels, not {channels}")

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    rows = numpy.zeros((height, width * channels + 1), numpy.uint8)  # each after its filter, none
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 6, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def figure(figures):
    """Matplotlib's figures, each as an array of bytes (channel, height, width)."""
    found = []
    for one in figures if isinstance(figures, list | tuple) else (figures,):
        one.canvas.draw()
        found.append(numpy.asarray(one.canvas.buffer_rgba())[..., :3].transpose(2, 0, 1))
    return numpy.stack(found)


def audio(tag: str, values, sample_rate: int) -> bytes:
    """A sound: numbers in [-1, 1], in one channel."""
    samples = (array_of(values).ravel().clip(-1, 1) * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(sample_rate)
        sound.writeframes(samples.tobytes())
    facts = (single(1, sample_rate), integer(2, 1), integer(3, len(samples)))
    return text(1, tag) + message(6, *facts, message(4, file.getvalue()), text(5, "audio/wav"))


# Precision and recall.


def pr_curve(tag: str, labels, predictions, thresholds: int, weights=None) -> bytes:
    """Precision and recall of predictions in [0, 1] of labels 0 or 1, by thresholds of 0 to 1."""
    thresholds = min(thresholds, 127)  # of TensorBoard
    labels = array_of(labels).ravel() > 0
    predictions = array_of(predictions).ravel().astype(numpy.float64)
    weights = 1.0 if weights is None else array_of(weights).ravel()
    buckets = numpy.floor(predictions * (thresholds - 1)).astype(numpy.int64)

    def at_least(chosen):
        held = numpy.bincount(buckets, weights=chosen * weights, minlength=thresholds)
        return held[::-1].cumsum()[::-1]

    right, wrong = at_least(labels), at_least(~labels)
    tiny = 1e-7
    precision, recall = right / numpy.maximum(right + wrong, tiny), right / max(right[0], tiny)
    rows = numpy.stack((right, wrong, wrong[0] - wrong, right[0] - right, precision, recall))
    return raw_pr_curve(tag, rows)


def raw_pr_curve(tag: str, rows) -> bytes:
    """A curve whose six rows are known: true and false positives, true and false negatives,
    precision, recall.
    """
    data = numpy.asarray(rows, numpy.float32)
    content = _tensor(_FLOAT, data.shape, message(4, data.tobytes()))
    return text(1, tag) + content + _plugin("pr_curves", integer(2, data.shape[1]))


# Hyper-parameters.


def _value(value) -> bytes:
    """A message `google.protobuf.Value`."""
    if isinstance(value, bool):
        return integer(4, value)
    if isinstance(value, str):
        return text(3, value)
    if isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1):
        return double(2, float(value))
    raise ValueError("value should be one of int, float, str, bool, or torch.Tensor")


def _kind(value) -> int:
    return 2 if isinstance(value, bool) else 1 if isinstance(value, str) else 3


def hyperparameters(values: dict, metrics: dict, domains: dict | None, now: float) -> list[bytes]:
    """The summaries that tell an experiment, the start of a run with these values, and its end."""
    infos = []
    for name, value in values.items():
        discrete = (message(1, _value(v)) for v in (domains or {}).get(name, ()))
        domain = message(5, *discrete) if name in (domains or {}) else b""
        infos.append(message(4, text(1, name), integer(4, _kind(value)), domain))
    infos += [message(5, message(1, text(2, name))) for name in metrics]
    started = [message(1, text(1, k), message(2, _value(v))) for k, v in values.items()]
    parts = {
        "_hparams_/experiment": message(2, *infos),
        "_hparams_/session_start_info": message(3, *started, double(5, now)),
        "_hparams_/session_end_info": message(4, integer(1, 1), double(2, now)),
    }
    return [text(1, tag) + _plugin("hparams", content) for tag, content in parts.items()]


# Layouts of the dashboard of custom scalars.


def custom_scalars(layout: dict) -> bytes:
    """Which scalars a diagram shows: ``{category: {title: [kind, tags]}}``."""
    categories = []
    for category, charts in layout.items():
        shown = [message(2, text(1, title), _chart(*chart)) for title, chart in charts.items()]
        categories.append(message(2, text(1, category), *shown))
    data = b"".join(categories)
    content = _tensor(_STRING, (), message(8, data))
    return text(1, "custom_scalars__config__") + content + _plugin("custom_scalars")


def _chart(kind: str, tags) -> bytes:
    if kind == "Margin":
        value, lower, upper = tags
        return message(3, message(1, text(1, value), text(2, lower), text(3, upper)))
    return message(2, *(text(1, tag) for tag in tags))
