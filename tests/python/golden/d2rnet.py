"""Golden values of D2R-Net's visual modules and of its alignment.

CPCA and the region network are published; the lesion enhancement is HCF-Net's PPA (the literal form), the similarity is
NAAF's, both written here from their equations with every context vector built; BERT is transformers' own.

    python tests/python/golden/d2rnet.py        writes batch/golden/reporter/d2rnet.json and batch/golden/align/align.json
"""

import math
from pathlib import Path

import formula
import torch
import torch.nn.functional as F
from formula import image, parameter, plain, sampled, signed
from transformers import BertConfig, BertModel

ROOT = Path(__file__).parents[3]
REGION_WIDTH, REGION_SIZE = 4, 96
BERT = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}


def conv(name: str, x: torch.Tensor, shape: tuple[int, ...], bias: bool = True, **options) -> torch.Tensor:
    weight = parameter(f"{name}.weight", shape, {}).double()
    offset = parameter(f"{name}.bias", shape[:1], {}).double() if bias else None
    return (F.conv1d if len(shape) == 3 else F.conv2d)(x, weight, offset, **options)


def batch_norm(name: str, x: torch.Tensor) -> torch.Tensor:
    values = [parameter(f"{name}.{n}", (x.shape[1],), {}).double() for n in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *values, training=False)


def cpca(x: torch.Tensor) -> torch.Tensor:
    c = x.shape[1]

    def point(v):
        return conv("cpca.conv", v, (c, c, 1, 1))

    def attention(pooled):
        hidden = F.relu(conv("cpca.ca.fc1", pooled, (c // 4, c, 1, 1)))
        return torch.sigmoid(conv("cpca.ca.fc2", hidden, (c, c // 4, 1, 1)))

    u = F.gelu(point(x))
    v = (attention(F.adaptive_avg_pool2d(u, 1)) + attention(F.adaptive_max_pool2d(u, 1))) * u
    base = conv("cpca.dconv5_5", v, (c, 1, 5, 5), padding=2, groups=c)
    s = base
    for k in (7, 11, 21):
        across = conv(f"cpca.dconv1_{k}", base, (c, 1, 1, k), padding=(0, k // 2), groups=c)
        s = s + conv(f"cpca.dconv{k}_1", across, (c, 1, k, 1), padding=(k // 2, 0), groups=c)
    return point(point(s) * v)


def region_network(x: torch.Tensor) -> torch.Tensor:
    """Five unpadded convolutions and the mean; then our projection."""
    width = REGION_WIDTH
    for i in range(5):
        shape = (width << i, x.shape[1], 3, 3)
        x = F.relu(batch_norm(f"bn{i + 1}", conv(f"conv{i + 1}", x, shape, stride=1 if i == 0 else 2)))
    pooled = x.mean((2, 3))
    return F.linear(pooled, parameter("fc.weight", (8, width << 4), {}).double(), parameter("fc.bias", (8,), {}).double())


def patch_attention(name: str, x: torch.Tensor, side: int, hidden: int, literal: bool) -> torch.Tensor:
    b, c, h, w = x.shape

    def dense(n, v, outputs):
        weight = parameter(f"{name}.{n}.weight", (outputs, v.shape[-1]), {}).double()
        return F.linear(v, weight, parameter(f"{name}.{n}.bias", (outputs,), {}).double())

    tokens = []
    for row in range(0, h, side):
        for column in range(0, w, side):
            patch = x[:, :, row : row + side, column : column + side]
            if literal:
                tokens.append(patch.reshape(b, c * side * side).reshape(b, side * side, c).mean(-1))
            else:
                tokens.append(patch.mean(1).reshape(b, side * side))
    t = dense("mlp1", torch.stack(tokens, 1), hidden)
    scale, shift = (parameter(f"{name}.norm.{n}", (hidden,), {}).double() for n in ("weight", "bias"))
    t = dense("mlp2", F.layer_norm(t, (hidden,), scale, shift), c)
    t = t * t.softmax(-1)
    prompt = parameter(f"{name}.prompt", (c,), {}).double()
    gate = (F.normalize(t, dim=-1) * F.normalize(prompt, dim=0)).sum(-1, keepdim=True).clamp(0, 1)
    t = (gate * t) @ parameter(f"{name}.top_down_transform", (c, c), {}).double()
    grid = t.transpose(1, 2).reshape(b, c, h // side, w // side)
    return conv(f"{name}.conv", F.interpolate(grid, scale_factor=side, mode="bilinear"), (c, c, 1, 1))


def lesion_enhancement(x: torch.Tensor, c: int, literal: bool) -> torch.Tensor:
    def block(name, v, k):
        return batch_norm(f"{name}.norm", conv(f"{name}.conv", v, (c, v.shape[1], k, k), padding=k // 2))

    hidden = c // 2 if literal else max(c // 2, 8)
    skip = block("skip", x, 1)
    one = F.relu(block("c1", x, 3))
    two = F.relu(block("c2", one, 3))
    three = F.relu(block("c3", two, 3))
    z = one + two + three + skip
    for side in (2, 4):
        z = z + patch_attention(f"lga{side}", skip, side, hidden, literal)
    k = int((math.log2(c) + 1) / 2)
    k = k if k % 2 else k + 1
    means = z.mean((2, 3)).unsqueeze(1)
    z = z * torch.sigmoid(conv("cn.conv.0", means, (1, 1, k), bias=False, padding=k // 2)).transpose(1, 2).unsqueeze(-1)
    places = torch.cat([z.mean(1, keepdim=True), z.amax(1, keepdim=True)], 1)
    z = z * torch.sigmoid(conv("sa.conv2d", places, (1, 2, 7, 7), padding=3))
    return F.relu(batch_norm("bn1", z))


def similarity(v: torch.Tensor, w: torch.Tensor, temperature: float, boundary: float) -> float:
    """One image (R x D) and one text (L x D) of unit vectors, the context of every word built."""
    s = w @ v.T
    missed = (s.amax(1) - boundary).clamp(max=0)
    mask = (s > boundary).double()
    weights = torch.exp(temperature * (s - boundary)) * mask
    context = (weights / (weights.sum(1, keepdim=True) + 1e-8)) @ v
    fitting = (w * context).sum(1) / context.norm(dim=1).clamp(min=1e-8)
    rectified = F.leaky_relu(s, 0.1)
    relative = rectified / rectified.norm(dim=0, keepdim=True).clamp(min=1e-8)
    relevance = ((temperature * relative).softmax(1) * s).sum(1)
    return (missed + fitting + relevance).mean().item()


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    x = signed(7, (2, 8, 12, 12)).double()
    crops = image(11, (2, 3, REGION_SIZE, REGION_SIZE)).double()
    small = image(12, (2, 3, 16, 16)).double()
    formula.FOLDER = ROOT / "batch/golden/reporter"
    formula.write(
        "d2rnet",
        {
            "cpca": sampled(cpca(x), 60),
            "region_network": plain(region_network(crops)),
            "literal_8": sampled(lesion_enhancement(small, 8, True), 60),
            "literal_3": sampled(lesion_enhancement(small, 3, True), 60),
            "corrected_3": sampled(lesion_enhancement(small, 3, False), 60),
        },
    )

    regions, words = (F.normalize(signed(s, (3, n, 6)).double(), dim=-1) for s, n in ((21, 5), (22, 7)))
    counts, lengths = [5, 2, 1], [7, 3, 1]
    scores = {
        str(boundary): [
            [similarity(regions[i, : counts[i]], words[j, : lengths[j]], 20.0, boundary) for j in range(3)] for i in range(3)
        ]
        for boundary in (0.0, 0.3)
    }
    model = BertModel(BertConfig(**BERT, max_position_embeddings=32, hidden_act="gelu"), add_pooling_layer=False).eval()
    for name, tensor in model.state_dict().items():
        if not name.endswith("position_ids"):
            tensor.copy_(parameter(name, tuple(tensor.shape), {}))
    ids = torch.tensor([[1, 5, 9, 39, 2], [1, 7, 2, 0, 0]])
    states = model(ids, attention_mask=(ids > 0).long()).last_hidden_state
    formula.FOLDER = ROOT / "batch/golden/align"
    formula.write("align", {"scores": plain_scores(scores), "bert": plain(states[0]), "bert_short": plain(states[1, :3])})


def plain_scores(scores: dict) -> dict:
    return {boundary: plain(rows) for boundary, rows in scores.items()}


if __name__ == "__main__":
    main()
