"""Golden values of box arithmetic: IoU, suppression, coders, matching, anchors, focal loss, pyramid levels.

Everything but the unrounded anchors and the second level formula, which are two lines of arithmetic each, comes from
torchvision in single precision. Inputs are stored next to the results.

    python tests/python/golden/box_ops.py        writes batch/golden/detector/box_ops.json
"""

import torch
from torchvision import ops
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.poolers import LevelMapper

from formula import image, plain, signed, write

SIZES, RATIOS, STRIDES = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0), (4, 8, 16, 32, 64)


def boxes_of(stream: int, count: int, extent: float, smallest: float = 4.0, largest: float = 40.0) -> torch.Tensor:
    """XYXY boxes on a grid of 1/8, so that they are short in decimal."""
    u = image(stream, (count, 4))
    corner, size = u[:, :2] * extent, smallest + u[:, 2:] * (largest - smallest)
    return torch.cat([corner, corner + size], 1).mul(8).round() / 8


def overlaps() -> dict:
    first, second = boxes_of(1, 7, 60.0), boxes_of(2, 5, 60.0)
    second[0] = first[0]
    second[1] = torch.tensor([200.0, 200.0, 210.0, 230.0])
    second[2] = torch.tensor([first[1, 0] + 1, first[1, 1] + 1, first[1, 2] - 1, first[1, 3] - 1])
    predicted = boxes_of(3, 6, 40.0).requires_grad_()
    target = boxes_of(4, 6, 40.0)
    target[0] = predicted[0].detach()
    loss = ops.generalized_box_iou_loss(predicted, target)
    (gradient,) = torch.autograd.grad(loss.sum(), predicted)
    return {
        "first": plain(first),
        "second": plain(second),
        "iou": plain(ops.box_iou(first, second)),
        "giou": plain(ops.generalized_box_iou(first, second)),
        "giou_loss": {
            "predicted": plain(predicted),
            "target": plain(target),
            "loss": plain(loss),
            "gradient_of_sum": plain(gradient),
        },
    }


def suppression() -> list:
    half = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [0.0, 0.0, 10.0, 5.25], [40.0, 0.0, 50.0, 10.0]]
    crowd = boxes_of(5, 40, 50.0, 12.0, 40.0)
    ties = (image(6, (40,)) * 8).round() / 8
    cases = [
        ("exactly at the threshold", torch.tensor(half), torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.5),
        ("tied scores, identical boxes", torch.tensor([half[0]] * 3 + [half[3]] * 2), torch.full((5,), 0.5), 0.5),
        ("tied scores in a crowd", crowd, ties, 0.5),
        ("crowd", crowd, image(7, (40,)), 0.3),
        ("empty", torch.zeros(0, 4), torch.zeros(0), 0.5),
    ]
    out = []
    for name, boxes, scores, threshold in cases:
        pairs = ops.box_iou(boxes, boxes)
        near = ((pairs - threshold).abs() < 1e-4) & (pairs != threshold)
        assert not near.any(), name
        out.append(
            {
                "name": name,
                "boxes": plain(boxes),
                "scores": plain(scores),
                "threshold": threshold,
                "kept": ops.nms(boxes, scores, threshold).tolist(),
            }
        )
    return out


def batched_suppression() -> list:
    boxes, scores = boxes_of(8, 40, 50.0, 12.0, 40.0), image(9, (40,))
    tied = (scores * 8).round() / 8
    groups = (image(10, (40,)) * 3).long()
    out = []
    for name, s in (("crowd", scores), ("tied scores", tied)):
        kept = ops.batched_nms(boxes, s, groups, 0.4)
        case = {"name": name, "boxes": boxes, "scores": s, "groups": groups, "threshold": 0.4, "kept": kept}
        out.append({k: plain(v) for k, v in case.items()})
    empty = ops.batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.4)
    out.append({"name": "empty", "boxes": [], "scores": [], "groups": [], "threshold": 0.4, "kept": empty.tolist()})
    return out


def coders() -> list:
    source, target = boxes_of(11, 6, 80.0), boxes_of(12, 6, 80.0)
    out = []
    for weights in ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)):
        coder = BoxCoder(weights)
        deltas = signed(13, (6, 4)) * torch.tensor(weights)
        deltas[0, 2:] = torch.tensor([5.0 * weights[2], 4.0 * weights[3]])
        deltas[1, 2:] = torch.tensor([-9.0 * weights[2], 4.2 * weights[3]])
        several = torch.cat([deltas, -0.5 * deltas], 1)
        out.append(
            {
                "weights": list(weights),
                "source": plain(source),
                "target": plain(target),
                "encoded": plain(coder.encode_single(target, source)),
                "deltas": plain(deltas),
                "decoded": plain(coder.decode(deltas, [source])[:, 0]),
                "deltas_of_two_classes": plain(several),
                "decoded_of_two_classes": plain(coder.decode(several, [source])),
            }
        )
    return out


def matching() -> list:
    """Matched row or -1 (below) or -2 (between), and the label of the proposal network."""
    random = (image(14, (4, 24)) ** 2 * 0.75).mul(64).round() / 64
    ties = torch.tensor(
        [
            [0.70, 0.30, 0.29, 0.10, 0.60, 0.60, 0.00, 0.50, 0.00],
            [0.70, 0.30, 0.29, 0.20, 0.10, 0.10, 0.00, 0.50, 0.00],
            [0.10, 0.10, 0.05, 0.25, 0.25, 0.20, 0.00, 0.10, 0.00],
        ]
    )
    nothing = torch.tensor([[0.8, 0.1, 0.0], [0.0, 0.0, 0.0]])
    out = []
    for name, quality in (("random", random), ("ties", ties), ("a row of zeros", nothing)):
        for high, low, rescue in ((0.7, 0.3, True), (0.7, 0.3, False), (0.5, 0.5, False)):
            matches = Matcher(high, low, rescue)(quality)
            labels = torch.where(matches >= 0, 1, torch.where(matches == -1, 0, -1))
            out.append(
                {
                    "name": name,
                    "high": high,
                    "low": low,
                    "low_quality": rescue,
                    "quality": plain(quality),
                    "matches": matches.tolist(),
                    "labels": labels.tolist(),
                }
            )
    return out


def anchor_summary(anchors: torch.Tensor, counts: list[int]) -> list:
    levels = []
    for level in anchors.split(counts):
        rows = sorted({(k * 2654435761 + 7) % len(level) for k in range(6)})
        levels.append(
            {
                "count": len(level),
                "first": plain(level[:4]),
                "last": plain(level[-4:]),
                "rows": rows,
                "sampled": plain(level[rows]),
                "sum": plain(level.double().sum(0)),
            }
        )
    return levels


def closed_form(grids: list[tuple[int, int]]) -> torch.Tensor:
    """Not rounded, centred on multiples of the level's nominal stride."""
    out = []
    for size, stride, (rows, columns) in zip(SIZES, STRIDES, grids):
        for y in range(rows):
            for x in range(columns):
                for ratio in RATIOS:
                    w = (size**2 / ratio) ** 0.5
                    h = ratio * w
                    cx, cy = x * stride, y * stride
                    out.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    return torch.tensor(out, dtype=torch.float64)


def anchors() -> list:
    generator = AnchorGenerator(tuple((s,) for s in SIZES), (RATIOS,) * len(SIZES))
    out = []
    for padded, images in (((128, 160), [(128, 160), (100, 130)]), ((160, 224), [(160, 224)])):
        grids = [(padded[0] // s, padded[1] // s) for s in STRIDES[:4]]
        grids.append(tuple((n + 1) // 2 for n in grids[3]))
        maps = [torch.zeros(len(images), 1, *g) for g in grids]
        rounded = generator(ImageList(torch.zeros(len(images), 3, *padded), images), maps)
        assert all(torch.equal(r, rounded[0]) for r in rounded)
        counts = [3 * rows * columns for rows, columns in grids]
        out.append(
            {
                "padded": list(padded),
                "images": [list(i) for i in images],
                "grids": [list(g) for g in grids],
                "torchvision": anchor_summary(rounded[0], counts),
                "closed_form": anchor_summary(closed_form(grids), counts),
            }
        )
    return out


def focal() -> list:
    logits = (signed(15, (5, 4)) * 4).requires_grad_()
    targets = (image(16, (5, 4)) > 0.7).float()
    out = []
    for alpha, gamma in ((0.25, 2.0), (0.5, 1.5), (-1.0, 2.0)):
        loss = ops.sigmoid_focal_loss(logits, targets, alpha, gamma)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        case = {"alpha": alpha, "gamma": gamma, "logits": logits, "targets": targets, "loss": loss}
        case |= {"sum": loss.sum(), "mean": loss.mean(), "gradient_of_sum": gradient}
        out.append({k: plain(v) for k, v in case.items()})
    return out


def levels() -> dict:
    sizes = [[s, s] for s in (50, 111.9, 112, 223.9, 224, 448, 900, 223.9999)] + [[56, 224], [3, 2000]]
    boxes = torch.tensor([[0.0, 0.0, w, h] for w, h in sizes])
    ours = LevelMapper(2, 5)([boxes]) + 2
    root = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    inside = torch.floor(4 + torch.log2(root / 224 + 1e-8)).clamp(2, 5).long()
    assert inside[:7].tolist() == [2, 2, 3, 3, 4, 5, 5] and ours[7] != inside[7]
    return {"boxes": plain(boxes), "torchvision": ours.tolist(), "epsilon_inside": inside.tolist()}


def main():
    torch.set_num_threads(1)
    write(
        "box_ops",
        {
            "overlaps": overlaps(),
            "nms": suppression(),
            "batched_nms": batched_suppression(),
            "box_coder": coders(),
            "matcher": matching(),
            "anchors": anchors(),
            "sigmoid_focal": focal(),
            "levels": levels(),
        },
    )


if __name__ == "__main__":
    main()
