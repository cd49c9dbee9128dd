"""The command line: ``flambeau run SCRIPT`` runs a PyTorch program on flambeau."""

from .alias import install
from .main import main

__all__ = ["install", "main"]
