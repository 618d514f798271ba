"""Golden values of FCOS with ResNet-50 and a pyramid, from torchvision in single precision.

Two images of unequal size in one padded batch, parameters by the formula: what every stage puts out, the detections,
and the losses on given targets, one image of which has none. Batch norm keeps its running statistics throughout.

    python tests/python/golden/fcos.py        writes batch/golden/detector/fcos.json
"""

import torch
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.detection.image_list import ImageList

from detectors import CLASSES, described, images, same, settled, smallest_gap
from formula import fill, plain, sampled, write

STREAMS = (127, 128)
GAINS = {
    "cls_logits.weight": 3.0,
    "bbox_reg.weight": 8.0,
    "bbox_reg.bias": 80.0,
    "bbox_ctrness.bias": -60.0,
    "cls_logits.bias": 40.0,
    "bbox_ctrness.weight": 3.0,
}
BOXES = (
    [[20.0, 30.0, 70.0, 90.0], [100.5, 12.25, 150.0, 50.5], [5.0, 5.0, 185.0, 150.0], [60.0, 64.0, 92.0, 96.0]],
    [[8.0, 16.0, 40.0, 48.0], [50.0, 20.0, 170.0, 120.0], [30.25, 60.5, 41.0, 75.0]],
)
LABELS = ([1, 4, 2, 1], [3, 0, 2])


def build(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    model = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES)
    fill(model, GAINS)
    return model.eval().to(dtype)


def anchors_of(model: torch.nn.Module, batch: ImageList, maps: list) -> tuple[list, list[int]]:
    return model.anchor_generator(batch, maps), [m.shape[2] * m.shape[3] for m in maps]


def detections(model: torch.nn.Module, batch: ImageList) -> list[dict]:
    maps = list(model.backbone(batch.tensors).values())
    anchors, counts = anchors_of(model, batch, maps)
    outputs = {k: list(v.split(counts, 1)) for k, v in model.head(maps).items()}
    return model.postprocess_detections(outputs, [list(a.split(counts)) for a in anchors], batch.image_sizes)


def checked_detections(model: torch.nn.Module, wide: torch.nn.Module, threshold: float, candidates: int) -> dict:
    """Detections that neither precision nor a moved threshold changes."""
    model.score_thresh = wide.score_thresh = threshold
    model.topk_candidates = wide.topk_candidates = candidates
    batch = images(STREAMS)
    found = detections(model, batch)
    doubts = [] if same(found, detections(wide, images(STREAMS, torch.float64))) else ["double precision"]
    doubts += settled(lambda: detections(model, batch), model, {"score_thresh": 1e-4, "nms_thresh": 1e-4})
    assert not doubts, doubts
    for f in found:
        gap, s = smallest_gap(f["scores"]), f["scores"]
        print(len(s), "detections of classes", f["labels"].bincount().tolist(), "scores", s[-1].item(), s[0].item())
        assert gap > 1e-6, f"detections tie within {gap}"
    return {
        "score_thresh": threshold,
        "nms_thresh": model.nms_thresh,
        "topk_candidates": model.topk_candidates,
        "detections_per_img": model.detections_per_img,
        "images": [{k: plain(v) for k, v in f.items()} for f in found],
    }


def losses(model: torch.nn.Module, boxed: tuple[int, ...]) -> dict:
    """The three losses with the boxes on the given images, and the gradients of their sum."""
    targets = []
    for row in range(2):
        boxes, labels = (BOXES[row], LABELS[row]) if row in boxed else ([], [])
        boxes = torch.tensor(boxes).reshape(-1, 4)
        targets.append({"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)})
    batch = images(STREAMS)
    maps = [m.detach() for m in model.backbone(batch.tensors).values()]
    anchors, counts = anchors_of(model, batch, maps)
    outputs = {k: v.detach().requires_grad_() for k, v in model.head(maps).items()}
    matched = []
    inner = model.head.compute_loss
    model.head.compute_loss = lambda t, o, a, m: (matched.extend(m), inner(t, o, a, m))[1]
    result = model.compute_loss(targets, outputs, anchors, counts)
    del model.head.compute_loss
    gradients = torch.autograd.grad(sum(result.values()), list(outputs.values()), allow_unused=True)
    found = [(i, int(p), int(m[p])) for i, m in enumerate(matched) for p in torch.where(m >= 0)[0]]
    print({k: v.item() for k, v in result.items()}, len(found), "positives")
    return {
        "targets": [{k: plain(v) for k, v in t.items()} for t in targets],
        "positives": found,
        "losses": {k: plain(v.item()) for k, v in result.items()},
        "gradients": {k: sampled(g, 20) for k, g in zip(outputs, gradients)},
        "box_gradients_of_positives": [plain(gradients[1][i, p]) for i, p, _ in found],
        "centre_gradients_of_positives": [plain(gradients[2][i, p, 0]) for i, p, _ in found],
    }


def main():
    torch.set_num_threads(1)
    with torch.no_grad():
        model, wide = build(), build(torch.float64)
        batch = images(STREAMS)
        body = model.backbone.body(batch.tensors)
        maps = model.backbone.fpn(body)
        outputs = model.head(list(maps.values()))
        found = [checked_detections(model, wide, *knobs) for knobs in ((0.2, 1000), (0.75, 1000), (0.2, 40))]
    write(
        "fcos",
        {
            "gains": GAINS,
            "input": described(STREAMS),
            "body": [sampled(f, 20) for f in body.values()],
            "fpn": [sampled(f, 20) for f in maps.values()],
            "points_per_level": [m.shape[2] * m.shape[3] for m in maps.values()],
            "head": {k: sampled(v, 40) for k, v in outputs.items()},
            "detections": found,
            "loss_cases": [losses(model, boxed) for boxed in ((0,), (0, 1), ())],
        },
    )


if __name__ == "__main__":
    main()
