"""Trains two LSTM cells to continue sine waves, in float64, by L-BFGS.

python train.py
python train.py --steps 3 --waves 20 # a quick look
"""

import argparse

import torch
import torch.nn as nn


class Continuation(nn.Module):
    """Waves [n, time] to the next values [n, time + future]: each output is the next input."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.first, self.second = nn.LSTMCell(1, width), nn.LSTMCell(width, width)
        self.head = nn.Linear(width, 1)

    def forward(self, waves, future=0):
        states = [tuple(waves.new_zeros(2, len(waves), self.width)) for _ in range(2)]
        outputs = []
        for value in waves.split(1, dim=1):
            outputs.append(self.step(value, states))
        for _ in range(future):
            outputs.append(self.step(outputs[-1], states))
        return torch.cat(outputs, dim=1)

    def step(self, value, states):
        states[0] = self.first(value, states[0])
        states[1] = self.second(states[0][0], states[1])
        return self.head(states[1][0])


def make_waves(count, length):
    """Sine waves [count, length] in float64, each with a phase of its own."""
    phases = torch.randint(-80, 80, (count, 1))
    return torch.sin((torch.arange(length) + phases).double() / 20)


def main():
    parser = argparse.ArgumentParser(description="Trains LSTM cells to continue sine waves.")
    parser.add_argument("--steps", type=int, default=8, help="of L-BFGS, 20 iterations each")
    parser.add_argument("--waves", type=int, default=50)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    train = make_waves(options.waves, options.length)
    test = make_waves(3, 2 * options.length)
    model = Continuation(options.width).double()
    criterion = nn.MSELoss()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.8)

    def closure():
        optimizer.zero_grad()
        loss = criterion(model(train[:, :-1]), train[:, 1:])
        loss.backward()
        return loss

    for step in range(1, options.steps + 1):
        loss = optimizer.step(closure)
        with torch.no_grad():  # what is continued from the first half
            continued = model(test[:, : options.length], options.length)
            test_loss = criterion(continued[:, :-1], test[:, 1:])
        print(
            f"step {step}: training loss {loss.item():.6f}, test loss {test_loss.item():.6f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
