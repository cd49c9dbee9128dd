"""Trains graph networks to tell the two sides of a club that split.

python train.py                # graph convolutions
python train.py --model gat    # attention over neighbours

The graph is the karate club of W. W. Zachary, "An Information Flow Model for Conflict and Fission
in Small Groups", 1977: who met whom outside, and whom each followed in the end. Only the sides of
the two leaders are told; the network finds the others'. Kipf and Welling, "Semi-Supervised
Classification with Graph Convolutional Networks", 2017; Velickovic et al., "Graph Attention
Networks", 2018.
"""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F

MEMBERS = 34
MET = {
    0: (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31),
    1: (2, 3, 7, 13, 17, 19, 21, 30),
    2: (3, 7, 8, 9, 13, 27, 28, 32),
    3: (7, 12, 13),
    4: (6, 10),
    5: (6, 10, 16),
    6: (16,),
    8: (30, 32, 33),
    9: (33,),
    13: (33,),
    14: (32, 33),
    15: (32, 33),
    18: (32, 33),
    19: (33,),
    20: (32, 33),
    22: (32, 33),
    23: (25, 27, 29, 32, 33),
    24: (25, 27, 31),
    25: (31,),
    26: (29, 33),
    27: (33,),
    28: (31, 33),
    29: (32, 33),
    30: (32, 33),
    31: (32, 33),
    32: (33,),
}
SECOND_SIDE = (9, 14, 15, 18, 20, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33)
LEADERS = torch.tensor([0, 33])


def edges():
    """Sources and targets [2, n]: both ways, and each member to itself."""
    pairs = [(one, other) for one, others in MET.items() for other in others]
    pairs += [(other, one) for one, other in pairs] + [(one, one) for one in range(MEMBERS)]
    return torch.tensor(pairs).t()


class Convolution(nn.Module):
    """Sums over neighbours, each weighted by the degrees of both ends; [n, in] to [n, out]."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x, edges):
        sources, targets = edges
        degrees = torch.bincount(targets, minlength=len(x)).float()
        shares = (degrees[sources] * degrees[targets]).rsqrt()
        messages = (x @ self.weight)[sources] * shares.unsqueeze(1)
        return torch.zeros(len(x), len(self.bias)).index_add(0, targets, messages) + self.bias


class Attention(nn.Module):
    """Means over neighbours, weighted by what both ends hold; heads lie beside each other."""

    def __init__(self, inputs, outputs, heads):
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(inputs, heads * outputs, bias=False)
        self.source = nn.Parameter(nn.init.xavier_normal_(torch.empty(heads, outputs)))
        self.target = nn.Parameter(nn.init.xavier_normal_(torch.empty(heads, outputs)))

    def forward(self, x, edges):
        sources, targets = edges
        x = self.project(x).unflatten(1, (self.heads, -1))
        scores = (x * self.source).sum(-1)[sources] + (x * self.target).sum(-1)[targets]
        weights = self.softmax(F.leaky_relu(scores, 0.2), targets, len(x))
        messages = x[sources] * weights.unsqueeze(-1)
        return torch.zeros_like(x).index_add_(0, targets, messages).flatten(1)

    def softmax(self, scores, targets, count):
        """Over the edges that end in the same member."""
        places = targets.unsqueeze(1).expand_as(scores)
        lowest = torch.full((count, self.heads), float("-inf"))
        highest = lowest.scatter_reduce(0, places, scores, "amax")
        powers = (scores - highest[targets]).exp()
        sums = torch.zeros(count, self.heads).scatter_add(0, places, powers)
        return powers / sums[targets]


class Network(nn.Module):
    """Two layers on a graph; features [n, in] to log-probabilities [n, 2]."""

    def __init__(self, model, inputs):
        super().__init__()
        if model == "gcn":
            self.first, self.second = Convolution(inputs, 16), Convolution(16, 2)
        else:
            self.first, self.second = Attention(inputs, 8, 4), Attention(32, 2, 1)

    def forward(self, x, edges):
        x = F.dropout(F.elu(self.first(x, edges)), 0.5, self.training)
        return F.log_softmax(self.second(x, edges), dim=1)


def main():
    parser = argparse.ArgumentParser(description="Trains a graph network on the karate club.")
    parser.add_argument("--model", default="gcn", choices=("gcn", "gat"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--report-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    graph, features = edges(), torch.eye(MEMBERS)
    sides = torch.zeros(MEMBERS, dtype=torch.long)
    sides[list(SECOND_SIDE)] = 1
    model = Network(options.model, MEMBERS)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for step in range(1, options.steps + 1):
        model.train()
        optimizer.zero_grad()
        loss = F.nll_loss(model(features, graph)[LEADERS], sides[LEADERS])
        loss.backward()
        optimizer.step()
        if step % options.report_every == 0 or step == options.steps:
            model.eval()
            with torch.no_grad():
                right = (model(features, graph).argmax(1) == sides).sum().item()
            print(f"step {step}: loss {loss.item():.4f}, {right} of {MEMBERS} are on their side")


if __name__ == "__main__":
    main()
