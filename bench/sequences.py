"""Networks that are trained on sequences of many lengths, for any library with PyTorch's API."""


def gpt(torch, layers=4, width=64, heads=4, vocabulary=128):
    """A language model: its loss, its parameters, and what gives arguments of a length."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x):
            batch, length, _ = x.shape
            parts = self.qkv(self.norm1(x)).chunk(3, dim=2)
            q, k, v = (p.view(batch, length, heads, -1).transpose(1, 2) for p in parts)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(256, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

        def forward(self, x):
            places = self.places(torch.arange(x.shape[1]))
            return self.head(self.norm(self.blocks(self.tokens(x) + places)))

    def inputs(length):
        return tuple(torch.randint(0, vocabulary, (2, length)) for _ in range(2))

    model = GPT()
    return (
        lambda x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten()),
        model.parameters(),
        inputs,
    )


def lstm(torch):
    """A classifier of sequences."""
    nn, F = torch.nn, torch.nn.functional
    layer, head = nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 4)

    def inputs(length):
        return torch.randn(4, length, 16), torch.randint(0, 4, (4,))

    return (
        lambda x, y: F.cross_entropy(head(layer(x)[0].mean(1)), y),
        [*layer.parameters(), *head.parameters()],
        inputs,
    )


def mlp(torch):
    """A small network on batches of this size."""
    nn, F = torch.nn, torch.nn.functional
    model = nn.Sequential(
        nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)
    )

    def inputs(length):
        return torch.randn(length, 32), torch.randint(0, 8, (length,))

    return lambda x, y: F.cross_entropy(model(x), y), model.parameters(), inputs


def trained(torch, make, compiled=None):
    """A training step, and what gives its arguments. `compiled` is applied to the loss."""
    loss, parameters, inputs = make(torch)
    loss = compiled(loss) if compiled else loss
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)

    def step(x, y):
        optimizer.zero_grad()
        value = loss(x, y)
        value.backward()
        optimizer.step()
        return value

    return step, inputs


NETWORKS = {"mlp": mlp, "gpt": gpt, "lstm": lstm}
