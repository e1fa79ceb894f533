"""A ResNet on long-tailed pictures in PyTorch, for bench/calibrate.mjs: torch_longtail.py FOLDER, then a request on stdin.

FOLDER has train.npy u8 [N, H, W, C], train_labels.npy i32 [N], test.npy, test_labels.npy. The request, one JSON object: depth, seed,
batch, rates (learning rate of every step), momentum, decay, loss (ce, balanced-softmax or ldam-drw), scale and shift per channel,
padding, flip, threads, device (cpu or cuda). Answers {"recall": [per class], "top1": share}.
"""

import json
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from torch_resnet import ResNet

folder, job = sys.argv[1], json.loads(sys.stdin.read())
torch.set_num_threads(job["threads"])
device = torch.device(job["device"])
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
torch.manual_seed(job["seed"])
rng = np.random.default_rng(job["seed"])


def load(name):
    return np.load(f"{folder}/{name}.npy")


x, y, test_x, test_y = load("train"), load("train_labels"), load("test"), load("test_labels")
counts = np.bincount(y)
scale, shift = (np.asarray(job[name], dtype=np.float32) for name in ("scale", "shift"))


def batch_of(pictures):
    """u8 [B, H, W, C] as normalised f32 in channels-last memory."""
    return torch.from_numpy(pictures * scale + shift).to(device).permute(0, 3, 1, 2)


def augmented(pictures):
    """A random shift with black pixels coming in, and a random mirror image, per picture."""
    p, (n, h, w, _) = job["padding"], pictures.shape
    wide = np.pad(pictures, ((0, 0), (p, p), (p, p), (0, 0)))
    top, left, flip = rng.integers(0, 2 * p + 1, n), rng.integers(0, 2 * p + 1, n), rng.random(n) < job["flip"]
    out = np.empty_like(pictures)
    for i in range(n):
        cut = wide[i, top[i] : top[i] + h, left[i] : left[i] + w]
        out[i] = cut[:, ::-1] if flip[i] else cut
    return out


class Cosine(nn.Module):
    """Cosines between features and class weights."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, inputs))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def forward(self, features):
        return F.linear(F.normalize(features), F.normalize(self.weight))


model = ResNet(job["depth"])
for module in model.modules():
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
nn.init.kaiming_uniform_(model.head.weight, nonlinearity="relu")
nn.init.zeros_(model.head.bias)
if job["loss"] == "ldam-drw":
    model.head = Cosine(model.head.in_features, len(counts))
model = model.to(device, memory_format=torch.channels_last)

priors = torch.log(torch.from_numpy(counts / counts.sum()).float()).to(device)
margins = torch.from_numpy(counts**-0.25 / (counts**-0.25).max() * 0.5).float().to(device)
effective = 1 / (1 - 0.9999**counts)
effective = torch.from_numpy(effective / effective.sum() * len(counts)).float().to(device)


def loss_of(logits, labels, epoch, epochs):
    if job["loss"] == "balanced-softmax":
        return F.cross_entropy(logits + priors, labels)
    if job["loss"] == "ldam-drw":
        weights = effective if epoch >= int(0.8 * epochs) else None
        return F.cross_entropy(30 * (logits - F.one_hot(labels, len(counts)) * margins[labels, None]), labels, weights)
    return F.cross_entropy(logits, labels)


rates, batch = job["rates"], job["batch"]
steps = -(-len(x) // batch)
epochs = len(rates) // steps
optimizer = torch.optim.SGD(model.parameters(), lr=rates[0], momentum=job["momentum"], weight_decay=job["decay"])
for epoch in range(epochs):
    order = rng.permutation(len(x))
    for step in range(steps):
        rows = order[step * batch : (step + 1) * batch]
        optimizer.param_groups[0]["lr"] = rates[epoch * steps + step]
        optimizer.zero_grad(set_to_none=True)
        labels = torch.from_numpy(y[rows]).long().to(device)
        loss_of(model(batch_of(augmented(x[rows]))), labels, epoch, epochs).backward()
        optimizer.step()

model.eval()
with torch.no_grad():
    guesses = np.concatenate([model(batch_of(test_x[i : i + 500])).argmax(1).cpu().numpy() for i in range(0, len(test_x), 500)])
hits = guesses == test_y
print(json.dumps({"top1": hits.mean(), "recall": [hits[test_y == c].mean() for c in range(len(counts))]}))
