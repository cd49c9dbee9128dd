"""Trains a generator of handwritten digits against a discriminator, both convolutional.

python dcgan.py
python dcgan.py --epochs 1 --limit 640 # a quick look

Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", 2016.
"""

import argparse

import torch
import torch.nn as nn
from digits import load_digits
from torch.utils.data import DataLoader, TensorDataset
from vae import draw

CODE = 64


def generator(width):
    """Codes [n, 64, 1, 1] to images [n, 1, 28, 28] in -1..1."""
    return nn.Sequential(
        nn.ConvTranspose2d(CODE, 4 * width, 4, bias=False),
        nn.BatchNorm2d(4 * width),
        nn.ReLU(True),
        nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(True),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(True),
        nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def discriminator(width):
    """Images [n, 1, 28, 28] to logits [n]: above 0 where they look real."""
    return nn.Sequential(
        nn.Conv2d(1, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(4 * width),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(4 * width, 1, 4),
        nn.Flatten(0),
    )


def initialise(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def train_step(real, make, judge, optimizers):
    """One step of both networks on a batch of real images; their losses."""
    make_optimizer, judge_optimizer = optimizers
    criterion = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
    fake = make(torch.randn(len(real), CODE, 1, 1))

    judge_optimizer.zero_grad()
    judge_loss = criterion(judge(real), ones) + criterion(judge(fake.detach()), zeros)
    judge_loss.backward()
    judge_optimizer.step()

    make_optimizer.zero_grad()
    make_loss = criterion(judge(fake), ones)
    make_loss.backward()
    make_optimizer.step()
    return judge_loss.item(), make_loss.item()


def main():
    parser = argparse.ArgumentParser(description="Trains a generative adversarial network.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16, help="channels of the widest images")
    parser.add_argument("--limit", type=int, help="use only so many training images")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    images = torch.from_numpy(load_digits()[0][: options.limit]).unsqueeze(1)
    loader = DataLoader(
        TensorDataset(images / 127.5 - 1), options.batch_size, shuffle=True, drop_last=True
    )
    networks = generator(options.width).apply(initialise), discriminator(options.width)
    make, judge = networks[0], networks[1].apply(initialise)
    optimizers = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in networks
    ]
    for epoch in range(1, options.epochs + 1):
        sums = [0.0, 0.0]
        for (real,) in loader:
            losses = train_step(real, make, judge, optimizers)
            sums = [total + loss for total, loss in zip(sums, losses, strict=True)]
        judge_loss, make_loss = (total / len(loader) for total in sums)
        print(
            f"epoch {epoch}: discriminator loss {judge_loss:.4f}, generator loss {make_loss:.4f}",
            flush=True,
        )
    make.eval()
    with torch.no_grad():
        print(draw((make(torch.randn(1, CODE, 1, 1)) + 1) / 2))


if __name__ == "__main__":
    main()
