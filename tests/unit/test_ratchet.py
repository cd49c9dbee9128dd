"""The ratchet outlives the process it watches: an op that crashes or hangs costs only itself."""

import json
import sys

import pytest
import ratchet

# Stands for parity.py: gives a verdict for each op, but dies at one and hangs at another.
PROGRAM = """
import os, sys, time
for name in sys.argv[sys.argv.index("--ops") + 1].split(","):
    if name == "dies":
        os.abort()
    if name == "hangs":
        time.sleep(60)
    if name != "silent":
        print(f"{'wrong' if name == 'b' else 'ok':8} {name}.x[float32]: 1 samples", flush=True)
"""


@pytest.fixture(autouse=True)
def reports(tmp_path, monkeypatch):
    monkeypatch.setattr(ratchet, "REPORTS", tmp_path)
    monkeypatch.setattr(ratchet, "LISTS", tmp_path)
    monkeypatch.setattr(ratchet, "RUNS", {"float32": []})
    monkeypatch.setattr(ratchet, "STALLED_SECONDS", 3)


def verdicts(names):
    owners = {f"{name}.x": name for name in names}
    found = ratchet.judge([sys.executable, "-c", PROGRAM], names, owners, 1)["float32"]
    return {key: row.verdict for key, row in found.items()}


def test_what_follows_a_crash_and_a_hang_is_still_judged():
    found = verdicts(["a", "b", "dies", "c", "hangs", "d"])
    assert found == {
        "a.x[float32]": "ok",
        "b.x[float32]": "wrong",
        "dies[float32]": "died",
        "c.x[float32]": "ok",
        "hangs[float32]": "died",
        "d.x[float32]": "ok",
    }


def test_a_crash_behind_ops_without_a_verdict_ends():
    found = verdicts(["silent", "dies", "a"])
    assert found["a.x[float32]"] == "ok"


def test_a_lost_entry_is_named_and_a_partial_update_keeps_the_rest(tmp_path):
    ok, wrong = ratchet.Verdict("ok", ""), ratchet.Verdict("wrong", "")
    ratchet.update("float32", {"a": ok, "b": ok, "c": wrong}, partial=False)
    assert (tmp_path / "float32.txt").read_text() == "a\nb\n"
    assert ratchet.compare("float32", {"a": wrong, "b": ok}, partial=False) == ["a"]
    assert ratchet.compare("float32", {"b": ok}, partial=False) == ["a"]
    assert ratchet.compare("float32", {"b": ok}, partial=True) == []
    ratchet.update("float32", {"b": wrong, "c": ok}, partial=True)
    assert (tmp_path / "float32.txt").read_text() == "a\nc\n"


def test_a_partial_run_keeps_the_other_verdicts(tmp_path):
    ok, wrong = ratchet.Verdict("ok", "1"), ratchet.Verdict("wrong", "2")
    ratchet.save("float32", {"b": wrong, "a": ok}, partial=False)
    ratchet.save("float32", {"b": ok}, partial=True)
    assert json.loads((tmp_path / "float32.json").read_text()) == {
        "a": ["ok", "1"],
        "b": ["ok", "1"],
    }
