"""What holds for all tests."""

import importlib.util
import os
import pathlib

import hypothesis
import pytest

# Compiled kernels are kept between runs of the tests, apart from the user's own.
TOP = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("FLAMBEAU_CACHE", str(TOP / ".cache" / "tests"))
# Kernels and programs are checked before they run.
os.environ.setdefault("FLAMBEAU_VERIFY", "1")

# The first call of an op compiles its kernel: a deadline would measure the compiler.
hypothesis.settings.register_profile("flambeau", deadline=None)
hypothesis.settings.load_profile("flambeau")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that compare with PyTorch run where PyTorch is installed, those about machine code
    where kernels are compiled.
    """
    if os.environ.get("FLAMBEAU_BACKEND") == "interpret":
        for item in items:
            if mark := item.get_closest_marker("machine_code"):
                item.add_marker(pytest.mark.skip(f"is about compiled kernels: {mark.args[0]}"))
    if importlib.util.find_spec("torch") is not None:
        return
    parted = [item for item in items if item.get_closest_marker("parity")]
    if parted:
        config.hook.pytest_deselected(items=parted)
        items[:] = [item for item in items if not item.get_closest_marker("parity")]
