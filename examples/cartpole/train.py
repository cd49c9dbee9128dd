"""Learns to balance a pole on a cart, by REINFORCE or with an actor and a critic.

python train.py
python train.py --method actor-critic
python train.py --episodes 20 # a quick look

Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning", 1992. The cart is that of Barto, Sutton and Anderson, "Neuronlike Adaptive Elements
That Can Solve Difficult Learning Control Problems", 1983.
"""

import argparse
import math
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Categorical


class CartPole:
    """The cart's place and speed, the pole's angle and its speed; falls beyond 12 degrees."""

    GRAVITY, CART, POLE, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5
    FORCE, TICK = 10.0, 0.02
    FURTHEST, STEEPEST = 2.4, math.radians(12)

    def __init__(self, seed):
        self.random = random.Random(seed)

    def reset(self):
        self.state = [self.random.uniform(-0.05, 0.05) for _ in range(4)]
        return self.state

    def step(self, action):
        """Pushes left (0) or right (1) for a tick; the new state and whether it is over."""
        _, speed, angle, turning = self.state
        force = self.FORCE if action else -self.FORCE
        mass = self.CART + self.POLE
        sine, cosine = math.sin(angle), math.cos(angle)
        pushed = (force + self.POLE * self.HALF_LENGTH * turning**2 * sine) / mass
        turn = (self.GRAVITY * sine - cosine * pushed) / (
            self.HALF_LENGTH * (4 / 3 - self.POLE * cosine**2 / mass)
        )
        gain = pushed - self.POLE * self.HALF_LENGTH * turn * cosine / mass
        rates = (speed, gain, turning, turn)
        self.state = [now + self.TICK * rate for now, rate in zip(self.state, rates, strict=True)]
        over = abs(self.state[0]) > self.FURTHEST or abs(self.state[2]) > self.STEEPEST
        return self.state, over


class Policy(nn.Module):
    """States [4] to the logits of the two actions, and the state's value."""

    def __init__(self, hidden=128):
        super().__init__()
        self.shared = nn.Linear(4, hidden)
        self.action, self.value = nn.Linear(hidden, 2), nn.Linear(hidden, 1)

    def forward(self, state):
        features = F.relu(self.shared(state))
        return self.action(features), self.value(features).squeeze(-1)


def play(world, policy, longest):
    """One episode: the log-probabilities of what was done, and the values of the states."""
    state, chances, values = world.reset(), [], []
    for _ in range(longest):
        logits, value = policy(torch.tensor(state))
        choice = Categorical(logits=logits)
        action = choice.sample()
        chances.append(choice.log_prob(action))
        values.append(value)
        state, over = world.step(action.item())
        if over:
            break
    return torch.stack(chances), torch.stack(values)


def returns_of(ticks, gamma):
    """What an episode of one reward each tick brings from each tick on, standardised."""
    returns, total = [], 0.0
    for _ in range(ticks):
        total = 1 + gamma * total
        returns.append(total)
    returns = torch.tensor(returns[::-1])
    return (returns - returns.mean()) / (returns.std() + 1e-6)


def loss_of(chances, values, method, gamma):
    returns = returns_of(len(chances), gamma)
    if method == "reinforce":
        return -(chances * returns).sum()
    advantages = returns - values.detach()
    return -(chances * advantages).sum() + F.smooth_l1_loss(values, returns, reduction="sum")


def main():
    parser = argparse.ArgumentParser(description="Learns to balance a pole on a cart.")
    parser.add_argument("--method", default="reinforce", choices=("reinforce", "actor-critic"))
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--longest", type=int, default=500, help="ticks of an episode")
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--report-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    world, policy = CartPole(options.seed), Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)
    average = 10.0
    for episode in range(1, options.episodes + 1):
        chances, values = play(world, policy, options.longest)
        average = 0.95 * average + 0.05 * len(chances)
        optimizer.zero_grad()
        loss = loss_of(chances, values, options.method, options.gamma)
        loss.backward()
        optimizer.step()
        if episode % options.report_every == 0 or episode == options.episodes:
            print(
                f"episode {episode}: loss {loss.item():.4f}, {len(chances)} ticks, "
                f"{average:.1f} on average",
                flush=True,
            )


if __name__ == "__main__":
    main()
