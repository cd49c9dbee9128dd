"""The documentation says what is: the tour runs, and its generators write what they were given."""

import json
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest
from api_pages import declared
from api_pages import page as api_page
from layers import TOP
from module_page import page as module_page
from parity_page import load
from parity_page import page as parity_page
from run_page import run_page
from special_page import FIGURES, plot
from special_page import page as special_page
from speed_picture import mean, measured, picture, put

DOCS = TOP / "docs"


def run_tool(*words: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "FLAMBEAU_SHOW"}
    return subprocess.run(
        [sys.executable, "-W", "error", *words], capture_output=True, text=True, env=environment
    )


@pytest.mark.machine_code("the tour shows it")
def test_the_tour_runs():
    done = run_tool(str(TOP / "tools" / "run_page.py"), str(DOCS / "tour.md"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "text, failed",
    [
        ("```python\n>>> a = 1\n\n```\ntext\n```python\n>>> a + 1\n2\n\n```\n", 0),
        ("```python\n>>> 1 + 1\n3\n\n```\n", 1),
        ("```python\n>>> nobody\n\n```\n", 1),
        ("```python file=a.txt\nhello\n```\n```console\n$ cat a.txt\nhello\n```\n", 0),
        ("```console\n$ echo one\ntwo\n$ echo two\ntwo\n```\n", 1),
    ],
)
def test_a_page_that_is_wrong_is_found(text, failed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "page.md"
    path.write_text(text)
    assert run_page(path) == failed


PAGES = [*sorted(DOCS.glob("*.md")), TOP / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: pathlib.Path):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_every_op_is_listed_once():
    text = api_page()
    titles = re.findall(r"^### (\S+)$", text, flags=re.M)
    assert len(titles) == len(declared())
    assert "    aten::addcmul(Tensor self, Tensor tensor1" in text
    assert "`torch.nn.functional.gelu`" in text and "`torch.gelu`" not in text


def verdicts(folder: pathlib.Path) -> pathlib.Path:
    rows = {
        "abs[float32]": ["ok", ""],
        "acos[float32]": ["wrong", "sample 3: a | b"],
        "cdouble[float32]": ["error", "'DType' object is not callable"],
        "histc[float32]": ["missing", "torch.histc"],
    }
    (folder / "float32.json").write_text(json.dumps(rows))
    return folder


def test_parity_is_counted_and_grouped(tmp_path):
    text = parity_page(load(verdicts(tmp_path)))
    assert "| results, float32 | 4 | 1 | 25.0 | 1 | 1 | 1 | 0 | 1 |" in text
    assert "| `acos` | float32 | sample 3: a \\| b |" in text
    assert "Not there yet: 1\n\n`histc`" in text
    # The remarked entry is explained, and not listed among the faults.
    assert text.count("`cdouble`") == 1 and "Raises where PyTorch does not" not in text


def test_parity_without_verdicts_is_an_error(tmp_path):
    done = run_tool(str(TOP / "tools" / "parity_page.py"), "--reports", str(tmp_path))
    assert done.returncode == 1 and "no reports" in done.stdout


def test_the_picture_shows_every_workload():
    results = {
        "import": {"torch": 2.0, "flambeau": 0.2},
        "slow": {"ratio": 0.5, "low": 0.4, "high": 0.6},
        "fast<": {"ratio": 8.0, "low": 7.0, "high": 9.0},
        "broken": {"error": "no"},
    }
    assert list(measured(results)) == ["fast<", "slow"]
    assert mean(measured(results)) == pytest.approx(2.0)
    drawn = xml.fromstring(picture(results))
    space = "{http://www.w3.org/2000/svg}"
    fast, slow = drawn.findall(f"{space}rect")
    assert (fast.get("class"), slow.get("class")) == ("faster", "slower")
    # Three doublings against one halving, from the line of 1.
    assert float(fast.get("width")) == pytest.approx(3 * float(slow.get("width")), abs=0.5)
    words = [text.text for text in drawn.findall(f"{space}text")]
    assert {"fast<", "slow", "8.00", "0.50"} <= set(words)


def test_the_picture_of_the_readme_is_that_of_its_figures():
    results = json.loads((DOCS / "speed.json").read_text())
    assert (DOCS / "speed.svg").read_text() == picture(results)


def test_the_page_of_special_functions_is_that_of_its_figures():
    rows = json.loads(FIGURES.read_text())
    assert (DOCS / "special.md").read_text() == special_page(rows)
    for name, row in rows.items():
        assert row["flambeau float64"] <= 4 and row["flambeau float32"] <= 2, name
        drawn = (DOCS / "special" / f"{name}.svg").read_text()
        assert drawn == plot(name, row) and len(drawn) < 8000
        xml.fromstring(drawn)


def test_only_what_lies_between_the_marks_changes():
    text = "a\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nb\n"
    assert put(text, "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="begin"):
        put("nothing", "new")


def test_the_module_page_says_what_differs():
    text = module_page({"Linear": (4, {}), "ReLU": (2, {"forward": "off by | 1"})})
    assert "1 of 2 modules are equal in everything compared." in text
    assert "| `Linear` | 4 | yes | yes | yes | yes | yes |" in text
    assert "| `ReLU` | 2 | yes | yes | off by \\| 1 | yes | yes |" in text
