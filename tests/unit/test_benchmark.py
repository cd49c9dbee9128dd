"""`torch.utils.benchmark`, with clocks that the tests wind."""

import pickle

import numpy as np
import pytest

import flambeau as torch
from flambeau.utils import benchmark


class Clock:
    """Says that `step` seconds have passed since it was asked last."""

    def __init__(self, steps):
        self.now, self.steps = 0.0, iter(steps)

    def __call__(self):
        self.now += next(self.steps)
        return self.now


def measured(times, runs=1, **names):
    return benchmark.Measurement(runs, list(times), benchmark.TaskSpec("x + y", **names))


def test_statistics_are_those_of_one_run():
    times = [3.0, 1.0, 4.0, 1.5, 9.0]
    m = measured([7 * t for t in times], runs=7)
    assert np.allclose(m.times, times) and m.mean == pytest.approx(np.mean(times))
    assert m.median == pytest.approx(3) and m.iqr == pytest.approx(
        np.subtract(*np.percentile(times, [75, 25]))
    )
    assert m.has_warnings and not m.meets_confidence(0.5) and m.meets_confidence(1)
    assert pickle.loads(pickle.dumps(m)).times == m.times
    with pytest.raises(ValueError, match="without times"):
        _ = measured([]).median


def test_figures_that_another_measurement_confirms():
    rng = np.random.default_rng(0)
    medians = [np.median(rng.normal(1, 0.01, 100)) for _ in range(1000)]
    deviation = 2 * np.std(medians)  # about a part in 400
    assert measured(rng.normal(1, 0.01, 100)).significant_figures == int(-np.log10(deviation))
    assert measured([1.0]).significant_figures == 1


@pytest.mark.parametrize(
    "seconds, shown", [(2e-9, "2.00 ns"), (3e-5, "30.00 us"), (4e-3, "4.00 ms"), (12.0, "12.00 s")]
)
def test_units(seconds, shown):
    assert shown in repr(measured([seconds]))


def test_what_a_measurement_says():
    text = repr(
        measured([1e-5, 2e-5, 9e-5], runs=3, setup="x = 1", label="sums", sub_label="small")
    )
    assert "sums: small" in text and "setup: x = 1" in text and "3 measurements, 3 runs" in text
    assert "WARNING" in text and "WARNING" not in repr(measured([1e-5] * 4))
    title = benchmark.TaskSpec("a\nb").title
    assert title == "stmt:\n  a\n  b"


def test_a_statement_sees_its_names():
    timer = benchmark.Timer(
        "found.append(torch.ones(k))", "k = 3", globals={"found": (found := [])}
    )
    m = timer.timeit(5)
    assert m.number_per_run == 5 and m.stmt == "found.append(torch.ones(k))"
    assert torch.is_tensor(found[0]) and len(found) == 7  # two runs warm up
    assert len(timer.repeat(2, 1)) == 2


def test_threads_are_as_asked_for_and_then_as_before():
    seen, before = [], torch.get_num_threads()
    count = 1 if before > 1 else 2
    benchmark.Timer(
        "seen.append(torch.get_num_threads())", globals={"seen": seen}, num_threads=count
    ).timeit(1)
    assert set(seen) == {count} and torch.get_num_threads() == before


def test_blocks_are_timed_until_the_time_is_over():
    # Reading the clock takes nothing; a run takes 10 us: blocks must be of 100 runs.
    class Now:
        runs = 0

        def __call__(self):
            return self.runs * 1e-5

    now = Now()
    seen = []
    m = benchmark.Timer("now.runs += 1", timer=now, globals={"now": now}).blocked_autorange(
        lambda number, spent: seen.append(number), min_run_time=0.5
    )
    assert m.number_per_run == 100 and set(seen) == {100}
    assert m.median == pytest.approx(1e-5) and len(m.times) == pytest.approx(500, abs=1)


def test_a_search_ends_when_the_times_agree():
    class Now:
        seconds, step = 0.0, 0

        def __call__(self):
            return self.seconds

        def run(self):  # the first runs are slow
            self.step += 1
            self.seconds += 1e-2 if self.step > 50 else 1e-1 * self.step

    now = Now()
    timer = benchmark.Timer("now.run()", timer=now, globals={"now": now})
    m = timer.adaptive_autorange(threshold=0.1, max_run_time=1000)
    assert m.meets_confidence(0.1)
    now.step = 0
    assert sum(timer.adaptive_autorange(threshold=-1, max_run_time=3).raw_times) < 20


def test_a_table():
    results = [
        measured(
            [(1 + column + 10 * row) * 1e-6],
            label="sums",
            sub_label=f"size {row}",
            description=name,
        )
        for row in range(2)
        for column, name in enumerate(("ours", "theirs"))
    ]
    table = benchmark.Compare(results)
    assert str(table).splitlines() == [
        "[------------ sums ------------]",
        "              |  ours  |  theirs",
        "1 threads: ---------------------",
        "      size 0  |  1.0   |   2.0  ",
        "      size 1  |  11.0  |   12.0 ",
        "",
        "Times are in microseconds (us).",
    ]
    table.extend_results(
        [measured([5e-6], label="sums", sub_label="size 2", description="ours", num_threads=2)]
    )
    lines = str(table).splitlines()
    assert lines[5].startswith("2 threads") and lines[6].split("|")[2].strip() == ""
    table.colorize()
    green = [line for line in str(table).splitlines() if "\033[92m" in line]
    assert len(green) == 1 and green[0].count("\033[92m") == 2  # the best ones of both columns
    with pytest.raises(ValueError, match="Expected an instance of Measurement"):
        table.extend_results([1.0])


def test_doubtful_figures_are_left_out_or_marked():
    noisy = measured([1e-6 * v for v in (100, 123.4, 150)], description="noisy")
    exact = measured([1e-6 * v for v in (123.4, 123.41, 123.42)], description="exact")
    table = benchmark.Compare([noisy, exact])
    table.trim_significant_figures()
    table.highlight_warnings()
    row = next(line for line in str(table).splitlines() if line.startswith("      x + y"))
    marked, plain = (cell.strip() for cell in row.split("|")[1:])
    assert marked == "(! 20%) 100" and plain == "123.4"
    assert len(benchmark.Measurement.merge([noisy, noisy, exact])) == 2


def test_other_languages_are_refused():
    with pytest.raises(NotImplementedError, match="Python only"):
        benchmark.Timer("x", language="c++")
