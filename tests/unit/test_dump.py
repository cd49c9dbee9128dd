"""What a compiled function says about itself: `show`, and the folder of `FLAMBEAU_DUMP`."""

import html.parser
from xml.etree import ElementTree

import pytest

import flambeau as torch
from flambeau._base import knobs
from flambeau.graph import compile, measures, passes
from flambeau.graph.program import Buffer, Operand
from flambeau.types import contiguous

SVG = "{http://www.w3.org/2000/svg}"


def compiled(function, *args):
    made = compile(function)
    for _ in range(3):
        made(*args)
    return made


def chain(x, w):
    return torch.softmax((x @ w).relu() * 2 + 1, 1), (x + 1).sum(0)


def arguments():
    return torch.randn(48, 16), torch.randn(16, 80)


def test_programs_loops_memory_and_breaks_are_shown():
    made = compiled(chain, *arguments())
    assert made.show() == made.show("programs")
    assert made.show().startswith("program of") and "float32[48, 80]" in made.show()
    loops = made.show("loops")
    assert "reduce sum" in loops and "element: cast(add(%0, 1.0:float32), float64)\n" in loops
    assert "add(mul(" in loops and "return" in loops
    assert max(map(len, loops.splitlines())) <= 100 < max(map(len, made.show().splitlines()))
    memory = made.show("memory")
    assert "peak" in memory and "] at " in memory and made.show("breaks") == ""
    with pytest.raises(ValueError, match=r"'loops'.*did you mean 'memory'"):
        made.show("memroy")


def test_breaks_say_why_and_where():
    made = compiled(lambda x: x + x.sum().item(), torch.ones(3))
    assert "read a tensor's elements" in made.show("breaks")
    assert "test_dump.py" in made.show("breaks") and made.show("loops") == ""


def test_backward_has_a_program_of_its_own():
    layer = torch.nn.Linear(4, 3)
    made = compile(layer)
    for _ in range(3):
        made(torch.ones(2, 4)).sum().backward()
    assert made.show().count("program of") == 2


def test_memory_is_what_is_taken():
    x = torch.ones(1 << 12)

    def function(x):
        a = x.cumsum(0)
        b = a.flip(0).cumsum(0)
        return b.flip(0).cumsum(0)

    made = compiled(function, x)
    text = made.show("memory")
    executable = next(iter(made._entries.values())).variants[0].executable
    assert 1 << 14 <= executable.scratch < 3 << 14  # of more buffers: they share memory
    assert f"scratch {measures.size(executable.scratch):>8}" in text
    assert text.count("] at ") == len(executable.plans[0].buffers)


def test_bytes_are_counted_once():
    buffer = Buffer(0, 64)
    assert measures.nbytes_of(Operand(buffer, 0, contiguous((4, 4), torch.float32))) == 64
    spread = contiguous((4, 4), torch.float32).reshaped((4, 4), (0, 1))
    assert measures.nbytes_of(Operand(buffer, 0, spread)) == 16
    assert measures.nbytes_of(Operand(buffer, 16, None)) == 48
    made = compiled(lambda x: (x * 2 + 1).sum(), torch.ones(1024))
    program = next(iter(made._entries.values())).variants[0].executable.program
    assert measures.moved(program) in (4096 + 4, 3 * 4096 + 4)  # in one kernel, or in two
    assert [measures.size(n) for n in (12, 2048, 3 << 20, 5 << 30)] == ["12 B", "2 KB", "3 MB",
                                                                       "5 GB"]  # fmt: skip


class Page(html.parser.HTMLParser):
    """Links and pictures of a page, and whether its tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.links, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [v for k, v in attributes if k in ("href", "src")]
        if tag not in ("meta", "img", "br") and "/" not in tag:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_dump_has_texts_differences_pictures_and_pages(tmp_path):
    folder = tmp_path / "dump"
    with knobs.override(dump=str(folder)):
        compiled(chain, *arguments())
        compiled(lambda x: x * 3, torch.ones(4))
    first, second = sorted(p for p in folder.iterdir() if p.is_dir())
    assert first.name == "0001-chain" and second.name.startswith("0002-")
    names = {p.name for p in first.iterdir()}
    assert {"0-capture.txt", "program.svg", "memory.txt"} <= names
    assert any(name.endswith("-fuse.txt") for name in names)
    difference = next(first.glob("*-fuse.diff")).read_text()
    names = [change.__name__ for change in passes.PASSES]
    before = names[names.index("fuse") - 1]
    assert difference.startswith(f"--- {before}\n+++ fuse\n") and "\n-" in difference
    for page in (folder / "index.html", first / "index.html", second / "index.html"):
        for link in Page(page.read_text()).links:
            assert link.startswith("#") or (page.parent / link).exists()
    assert "chain" in (folder / "index.html").read_text()


def test_a_picture_has_every_instruction_with_shapes_and_bytes(tmp_path):
    with knobs.override(dump=str(tmp_path)):
        made = compiled(chain, *arguments())
    program = next(iter(made._entries.values())).variants[0].executable.program
    root = ElementTree.fromstring((tmp_path / "0001-chain" / "program.svg").read_text())
    boxes = [g for g in root.iter(SVG + "g") if g.find(SVG + "title") is not None]
    hints = [g.find(SVG + "title").text for g in boxes]
    for instruction in program.instructions:
        assert repr(instruction) in hints
    texts = [[t.text for t in g.iter(SVG + "text")] for g in boxes]
    assert ["argument 0", "48 × 16  float32"] in texts
    assert any(line.startswith("48 × 80  float32") for t in texts for line in t)
    assert any(line.endswith(" out") for t in texts for line in t)
    arrows = [p for p in root.iter(SVG + "path") if p.get("class", "").startswith("e")]
    assert len(arrows) >= len(program.instructions)
    assert any("%" in p.find(SVG + "title").text for p in arrows)
    assert {t.text for t in root.iter(SVG + "text")} >= {"given", "result", "reduction"}
