"""Training steps of the CIFAR ResNets in PyTorch, for bench/peer_torch.py."""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3x3 convolutions; the shortcut subsamples and pads the channels with zeros (option A)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.added:
            half = self.added // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.added - half))
        return F.relu(y + x, inplace=True)


class ResNet(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        blocks, width = [], 16
        for outputs in (16, 32, 64):
            for i in range((depth - 2) // 6):
                blocks.append(Block(width, outputs, 2 if i == 0 and outputs > 16 else 1))
                width = outputs
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn(self.stem(x)), inplace=True))
        return self.head(x.mean((2, 3)))


def step(depth, batch, channels_last, foreach):
    """Forward, cross-entropy, backward and SGD with momentum on one batch of 32x32 images."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = ResNet(depth).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, foreach=foreach)
    x, y = torch.rand(batch, 3, 32, 32).to(memory_format=layout), torch.arange(batch) % 10

    def run():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run
