"""Trains a small convolutional network on handwritten digits.

python train.py                        # the 10,000 digits beside this script
python train.py --data ~/mnist         # the full IDX files
python train.py --epochs 1 --limit 640 # a quick look
"""

import argparse
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from digits import DataError, load_digits
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

PIXEL_MEAN = 0.1307  # over MNIST's training images, as fractions of 255
PIXEL_DEVIATION = 0.3081


class DigitNet(nn.Module):
    """Two convolutions, two linear layers; [n, 1, 28, 28] to log-probabilities [n, 10]."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.hidden = nn.Linear(64 * 5 * 5, 128)
        self.output = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(self.dropout1(x), 1)
        x = self.dropout2(F.relu(self.hidden(x)))
        return F.log_softmax(self.output(x), dim=1)


class ProgressBar:
    """A bar on stderr that redraws its own line; silent when stderr is not a terminal."""

    WIDTH = 30
    INTERVAL = 0.1  # seconds between redraws

    def __init__(self, title, total):
        self.title, self.total, self.done = title, total, 0
        self.start = time.perf_counter()
        self.next_draw = 0.0
        self.visible = sys.stderr.isatty()

    def wants_note(self):
        """Whether a redraw is due, so that the caller need not compute a note for nothing."""
        return self.visible and time.perf_counter() >= self.next_draw

    def advance(self, note=""):
        self.done += 1
        if not self.wants_note() and self.done < self.total:
            return
        self.draw(note)

    def draw(self, note):
        if not self.visible:
            return
        now = time.perf_counter()
        self.next_draw = now + self.INTERVAL
        filled = self.WIDTH * self.done // self.total
        bar = "#" * filled + "." * (self.WIDTH - filled)
        rate = self.done / max(now - self.start, 1e-9)
        line = f"{self.title} [{bar}] {self.done}/{self.total}  {rate:.1f} batches/s  {note}"
        sys.stderr.write("\r\x1b[K" + line)
        sys.stderr.flush()

    def close(self):
        if self.visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def dataset(images, labels, limit):
    """uint8 images [n, 28, 28] and labels [n] as a dataset of normalised tensors."""
    if limit:
        images, labels = images[:limit], labels[:limit]
    pixels = torch.from_numpy(images).unsqueeze(1).float() / 255
    return TensorDataset((pixels - PIXEL_MEAN) / PIXEL_DEVIATION, torch.from_numpy(labels).long())


def train_epoch(model, loader, optimizer, title):
    """One pass over the training data; the mean loss."""
    model.train()
    bar = ProgressBar(title, len(loader))
    total, count = 0.0, 0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.nll_loss(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        count += len(labels)
        bar.advance(f"loss {total / count:.4f}" if bar.wants_note() else "")
    bar.close()
    return total / count


def evaluate(model, loader):
    """Mean loss and accuracy on a loader's data."""
    model.eval()
    loss, correct, count = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in loader:
            scores = model(images)
            loss += F.nll_loss(scores, labels, reduction="sum").item()
            correct += (scores.argmax(dim=1) == labels).sum().item()
            count += len(labels)
    return loss / count, correct / count


def parse_options():
    parser = argparse.ArgumentParser(description="Trains a small network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate (default: 0.002)")
    parser.add_argument("--gamma", type=float, default=0.6, help="its factor after each epoch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", metavar="DIR", help="a directory with MNIST's four IDX files")
    parser.add_argument("--limit", type=int, help="use only so many training and test images")
    parser.add_argument("--checkpoint", default="mnist_cnn.pt", help="where to save the model")
    options = parser.parse_args()
    for name in ("epochs", "batch_size", "limit"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    return options


def save_and_reload(model, optimizer, options, accuracy):
    """Saves a checkpoint and returns a fresh model that was loaded from it."""
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epochs": options.epochs,
            "accuracy": accuracy,
        },
        options.checkpoint,
    )
    reloaded = DigitNet()
    reloaded.load_state_dict(torch.load(options.checkpoint)["model"])
    return reloaded


def main():
    options = parse_options()
    torch.manual_seed(options.seed)
    try:
        train_images, train_labels, test_images, test_labels = load_digits(options.data)
    except DataError as error:
        sys.exit(f"train.py: {error}")
    train_set = dataset(train_images, train_labels, options.limit)
    test_set = dataset(test_images, test_labels, options.limit)
    train_loader = DataLoader(train_set, batch_size=options.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=500)

    model = DigitNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    scheduler = StepLR(optimizer, step_size=1, gamma=options.gamma)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{len(train_set)} training images, {len(test_set)} test images, {parameters} parameters")

    begin = time.perf_counter()
    accuracy = 0.0
    for epoch in range(1, options.epochs + 1):
        start = time.perf_counter()
        train_loss = train_epoch(model, train_loader, optimizer, f"epoch {epoch}")
        scheduler.step()
        test_loss, accuracy = evaluate(model, test_loader)
        seconds = time.perf_counter() - start
        print(
            f"epoch {epoch}: training loss {train_loss:.4f}, test loss {test_loss:.4f}, "
            f"test accuracy {accuracy:.2%}, {seconds:.1f} s",
            flush=True,
        )
    print(f"trained in {time.perf_counter() - begin:.1f} s")

    reloaded = save_and_reload(model, optimizer, options, accuracy)
    reloaded_accuracy = evaluate(reloaded, test_loader)[1]
    if reloaded_accuracy != accuracy:
        sys.exit(f"the reloaded model differs: {reloaded_accuracy:.2%} instead of {accuracy:.2%}")
    print(f"saved {options.checkpoint}; reloaded, it scores {reloaded_accuracy:.2%} as well")


if __name__ == "__main__":
    main()
