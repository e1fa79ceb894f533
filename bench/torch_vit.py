"""Training steps of a vision transformer in PyTorch, for bench/peer_torch.py. The same shapes as models.vit."""

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Fused projection, heads, projection back. `products`: matmul, which goes to batched GEMMs, or baddbmm with the scale in it."""

    def __init__(self, dim, heads, products):
        super().__init__()
        self.heads, self.products = heads, products
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        d = c // self.heads
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d).permute(2, 0, 3, 1, 4)
        if self.products == "matmul":
            y = torch.softmax((q * d**-0.5) @ k.transpose(-2, -1), -1) @ v
        else:
            q, k, v = (part.reshape(b * self.heads, t, d) for part in (q, k, v))
            none = torch.empty(1, 1, 1, device=x.device).expand(b * self.heads, t, t)
            scores = torch.baddbmm(none, q, k.transpose(1, 2), beta=0, alpha=d**-0.5)
            y = torch.bmm(torch.softmax(scores, -1), v).view(b, self.heads, t, d)
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    def __init__(self, dim, heads, mlp, products):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim, heads, products)
        self.norm2, self.first, self.second = nn.LayerNorm(dim), nn.Linear(dim, mlp), nn.Linear(mlp, dim)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.second(F.gelu(self.first(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, dim, depth, heads, mlp, patch, products):
        super().__init__()
        self.patch = patch
        self.project = nn.Linear(patch * patch * 3, dim)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(0.02 * torch.randn((32 // patch) ** 2 + 1, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, mlp, products) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x):
        b, p, n = x.shape[0], self.patch, 32 // self.patch
        x = x.view(b, n, p, n, p, 3).transpose(2, 3).reshape(b, n * n, p * p * 3)
        x = torch.cat([self.token.expand(b, -1, -1), self.project(x)], 1) + self.positions
        return self.head(self.norm(self.blocks(x)[:, 0]))


def step(batch=128, dim=128, depth=4, heads=4, mlp=512, patch=4, products="matmul", foreach=True):
    """Forward, cross-entropy, backward and AdamW on one batch of 32x32 images, channels last."""
    model = ViT(dim, depth, heads, mlp, patch, products)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=foreach)
    x, y = torch.rand(batch, 32, 32, 3), torch.arange(batch) % 10

    def run():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


def attention(batch=128, tokens=65, heads=4, dim=32):
    """Softmax attention of one fused projection, forward and backward."""
    qkv = torch.randn(batch, tokens, 3 * heads * dim, requires_grad=True)
    weight = torch.randn(batch, tokens, heads * dim)

    def run():
        qkv.grad = None
        q, k, v = qkv.view(batch, tokens, 3, heads, dim).permute(2, 0, 3, 1, 4)
        y = torch.softmax((q * dim**-0.5) @ k.transpose(-2, -1), -1) @ v
        y.transpose(1, 2).reshape(batch, tokens, heads * dim).backward(weight)

    return run
