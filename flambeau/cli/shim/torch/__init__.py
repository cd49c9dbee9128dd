"""Stands for PyTorch under ``flambeau run``: being imported, it gives its place to flambeau.

Its folder is on PYTHONPATH, so that every process the program starts finds it before an
installed PyTorch.
"""

import os
import sys

try:
    import flambeau  # noqa: F401
except ModuleNotFoundError:  # found from the current folder before, and this is another one
    sys.path.append(os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 4)))

from flambeau.cli import install

install()
