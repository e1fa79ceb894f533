"""Makes models.json, the fixtures of models.test.ts, with PyTorch (Debian's python3-torch): 20 steps of SGD of small networks of each
kind. First weights and inputs come from a generator that both sides have, so that the file holds results only.
Run: /usr/bin/python3 test/parity/make_model_fixtures.py. The tests themselves need no Python."""
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

IMAGE, CLASSES, BATCH, STEPS = (8, 8, 3), 3, 8, 20


def numbers(name, shape):
    """In -1..1, from a linear congruential generator that starts from the name."""
    state = 0
    for char in name:
        state = (state * 31 + ord(char)) % 2**32
    out = []
    for _ in range(torch.Size(shape).numel()):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(state / 2**31 - 1)
    return torch.tensor(out, dtype=torch.float64).reshape(shape)


class NormRelu(nn.BatchNorm2d):
    def forward(self, x):
        return F.relu(super().forward(x))


class Pictures(nn.Module):
    """NHWC to NCHW, with a rim of zeros."""

    def __init__(self, rim=0):
        super().__init__()
        self.rim = rim

    def forward(self, x):
        return F.pad(x.permute(0, 3, 1, 2), [self.rim] * 4)


class Pool(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


def conv(inputs, outputs, kernel=3, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def convnet(channels, rim=0):
    layers, before = [Pictures(rim)], IMAGE[2]
    for c in channels:
        if c == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [conv(before, c), NormRelu(c)]
            before = c
    return nn.Sequential(*layers, Pool(), nn.Linear(before, CLASSES))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.more, self.stride = (outputs - inputs) // 2, stride

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], [0, 0, 0, 0, self.more, self.more]))


class PreActivationBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.norm1, self.conv1 = NormRelu(inputs), conv(inputs, outputs, 3, stride)
        self.norm2, self.conv2 = NormRelu(outputs), conv(outputs, outputs)
        self.shortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x):
        a = self.norm1(x)
        return self.conv2(self.norm2(self.conv1(a))) + (self.shortcut(a) if self.shortcut else x)


class Residuals(nn.Module):
    """Both ResNets: stem, three stages, pooling, linear."""

    def __init__(self, block, width, stages, per_stage, norm):
        super().__init__()
        self.conv = conv(IMAGE[2], width)
        before, blocks = width, []
        for stage, channels in enumerate(stages):
            for i in range(per_stage):
                blocks.append(block(before, channels, 2 if i == 0 and stage > 0 else 1))
                before = channels
        self.blocks = nn.ModuleList(blocks)
        self.norm = NormRelu({"first": width, "last": before}[norm])
        self.classifier = nn.Linear(before, CLASSES)
        self.last = norm == "last"

    def forward(self, x):
        y = self.conv(x.permute(0, 3, 1, 2))
        y = y if self.last else self.norm(y)
        for block in self.blocks:
            y = block(y)
        y = self.norm(y) if self.last else y
        return self.classifier(y.mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, *branch):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x):
        return x + self.branch(x)


class FeedForward(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.first, self.second = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x):
        return self.second(F.gelu(self.first(x)))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.mha = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        return self.mha(x, x, x, need_weights=False)[0]


class Across(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.transpose(1, 2)).transpose(1, 2)


class Vector(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*shape))


class Patches(nn.Module):
    def __init__(self, patch, dim):
        super().__init__()
        self.projection = nn.Conv2d(IMAGE[2], dim, patch, patch)

    def forward(self, x):
        return self.projection(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)


class Vit(nn.Module):
    def __init__(self, dim, depth, heads, mlp):
        super().__init__()
        self.patches, self.token, self.positions = Patches(4, dim), Vector(dim), Vector(5, dim)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Residual(nn.LayerNorm(dim), Attention(dim, heads)), Residual(nn.LayerNorm(dim), FeedForward(dim, mlp))
            )
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def forward(self, x):
        y = self.patches(x)
        y = torch.cat([self.token.weight.expand(len(y), 1, -1), y], 1) + self.positions.weight
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y)[:, 0])


class Mixer(nn.Module):
    def __init__(self, dim, depth, tokens, channels):
        super().__init__()
        self.patches = Patches(4, dim)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Residual(nn.LayerNorm(dim), Across(FeedForward(4, tokens))),
                Residual(nn.LayerNorm(dim), FeedForward(dim, channels)),
            )
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def forward(self, x):
        y = self.patches(x)
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y).mean(1))


NORMS = {"weight": "gamma", "bias": "beta", "running_mean": "runningMean", "running_var": "runningVar"}


def entries(net):
    """The state by our names: tensor, how it comes to our layout, and how it comes back."""
    same = lambda t: t
    out = {}
    for path, module in net.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, t in own:
            if name == "num_batches_tracked":
                continue
            ours, there, back = name, same, same
            if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
                ours = NORMS[name]
            if t.dim() == 4:
                there = lambda t: t.permute(0, 2, 3, 1)
                back = lambda t: t.permute(0, 3, 1, 2)
                if path.startswith("patches"):
                    o, c, h, w = t.shape
                    there = lambda t: t.permute(0, 2, 3, 1).reshape(t.shape[0], -1)
                    back = lambda t, o=o, c=c, h=h, w=w: t.reshape(o, h, w, c).permute(0, 3, 1, 2)
            if isinstance(module, nn.MultiheadAttention):
                # q, k, v of all heads one after another; ours are q, k, v of one head after another.
                h = module.num_heads
                there = lambda t, h=h: t.reshape(3, h, -1, *t.shape[1:]).transpose(0, 1).reshape(t.shape)
                back = lambda t, h=h: t.reshape(h, 3, -1, *t.shape[1:]).transpose(0, 1).reshape(t.shape)
                ours = name.replace("in_proj_", "qkv.")
            full = f"{path}.{ours}".replace("mha.out_proj", "out").replace("mha.", "")
            out[full] = (t, there, back)
    return out


def first(name, shape):
    """First value of an array of that name; the same rule is in models.test.ts."""
    last = name.split(".")[-1]
    u = numbers(name, shape)
    if last == "runningMean":
        return u * 0
    if last == "runningVar":
        return u * 0 + 1
    if last == "gamma":
        return 1 + 0.1 * u
    if len(shape) < 2 or name.startswith("positions"):
        return 0.1 * u
    return u * (3 / (u.numel() / shape[0])) ** 0.5


def run(net, image=IMAGE):
    state = entries(net)
    with torch.no_grad():
        for name, (t, there, back) in state.items():
            t.copy_(back(first(name, list(there(t).shape))).float())
    x = (1.7 * numbers("x", [2 * BATCH, *image])).float()
    y = torch.arange(2 * BATCH) % CLASSES
    net.eval()
    logits = net(x[:2]).flatten().tolist()
    net.train()
    free = [t for name, (t, _, _) in state.items() if name.startswith(("token", "positions"))]
    rest = [p for p in net.parameters() if not any(p is t for t in free)]
    groups = [{"params": rest, "weight_decay": 5e-4}, {"params": free, "weight_decay": 0}]
    optimizer = torch.optim.SGD([g for g in groups if g["params"]], lr=0.02, momentum=0.9)
    losses = []
    for step in range(STEPS):
        rows = slice(step % 2 * BATCH, (step % 2 + 1) * BATCH)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    net.eval()
    last = {}
    for name, (t, there, _) in state.items():
        v = there(t.detach()).double().flatten()
        # Sum, sum of the squares, and the last element.
        last[name] = [round(n, 6) for n in (v.sum().item(), (v * v).sum().item(), v[-1].item())]
    return {
        "image": image,
        "parameters": sum(p.numel() for p in net.parameters()),
        "logits": [round(n, 6) for n in logits],
        "losses": [round(n, 6) for n in losses],
        "after": [round(n, 6) for n in net(x[:2]).flatten().tolist()],
        "last": last,
    }


def main():
    torch.set_num_threads(1)
    a, b, c, d = 2, 4, 8, 16
    models = {
        "convnet": convnet([4, "pool", 6]),
        "vgg11": convnet([a, "pool", b, "pool", c, c, "pool", d, d, "pool", d, d, "pool"], rim=1),
        "resnet": Residuals(BasicBlock, 4, [4, 8, 16], 2, "first"),
        "wrn": Residuals(PreActivationBlock, 4, [8, 16, 32], 1, "last"),
        "vit": Vit(16, 2, 2, 24),
        "mixer": Mixer(16, 2, 6, 24),
    }
    out = {"torch": torch.__version__, "classes": CLASSES, "batch": BATCH}
    out["models"] = {name: run(net, (30, 30, 3) if name == "vgg11" else IMAGE) for name, net in models.items()}
    path = Path(__file__).with_name("models.json")
    path.write_text(json.dumps(out) + "\n")
    print(path, path.stat().st_size, {k: v["losses"][::6] for k, v in out["models"].items()})


main()
