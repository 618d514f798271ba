"""Golden values of the losses of Unbiased Teacher v2 (Liu et al. 2022) for the point detector, with their gradients.

Written from the equations, in double precision: distances as the expectation over 17 bins, the labelled losses (focal
loss over kept images, IoU loss weighted by centre-ness and a Gaussian term, centre-ness) and the unlabelled distance
loss, a mean over the coordinates of which the teacher is more certain. Distances are left, top, right, bottom in strides.
Inputs have four decimals and are stored. A box worked out by hand is checked before anything is written.

    python tests/python/golden/utv2_fcos.py        writes batch/golden/detector/utv2_fcos.json
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from formula import plain, sampled, write
from utv2_losses import close, numbers, wide

IMAGES, POINTS, CLASSES, BINS = 2, 7, 3, 17
# Class of each point, CLASSES for none; the second image has no box in the first case.
LABELS = [[0, 3, 2, 1, 3, 1, 3], [3, 3, 3, 3, 3, 3, 3]]
BOTH = [LABELS[0], [3, 2, 3, 3, 0, 3, 1]]
NONE = [LABELS[1]] * 2
# Level of each point.
LEVELS = [0, 0, 0, 0, 1, 1, 1]


def expectation(logits: Tensor, scale: Tensor) -> Tensor:
    """[..., 4 * 17], side by side, to [..., 4]; the scale of the level multiplies before the softmax."""
    bins = logits.reshape(*logits.shape[:-1], 4, BINS) * scale[..., None, None]
    return (bins.softmax(-1) * torch.arange(BINS, dtype=torch.float64)).sum(-1)


def centreness(t: Tensor) -> Tensor:
    left, top, right, bottom = t.unbind(-1)
    ratios = [torch.minimum(a, b) / torch.maximum(a, b) for a, b in ((left, right), (top, bottom))]
    return (ratios[0] * ratios[1]).sqrt()


def overlaps(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """IoU with one added above and below, and GIoU, of boxes around the same point."""

    def area(d):
        return (d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3])

    inside = area(torch.minimum(predicted, target))
    hull = area(torch.maximum(predicted, target))
    union = area(predicted) + area(target) - inside
    iou = (inside + 1) / (union + 1)
    return iou, iou - (hull - union) / hull


def focal(logits: Tensor, hot: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sum of the sigmoid focal loss."""
    p = logits.sigmoid()
    missed = hot * (1 - p) + (1 - hot) * p
    share = hot * alpha + (1 - hot) * (1 - alpha)
    return (share * missed**gamma * cross_entropy(logits, hot, reduction="none")).sum()


def given() -> dict[str, Tensor]:
    """What the cases have in common."""
    return {
        "class_logits": numbers(61, (IMAGES, POINTS, CLASSES), 3.0),
        "bin_logits": numbers(62, (IMAGES, POINTS, 4 * BINS), 2.0),
        "std_logits": numbers(63, (IMAGES, POINTS, 4), 2.0),
        "centre_logits": numbers(64, (IMAGES, POINTS), 2.0),
        "scales": wide([1.2, 0.8]),
        "targets": (4.5 + 4 * numbers(65, (IMAGES, POINTS, 4))).mul(1e4).round() / 1e4,
    }


def labelled(name: str, labels: list, all_kept: bool) -> dict:
    """Of two images: classes, distances, centre-ness. `all_kept` is what pseudo-labels do for classes."""
    y = torch.tensor(labels)
    positive = y < CLASSES
    keep = positive.any(1) | all_kept
    inputs = given()
    targets = inputs.pop("targets")
    classes, bins, stds, centres, scales = (v.requires_grad_() for v in inputs.values())
    distances = expectation(bins, scales[torch.tensor(LEVELS)].expand(IMAGES, POINTS))
    count = max(int(positive.sum()), 1)
    hot = torch.zeros(IMAGES, POINTS, CLASSES, dtype=torch.float64)
    hot[positive, y[positive]] = 1
    loss_class = focal(classes[keep], hot[keep]) / count
    t, r = targets[positive], distances[positive]
    middle = centreness(t)
    loss_centre = cross_entropy(centres[positive], middle, reduction="sum") / count
    iou, giou = overlaps(r, t)
    variance = stds[positive].sigmoid() ** 2
    gauss = ((t - r) ** 2 / (2 * variance) + 0.5 * variance.log()).sum(1) + 2 * math.log(2 * math.pi)
    weighted = (middle * (1 - giou)).sum() / max(middle.sum().item(), 1e-6)
    nll = (iou.detach() * gauss).sum() / count
    loss_box = weighted + 0.05 * nll
    total = loss_class + loss_centre + loss_box
    gradients = torch.autograd.grad(total, list(inputs.values()))
    return {
        "name": name,
        "all_kept": all_kept,
        "labels": labels,
        "kept_images": keep.int().tolist(),
        "distances": plain(distances),
        "centreness": plain(middle),
        "iou": plain(iou),
        "giou": plain(giou),
        "loss_class": plain(loss_class),
        "loss_centre": plain(loss_centre),
        "loss_box_giou": plain(weighted),
        "loss_box_nll": plain(nll),
        "loss_box": plain(loss_box),
        "gradients": {k: plain(g) for k, g in zip(inputs, gradients) if k != "bin_logits"},
        "bin_gradient": sampled(gradients[1], 60),
    }


def unlabelled(name: str, teacher: Tensor) -> dict:
    """Mean distance error over the coordinates of which the teacher is more certain than 0.8, and than the student by 0.1."""
    student, distances, targets = numbers(66, (6, 4), 2.0), numbers(67, (6, 4), 3.0) + 4, numbers(68, (6, 4), 3.0) + 4
    distances.requires_grad_()
    certainty, ours = 1 - teacher.sigmoid(), 1 - student.sigmoid()
    mask = (certainty > 0.8) & (certainty > ours + 0.1)
    assert (certainty - 0.8).abs().min() > 1e-4 and (certainty - ours - 0.1).abs().min() > 1e-4
    loss = (mask * (distances - targets).abs()).sum() / max(int(mask.sum()), 1)
    (gradient,) = torch.autograd.grad(loss, distances)
    case = {"name": name, "teacher_stds": teacher, "student_stds": student, "distances": distances}
    case |= {"targets": targets, "mask": mask.int(), "selected": int(mask.sum()), "loss": loss, "gradient": gradient}
    return {k: plain(v) for k, v in case.items()}


def expectations() -> dict:
    example = torch.zeros(1, 4 * BINS, dtype=torch.float64)
    example[0, 3:5] = 2
    close(expectation(example, wide([1]))[0, 0], 6.0690, 1e-4)
    logits, scales = torch.cat([example, numbers(69, (3, 4 * BINS), 3.0)]), wide([1, 1, 0.5, 2])
    logits.requires_grad_()
    distances = expectation(logits, scales)
    (gradient,) = torch.autograd.grad((distances * wide([1, 2, 3, 4])).sum(), logits)
    case = {"bin_logits": logits, "scales": scales, "distances": distances, "gradient_weights": [1, 2, 3, 4]}
    return {k: plain(v) for k, v in (case | {"gradient": gradient}).items()}


def main():
    torch.set_num_threads(1)
    predicted, target = wide([[1, 1, 1, 1]]), wide([[2, 1, 1, 2]])
    iou, giou = overlaps(predicted, target)
    close(iou, [0.5], 1e-12)
    close(giou, [0.5], 1e-12)
    close(centreness(target), [0.5], 1e-12)
    cases = [
        labelled("second image without boxes", LABELS, False),
        labelled("boxes on both", BOTH, False),
        labelled("no boxes at all", NONE, False),
        labelled("pseudo, second image without boxes", LABELS, True),
        labelled("pseudo, no boxes at all", NONE, True),
    ]
    for c in cases:
        print(c["name"], {k: v for k, v in c.items() if k.startswith("loss")})
    certainty = numbers(70, (6, 4), 3.0)
    free = [unlabelled("some", certainty), unlabelled("none selected", certainty.abs())]
    print([(c["name"], c["selected"], c["loss"]) for c in free])
    shared = {"levels": LEVELS, **{k: plain(v) for k, v in given().items()}}
    write(
        "utv2_fcos",
        {"expectation": expectations(), "labelled_inputs": shared, "labelled": cases, "unlabelled": free},
    )


if __name__ == "__main__":
    main()
