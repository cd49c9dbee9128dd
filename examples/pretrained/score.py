"""Scores a network that somebody else trained, with the code that they shipped, on our digits.

pip install --no-deps digit-recognizer-py      # ships a network's code and its .pth file
python score.py
"""

import argparse
import importlib.util
import pathlib
import sys

import numpy as np
import torch

DIGITS = pathlib.Path(__file__).resolve().parent.parent / "mnist" / "mnist10k.npz"
PIXEL_MEAN, PIXEL_DEVIATION = 0.1307, 0.3081  # what the network was trained with


def find_package():
    """The folder of the package digit-recognizer-py, where that is installed."""
    package = importlib.util.find_spec("digit_recognizer")  # finding it imports nothing
    return pathlib.Path(package.origin).parent if package else None


def load_network(folder):
    """The package's own network, from the one file of it that needs nothing but PyTorch."""
    spec = importlib.util.spec_from_file_location("digit_network", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.CNN()
    network.load_state_dict(torch.load(folder / "models" / "handwriting_model.pth"))
    return network.eval()


def main():
    parser = argparse.ArgumentParser(description="Scores a pretrained network on digits.")
    parser.add_argument("--package", type=pathlib.Path, help="the folder digit_recognizer")
    parser.add_argument("--limit", type=int, default=2000, help="images (default: 2000)")
    parser.add_argument("--save", help="a file for the network's scores")
    options = parser.parse_args()
    folder = options.package or find_package()
    if folder is None:
        sys.exit("score.py: no package: pip install --no-deps digit-recognizer-py, or --package")
    network = load_network(folder)
    with np.load(DIGITS) as bundle:
        images, labels = (torch.from_numpy(bundle[name]) for name in ("images", "labels"))
    pixels = images[: options.limit].unsqueeze(1) / 255
    with torch.no_grad():
        scores = network((pixels - PIXEL_MEAN) / PIXEL_DEVIATION)
    right = (scores.argmax(dim=1) == labels[: options.limit]).float().mean().item()
    print(f"{right:.2%} of {len(scores)} digits are read correctly")
    if options.save:
        torch.save(scores, options.save)


if __name__ == "__main__":
    main()
