"""Knobs, errors and names."""

import os
import pathlib
import subprocess
import sys
import types

import pytest

from flambeau._base import DECLARATIONS, Knobs, explain, knobs, missing, nearest, user_line

TOP = pathlib.Path(__file__).resolve().parents[2]


def test_the_users_line_is_the_innermost_outside_flambeau(tmp_path):
    library = types.ModuleType("flambeau.pretended")
    exec("def inner(f):\n    return f()\n\ndef outer(f):\n    return inner(f)", vars(library))
    script = tmp_path / "train.py"
    script.write_text("import numpy\n\nlogits = call(user_line)  # here\n")
    space = {"call": library.outer, "user_line": user_line, "__name__": "train"}
    exec(compile(script.read_text(), str(script), "exec"), space)
    assert space["logits"] == f"{script}:3  logits = call(user_line)  # here"


def test_generated_code_is_not_the_users():
    space = {"user_line": user_line, "__name__": "anything"}
    source = "def door():\n    return user_line()"
    exec(compile(source, "<flambeau door of aten::add>", "exec"), space)
    assert "test_base.py:" in space["door"]()


def test_the_place_is_relative_to_the_current_folder(tmp_path):
    (tmp_path / "train.py").write_text(
        "from flambeau._base import explain\nraise explain(ValueError, 'no', 'why\\nand how', '')\n"
    )
    command = [sys.executable, "train.py"]
    path = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH")]))
    environment = dict(os.environ, PYTHONPATH=path)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr.endswith(
        "ValueError: no\n  why\n  and how\n"
        "  at train.py:2  raise explain(ValueError, 'no', 'why\\nand how', '')\n"
    )


def test_an_explained_error_is_of_the_type_asked_for():
    error = explain(IndexError, "index 3 is out of bounds")
    assert type(error) is IndexError
    assert str(error).splitlines()[0] == "index 3 is out of bounds"
    assert str(error).splitlines()[1].startswith("  at ")


def test_knobs_are_read_as_words():
    given = Knobs(
        {
            "FLAMBEAU_SHOW": "ops, llvm",
            "FLAMBEAU_BACKEND": "interpret",
            "FLAMBEAU_CACHE": "off",
        }
    )
    assert given.show == {"ops", "llvm"}
    assert (given.backend, given.cache) == ("interpret", None)


def test_knobs_by_default():
    default = Knobs({"XDG_CACHE_HOME": "/caches", "LOCALAPPDATA": "/caches"})
    assert (default.show, default.backend) == (frozenset(), "llvm")
    assert default.cache is not None and default.cache.endswith("flambeau")


@pytest.mark.parametrize(
    "variable, text, hint",
    [
        ("FLAMBEAU_SHOW", "ops,loop", "did you mean 'loops'"),
        ("FLAMBEAU_BACKEND", "gcc", "llvm, interpret"),
    ],
)
def test_an_unknown_word_is_refused_with_the_known_ones(variable, text, hint):
    with pytest.raises(ValueError, match=variable) as caught:
        Knobs({variable: text})
    assert hint in str(caught.value)


def test_every_knob_has_a_doc_and_an_attribute():
    for declaration in DECLARATIONS:
        assert declaration.doc.endswith(".")
        assert hasattr(knobs, declaration.field)


def test_override_puts_back_what_was_even_after_an_error():
    before = knobs.cache
    with pytest.raises(KeyError), knobs.override(cache="elsewhere"):
        assert knobs.cache == "elsewhere"
        raise KeyError
    assert knobs.cache is before


def test_nearest():
    assert nearest("softmin2", ["softmax", "softmin", "relu"]) == "softmin"
    assert nearest("linear", ["Linear", "Conv2d"]) == "Linear"
    assert nearest("zzz", ["softmax"]) is None


def test_a_missing_name_says_so_and_names_the_nearest():
    get = missing({"__name__": "flambeau.nn", "Linear": 1, "_Linea": 2})
    with pytest.raises(AttributeError) as caught:
        get("Linea")
    assert str(caught.value) == (
        "module 'flambeau.nn' has no attribute 'Linea' in flambeau; "
        "the nearest existing name is 'Linear'"
    )
    with pytest.raises(AttributeError, match=r"has no attribute '__path__'$"):
        get("__path__")


def test_a_submodule_is_imported_when_asked_for():
    get = missing({"__name__": "concurrent"}, submodules=["futures"])
    assert get("futures").__name__ == "concurrent.futures"


def test_a_name_is_found_once_and_kept():
    asked = []

    def find(name):
        asked.append(name)
        return 7 if name == "seven" else None

    space = {"__name__": "flambeau"}
    get = missing(space, find=find, more=["eight"])
    assert get("seven") == space["seven"] == 7
    with pytest.raises(AttributeError, match="nearest existing name is 'eight'"):
        get("eigth")
    assert asked == ["seven", "eigth"]
