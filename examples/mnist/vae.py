"""Trains a variational auto-encoder on handwritten digits, and draws new ones as text.

python vae.py
python vae.py --epochs 1 --limit 640 # a quick look

Kingma and Welling, "Auto-Encoding Variational Bayes", 2014.
"""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from digits import SIDE, load_digits
from torch.utils.data import DataLoader, TensorDataset

SHADES = " .:-=+*#%@"


class VAE(nn.Module):
    """Images [n, 784] to their reconstructions' logits, and the codes' means and log-variances."""

    def __init__(self, hidden=400, code=20):
        super().__init__()
        self.code = code
        self.encode = nn.Sequential(nn.Linear(SIDE * SIDE, hidden), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(hidden, code), nn.Linear(hidden, code)
        self.decode = nn.Sequential(
            nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, SIDE * SIDE)
        )

    def forward(self, images):
        features = self.encode(images)
        mean, log_variance = self.mean(features), self.log_variance(features)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decode(code), mean, log_variance


def loss_of(model, images):
    """The negative evidence lower bound, per image."""
    logits, mean, log_variance = model(images)
    rebuilt = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return (rebuilt + divergence) / len(images)


def draw(image):
    """An image as text, two columns to a pixel."""
    levels = (image.view(SIDE, SIDE) * (len(SHADES) - 1)).round().long()
    return "\n".join("".join(SHADES[level] * 2 for level in row) for row in levels.tolist())


def main():
    parser = argparse.ArgumentParser(description="Trains a variational auto-encoder on digits.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--limit", type=int, help="use only so many training images")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    pixels = [torch.from_numpy(images).flatten(1) / 255 for images in load_digits()[::2]]
    train_set, test_set = TensorDataset(pixels[0][: options.limit]), TensorDataset(pixels[1])
    loader = DataLoader(train_set, options.batch_size, shuffle=True)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, options.epochs + 1):
        total = 0.0
        for (images,) in loader:
            optimizer.zero_grad()
            loss = loss_of(model, images)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(images)
        with torch.no_grad():
            test_loss = loss_of(model, test_set.tensors[0]).item()
        print(
            f"epoch {epoch}: training loss {total / len(train_set):.4f}, test loss {test_loss:.4f}",
            flush=True,
        )
    with torch.no_grad():
        print(draw(torch.sigmoid(model.decode(torch.randn(1, model.code)))))


if __name__ == "__main__":
    main()
