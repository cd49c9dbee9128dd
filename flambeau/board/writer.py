"""`SummaryWriter`: files that TensorBoard shows."""

import datetime
import json
import os
import socket
import time
import weakref

from . import summary
from .graph import graph_of
from .message import double, integer, message, text
from .records import record


class FileWriter:
    """One file of events in the folder `log_dir`. What is written reaches the file after
    `flush_secs` seconds at the next event, by `flush` or by `close`. There is no queue, hence
    nothing for `max_queue` to limit.
    """

    _count = 0

    def __init__(self, log_dir, max_queue=10, flush_secs=120, filename_suffix=""):
        self._folder = os.fspath(log_dir)
        os.makedirs(self._folder, exist_ok=True)
        FileWriter._count += 1
        parts = (int(time.time()), socket.gethostname(), os.getpid(), FileWriter._count)
        name = "events.out.tfevents.{:010d}.{}.{}.{}".format(*parts) + filename_suffix
        self._file = open(os.path.join(self._folder, name), "wb")
        self.close = weakref.finalize(self, self._file.close)
        self._wait, self._flushed = flush_secs, time.time()
        self._write(double(1, time.time()) + text(3, "brain.Event:2"))

    def get_logdir(self) -> str:
        """The folder."""
        return self._folder

    def add_summary(self, value: bytes, global_step=None, walltime=None) -> None:
        """Writes one `Summary.Value`."""
        when = double(1, time.time() if walltime is None else walltime)
        step = b"" if global_step is None else integer(2, int(global_step))
        self._write(when + step + message(5, message(1, value)))

    def add_graph(self, graph: bytes, walltime=None) -> None:
        """Writes a `GraphDef`."""
        self._write(double(1, time.time() if walltime is None else walltime) + message(4, graph))

    def restart(self, step: int) -> None:
        """Says that what was written for this step and later ones is to be forgotten."""
        started = message(7, integer(1, 1))  # a `SessionLog` whose status is START
        self._write(double(1, time.time()) + integer(2, int(step)) + started)

    def _write(self, event: bytes) -> None:
        self._file.write(record(event))
        if time.time() - self._flushed > self._wait:
            self.flush()

    def flush(self) -> None:
        """Sees to it that all events are in the file."""
        self._file.flush()
        self._flushed = time.time()


class SummaryWriter:
    """Writes what TensorBoard shows to files in `log_dir`, by default a new folder under ``runs``.

    The ``add_…`` methods take tensors, arrays or numbers, the step `global_step` and the time
    `walltime` (now, if None). TensorBoard forgets what is there for `purge_step` and later steps.
    """

    def __init__(
        self,
        log_dir=None,
        comment="",
        purge_step=None,
        max_queue=10,
        flush_secs=120,
        filename_suffix="",
    ):
        if not log_dir:
            now = datetime.datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir = os.fspath(log_dir)
        self._options = (max_queue, flush_secs, filename_suffix)
        self._writers: dict[str, FileWriter] = {}
        writer = self._writer()
        if purge_step is not None:
            writer.restart(purge_step)

    def _writer(self, folder="") -> FileWriter:
        """The writer of a folder below that of all, opened anew after `close`."""
        path = os.path.join(self.log_dir, folder) if folder else self.log_dir
        if path not in self._writers:
            self._writers[path] = FileWriter(path, *self._options)
        return self._writers[path]

    @property
    def file_writer(self) -> FileWriter:
        return self._writer()

    def get_logdir(self) -> str:
        """The folder of the files."""
        return self.log_dir

    def _add(self, value, global_step, walltime):
        self._writer().add_summary(value, global_step, walltime)

    def add_scalar(
        self,
        tag,
        scalar_value,
        global_step=None,
        walltime=None,
        new_style=False,
        double_precision=False,
    ):
        """One number, in float32: `new_style` and `double_precision` change nothing."""
        self._add(summary.scalar(tag, scalar_value), global_step, walltime)

    def add_scalars(self, main_tag, tag_scalar_dict, global_step=None, walltime=None):
        """Several numbers, in one diagram."""
        for tag, value in tag_scalar_dict.items():
            writer = self._writer(f"{main_tag.replace('/', '_')}_{tag}")
            writer.add_summary(summary.scalar(main_tag, value), global_step, walltime)

    def add_tensor(self, tag, tensor, global_step=None, walltime=None):
        """An array of floats."""
        self._add(summary.tensor(tag, tensor), global_step, walltime)

    def add_histogram(
        self, tag, values, global_step=None, bins="tensorflow", walltime=None, max_bins=None
    ):
        """How values are distributed."""
        self._add(summary.histogram(tag, values, bins, max_bins), global_step, walltime)

    def add_histogram_raw(
        self, tag, min, max, num, sum, sum_squares, bucket_limits, bucket_counts, global_step=None,
        walltime=None,
    ):  # fmt: skip
        """A histogram whose facts are known."""
        if len(bucket_limits) != len(bucket_counts):
            raise ValueError("len(bucket_limits) != len(bucket_counts), see the document.")
        facts = (min, max, num, sum, sum_squares, bucket_limits, bucket_counts)
        self._add(summary.raw_histogram(tag, *facts), global_step, walltime)

    def add_image(self, tag, img_tensor, global_step=None, walltime=None, dataformats="CHW"):
        """A picture: numbers in [0, 1], or bytes."""
        self._add(summary.image(tag, img_tensor, dataformats), global_step, walltime)

    def add_images(self, tag, img_tensor, global_step=None, walltime=None, dataformats="NCHW"):
        """Several pictures, in a grid."""
        self._add(summary.image(tag, img_tensor, dataformats), global_step, walltime)

    def add_figure(self, tag, figure, global_step=None, close=True, walltime=None):
        """A figure of Matplotlib's, or a list of them; closed then, unless `close` is false."""
        self.add_images(tag, summary.figure(figure), global_step, walltime)
        if close:
            for one in figure if isinstance(figure, list | tuple) else (figure,):
                one.clear()

    def add_audio(self, tag, snd_tensor, global_step=None, sample_rate=44100, walltime=None):
        """A sound: numbers in [-1, 1], in one channel."""
        self._add(summary.audio(tag, snd_tensor, sample_rate), global_step, walltime)

    def add_text(self, tag, text_string, global_step=None, walltime=None):
        """Text, in Markdown."""
        self._add(summary.written(tag, text_string), global_step, walltime)

    def add_pr_curve(
        self,
        tag,
        labels,
        predictions,
        global_step=None,
        num_thresholds=127,
        weights=None,
        walltime=None,
    ):
        """Precision and recall of predictions in [0, 1] of labels 0 or 1."""
        value = summary.pr_curve(tag, labels, predictions, num_thresholds, weights)
        self._add(value, global_step, walltime)

    def add_pr_curve_raw(
        self, tag, true_positive_counts, false_positive_counts, true_negative_counts,
        false_negative_counts, precision, recall, global_step=None, num_thresholds=127,
        weights=None, walltime=None,
    ):  # fmt: skip
        """A curve of precision and recall whose facts are known, for each threshold."""
        positives = (true_positive_counts, false_positive_counts)
        rows = (*positives, true_negative_counts, false_negative_counts, precision, recall)
        self._add(
            summary.raw_pr_curve(tag, list(map(summary.array_of, rows))), global_step, walltime
        )

    def add_hparams(
        self, hparam_dict, metric_dict, hparam_domain_discrete=None, run_name=None, global_step=None
    ):
        """The hyper-parameters of a run, and what it reached with them."""
        if not isinstance(hparam_dict, dict) or not isinstance(metric_dict, dict):
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        writer = self._writer(run_name or str(time.time()))
        told = summary.hyperparameters(
            hparam_dict, metric_dict, hparam_domain_discrete, time.time()
        )
        for value in told:
            writer.add_summary(value)
        for tag, value in metric_dict.items():
            writer.add_summary(summary.scalar(tag, value), global_step)

    def add_graph(self, model, input_to_model, verbose=False, use_strict_trace=True):
        """The ops that one call of a module performs, under the modules that perform them."""
        self._writer().add_graph(graph_of(model, input_to_model))

    def add_custom_scalars(self, layout):
        """Diagrams of several scalars: ``{category: {title: [kind, tags]}}``, where a kind is
        "Multiline" or "Margin".
        """
        self._add(summary.custom_scalars(layout), None, None)

    def add_custom_scalars_multilinechart(self, tags, category="default", title="untitled"):
        """One diagram of several scalars."""
        self.add_custom_scalars({category: {title: ["Multiline", tags]}})

    def add_custom_scalars_marginchart(self, tags, category="default", title="untitled"):
        """One diagram of a scalar between two others: the tags of value, lower and upper bound."""
        if len(tags) != 3:
            raise ValueError(f"a margin chart has 3 tags, not {len(tags)}")
        self.add_custom_scalars({category: {title: ["Margin", tags]}})

    def add_embedding(
        self,
        mat,
        metadata=None,
        label_img=None,
        global_step=None,
        tag="default",
        metadata_header=None,
    ):
        """Points in space, for the projector: the rows of `mat`, with a label or a row of labels
        (under `metadata_header`) and a picture each.
        """
        points = summary.array_of(mat)
        if points.ndim != 2:
            raise ValueError("mat should be 2D, where mat.size(0) is the number of data points")
        step = 0 if global_step is None else global_step
        below = f"{step:05d}/{tag}"
        folder = os.path.join(self.log_dir, below)
        os.makedirs(folder, exist_ok=True)
        facts = {"tensorName": f"{tag}:{step:05d}", "tensorPath": f"{below}/tensors.tsv"}
        _write_rows(folder, "tensors.tsv", points.tolist())
        if metadata is not None:
            if len(metadata) != len(points):
                raise ValueError("#labels should equal with #data points")
            heads = [metadata_header] if metadata_header else []
            _write_rows(folder, "metadata.tsv", heads + list(metadata))
            facts["metadataPath"] = f"{below}/metadata.tsv"
        if label_img is not None:
            facts["sprite"] = self._sprite(folder, below, summary.array_of(label_img), len(points))
        self._tell_projector(facts)

    def _sprite(self, folder, below, pictures, count):
        if len(pictures) != count:
            raise ValueError("#images should equal with #data points")
        with open(os.path.join(folder, "sprite.png"), "wb") as file:
            file.write(summary.sprite(pictures))
        size = [pictures.shape[3], pictures.shape[2]]
        return {"imagePath": f"{below}/sprite.png", "singleImageDim": size}

    def _tell_projector(self, facts):
        """Adds to the projector's list, a protocol buffer as text."""
        lines = ["embeddings {"]
        for name, value in facts.items():
            key = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)
            if isinstance(value, dict):
                sizes = [f"single_image_dim: {n}" for n in value["singleImageDim"]]
                path = f"image_path: {json.dumps(value['imagePath'])}"
                lines.append(f"sprite {{ {path} {' '.join(sizes)} }}")
            else:
                lines.append(f"{key}: {json.dumps(value)}")
        with open(os.path.join(self.log_dir, "projector_config.pbtxt"), "a") as file:
            file.write("\n".join([*lines, "}", ""]))

    def flush(self):
        """Sees to it that all events are in the files."""
        for writer in self._writers.values():
            writer.flush()

    def close(self):
        """Closes the files; what is added later goes to new ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def _write_rows(folder, name, rows):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        for row in rows:
            cells = row if isinstance(row, list | tuple) else (row,)
            file.write("\t".join(str(cell) for cell in cells) + "\n")
