"""Golden values of the losses of Unbiased Teacher v2 (Liu et al. 2022) for Faster R-CNN, with their gradients.

Written from the equations, in double precision: softmax focal loss, the edge box coder, the regression loss with
edge uncertainty (IoU attached and detached), the loss where the teacher is better, and the objectness loss
weighted by pseudo-scores. Inputs have four decimals and are stored. Worked examples are checked before anything is
written. The point detector's losses are in `utv2_fcos.py`.

    python tests/python/golden/utv2_losses.py        writes batch/golden/detector/utv2_losses.json
"""

import math

import torch
from torch import Tensor

from formula import plain, uniform, write

ROIS, CLASSES, BATCH = 8, 5, 256
WEIGHT, CLAMP = 10.0, 1000 / 16


def numbers(stream: int, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Within [-scale, scale), four decimals."""
    return (torch.from_numpy(uniform(stream, math.prod(shape))).reshape(shape) * scale * 1e4).round() / 1e4


def wide(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def focal(logits: Tensor, targets: Tensor, gamma: float = 1.5) -> Tensor:
    """Mean over the rows."""
    log_p = logits.log_softmax(1).gather(1, targets[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


def encode(source: Tensor, target: Tensor) -> Tensor:
    """Shifts of the edges x1, x2, y1, y2 over the size plus one."""
    w, h = source[:, 2] - source[:, 0] + 1, source[:, 3] - source[:, 1] + 1
    shift = target - source
    return WEIGHT * torch.stack([shift[:, 0] / w, shift[:, 2] / w, shift[:, 1] / h, shift[:, 3] / h], 1)


def decode(source: Tensor, deltas: Tensor) -> Tensor:
    """XYXY; over the size, not plus one."""
    e = (deltas / WEIGHT).clamp(-CLAMP, CLAMP)
    w, h = source[:, 2] - source[:, 0], source[:, 3] - source[:, 1]
    x1, y1, x2, y2 = source.unbind(1)
    return torch.stack([x1 + e[:, 0] * w, y1 + e[:, 2] * h, x2 + e[:, 1] * w, y2 + e[:, 3] * h], 1)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """IoU row by row, with the signed areas of both boxes."""

    def area(b):
        return (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])

    low, high = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    inside = (high - low).clamp(min=0).prod(1)
    return inside / (area(first) + area(second) - inside)


def uncertain(source: Tensor, target: Tensor, deltas: Tensor, stds: Tensor, rows: int, attached: bool) -> dict:
    """The regression loss of labelled boxes: L1, and 0.05 times the Gaussian term weighted by the IoU."""
    codes = encode(source, target)
    iou = overlap(decode(source, deltas), target)
    if not attached:
        iou = iou.detach()
    variance = stds.sigmoid() ** 2
    gauss = ((codes - deltas) ** 2 / (2 * variance) + 0.5 * variance.log()).sum(1) + 2 * math.log(2 * math.pi)
    absolute = (deltas - codes).abs().sum()
    loss = (absolute + 0.05 * (iou * gauss).sum()) / rows
    by_delta, by_std = torch.autograd.grad(loss, (deltas, stds))
    out = {"iou": iou, "nll": iou * gauss, "l1": absolute, "loss": loss}
    return {k: plain(v) for k, v in (out | {"delta_gradient": by_delta, "std_gradient": by_std}).items()}


def better(codes: Tensor, deltas: Tensor, stds: Tensor, teacher: Tensor, rows: int) -> dict:
    """L1 over the coordinates of which the teacher is more certain than the student by 0.1, and than 0.5."""
    ours, theirs = 1 - stds.detach().sigmoid(), 1 - teacher.sigmoid()
    mask = (theirs > ours + 0.1) & (theirs > 0.5)
    loss = (mask * (deltas - codes).abs()).sum() / rows
    (gradient,) = torch.autograd.grad(loss, deltas)
    return {"mask": mask.int().tolist(), "loss": plain(loss), "delta_gradient": plain(gradient)}


def objectness(logits: list[Tensor], labels: list[Tensor], matched: list[Tensor], scores: list[Tensor]) -> dict:
    """Sampled anchors of each image; weights are the scores of the matched boxes, 0 on an image without boxes."""
    weights = [s[m] if len(s) else torch.zeros(len(m), dtype=torch.float64) for s, m in zip(scores, matched)]
    total = 0
    for x, y, w in zip(logits, labels, weights):
        total = total + (w * torch.nn.functional.binary_cross_entropy_with_logits(x, y, reduction="none")).sum()
    loss = total / (BATCH * len(logits))
    return {
        "logits": plain(logits),
        "labels": [y.int().tolist() for y in labels],
        "matched": plain(matched),
        "scores": plain(scores),
        "weights": plain(weights),
        "batch_per_image": BATCH,
        "loss": plain(loss),
        "gradients": plain(list(torch.autograd.grad(loss, logits))),
    }


def boxes(stream: int, count: int) -> Tensor:
    u = numbers(stream, (count, 4))
    corner = 50 + 40 * u[:, :2]
    return torch.cat([corner, corner + 30 + 20 * u[:, 2:]], 1).mul(8).round() / 8


def close(value, expected, tolerance: float) -> None:
    assert torch.allclose(torch.as_tensor(value, dtype=torch.float64), wide(expected), rtol=0, atol=tolerance), value


def focal_cases() -> list:
    example = wide([[2, 0, -1], [0, 0.5, 1.5]]), torch.tensor([0, 1])
    close(focal(*example), 0.4988, 1e-4)
    targets = torch.tensor([0, 5, 2, 5, 4, 1, 5, 3])
    out = []
    for logits, labels in (example, (numbers(41, (ROIS, CLASSES + 1), 3.0), targets)):
        logits.requires_grad_()
        loss = focal(logits, labels)
        (gradient,) = torch.autograd.grad(loss, logits)
        case = {"logits": logits, "targets": labels, "gamma": 1.5, "loss": loss, "gradient": gradient}
        out.append({k: plain(v) for k, v in case.items()})
    return out


def coder_cases() -> dict:
    source, target = wide([[10, 20, 110, 70]]), wide([[12, 18, 120, 75]])
    codes = encode(source, target)
    close(codes, [[0.19802, 0.99010, -0.39216, 0.98039]], 1e-5)
    close(decode(source, codes), [[11.98020, 18.03922, 119.90099, 74.90196]], 1e-5)
    close(decode(source, wide([[700, -700, 0, 0]])), [[6260, 20, -6140, 70]], 1e-9)
    sources, targets = torch.cat([source, boxes(42, 6)]), torch.cat([target, boxes(43, 6)])
    deltas = numbers(44, (7, 4), 8.0)
    deltas[0] = wide([700, -700, 0, 0])
    case = {"source": sources, "target": targets, "encoded": encode(sources, targets)}
    case |= {"decoded_of_encoded": decode(sources, case["encoded"]), "deltas": deltas}
    return {k: plain(v) for k, v in (case | {"decoded": decode(sources, deltas)}).items()}


def regression_cases() -> tuple[list, list]:
    single = wide([[10, 20, 110, 70]]), wide([[12, 18, 120, 75]]), wide([[0.1, 0.2, -0.1, 0.3]]), wide([[0, -1, 1, -2]])
    sources = boxes(45, 5)
    targets = sources + numbers(46, (5, 4), 6.0)
    several = sources, targets, encode(sources, targets) + numbers(47, (5, 4), 2.0), numbers(48, (5, 4), 2.0)
    several = (*several[:2], several[2].mul(1e4).round() / 1e4, several[3])
    teachers = wide([[-1, -0.2, -3, 0.5]]), numbers(49, (5, 4), 2.0)
    labelled, pseudo = [], []
    for (source, target, deltas, stds), teacher, rows in zip((single, several), teachers, (4, ROIS)):
        deltas.requires_grad_()
        stds.requires_grad_()
        given = {"source": source, "target": target, "deltas": deltas, "stds": stds}
        given = {k: plain(v) for k, v in given.items()} | {"rows": rows}
        results = {k: uncertain(source, target, deltas, stds, rows, k == "attached") for k in ("attached", "detached")}
        labelled.append(given | results)
        chosen = better(encode(source, target), deltas, stds, teacher, rows)
        gap = ((stds.sigmoid() - teacher.sigmoid()) - 0.1).abs().min().item()
        assert gap > 1e-4 and ((1 - teacher.sigmoid()) - 0.5).abs().min() > 1e-4
        pseudo.append(given | {"teacher_stds": plain(teacher)} | chosen)
    example = labelled[0]["attached"]
    close(example["iou"], [0.837629], 1e-6)
    close(example["nll"], [16.696754], 1e-5)
    close(example["l1"], 1.860668, 1e-6)
    close(example["loss"], 0.673876, 1e-6)
    close(example["delta_gradient"], [[-0.2366, -0.3435, 0.2358, -0.7315]], 1e-4)
    close(example["std_gradient"], [[0.0050, -0.0584, 0.0024, -0.2912]], 1e-4)
    assert pseudo[0]["mask"] == [[1, 0, 1, 0]]
    close(pseudo[0]["loss"], 0.0975, 1e-4)
    return labelled, pseudo


def main():
    torch.set_num_threads(1)
    labelled, pseudo = regression_cases()
    logits = [numbers(50 + i, (10,), 3.0).requires_grad_() for i in range(2)]
    labels = [wide([1, 1, 0, 0, 0, 0, 1, 0, 0, 0]), wide([0] * 10)]
    matched = [torch.tensor([0, 2, 1, 0, 0, 2, 1, 0, 0, 1]), torch.zeros(10, dtype=torch.int64)]
    scores = [wide([0.95, 0.9, 0.91]), wide([])]
    write(
        "utv2_losses",
        {
            "softmax_focal": focal_cases(),
            "edge_coder": coder_cases(),
            "labelled_regression": labelled,
            "teacher_better": pseudo,
            "objectness": objectness(logits, labels, matched, scores),
        },
    )


if __name__ == "__main__":
    main()
