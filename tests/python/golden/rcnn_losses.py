"""Golden values of the losses of Faster R-CNN, from torchvision in single precision, with a sampler without chance.

The model is that of `faster_rcnn.py`. Where torchvision draws anchors and boxes at random, here the first positives by
index are taken, at most `batch * fraction`, and then the first negatives until the batch is full. Batch norm keeps its
running statistics. Three cases: boxes on both images, boxes on the first image only, and batches so small that there
are more positives than may be taken.

    python tests/python/golden/rcnn_losses.py        writes batch/golden/detector/rcnn_losses.json
"""

import torch

from detectors import described, images
from faster_rcnn import GAINS, STREAMS, build
from formula import plain, sampled, write

BOXES = (
    [[20.0, 30.0, 70.0, 90.0], [100.5, 12.25, 150.0, 50.5], [5.0, 5.0, 185.0, 150.0], [60.0, 64.0, 92.0, 96.0]],
    [[8.0, 16.0, 40.0, 48.0], [50.0, 20.0, 170.0, 120.0], [30.25, 60.5, 61.0, 95.0]],
)
LABELS = ([1, 4, 2, 1], [3, 4, 2])
LIMITS = {"rpn": {"batch": 256, "fraction": 0.5}, "roi": {"batch": 512, "fraction": 0.25}}
SMALL = {"rpn": {"batch": 20, "fraction": 0.5}, "roi": {"batch": 64, "fraction": 0.25}}
# Their gradients are stored; one of each stage.
WATCHED = (
    "backbone.body.layer3.0.conv2.weight",
    "backbone.fpn.inner_blocks.2.0.weight",
    "backbone.fpn.layer_blocks.1.0.weight",
    "rpn.head.conv.0.0.weight",
    "rpn.head.cls_logits.bias",
    "rpn.head.bbox_pred.bias",
    "roi_heads.box_head.fc7.weight",
    "roi_heads.box_predictor.cls_score.bias",
    "roi_heads.box_predictor.bbox_pred.bias",
)


class First:
    """Positives (label > 0) and negatives (label 0) in the order of their indices."""

    def __init__(self, batch: int, fraction: float) -> None:
        self.batch, self.fraction = batch, fraction
        self.taken: list[dict] = []

    def __call__(self, labels: list[torch.Tensor]) -> tuple[list, list]:
        out: tuple[list, list] = ([], [])
        for row in labels:
            positive, negative = torch.where(row >= 1)[0], torch.where(row == 0)[0]
            first = positive[: int(self.batch * self.fraction)]
            rest = negative[: self.batch - len(first)]
            for masks, chosen in zip(out, (first, rest)):
                mask = torch.zeros(len(row), dtype=torch.bool)
                mask[chosen] = True
                masks.append(mask)
            self.taken.append(
                {
                    "candidates": len(row),
                    "positives": len(positive),
                    "negatives": len(negative),
                    "ignored": int((row < 0).sum()),
                    "taken_positives": len(first),
                    "taken_negatives": len(rest),
                    "positive_indices": first.tolist(),
                    "last_negative_index": int(rest[-1]) if len(rest) else -1,
                }
            )
        return out


def run(boxed: tuple[int, ...], limits: dict, dtype: torch.dtype) -> tuple[dict, dict, dict]:
    """Losses, what was sampled, gradients of the sum of the four."""
    model = build(dtype)
    samplers = {k: First(**v) for k, v in limits.items()}
    model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler = samplers["rpn"], samplers["roi"]
    model.rpn.training = model.roi_heads.training = True
    targets = []
    for row in range(2):
        boxes, labels = (BOXES[row], LABELS[row]) if row in boxed else ([], [])
        boxes = torch.tensor(boxes, dtype=dtype).reshape(-1, 4)
        targets.append({"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)})
    batch = images(STREAMS, dtype)
    features = model.backbone(batch.tensors)
    proposals, losses = model.rpn(batch, features, targets)
    losses |= model.roi_heads(features, proposals, batch.image_sizes, targets)[1]
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(sum(losses.values()), [parameters[n] for n in WATCHED])
    taken = {k: s.taken for k, s in samplers.items()}
    return losses, taken, dict(zip(WATCHED, gradients)) | {"targets": targets}


def main():
    torch.set_num_threads(1)
    cases = []
    for boxed, limits in (((0, 1), LIMITS), ((0,), LIMITS), ((0, 1), SMALL)):
        losses, taken, gradients = run(boxed, limits, torch.float32)
        wide, precise, exact = run(boxed, limits, torch.float64)
        targets = gradients.pop("targets")
        assert taken == precise, "rounding changes what is sampled"
        for name, loss in losses.items():
            assert abs(loss.item() - wide[name].item()) < 1e-4 * abs(wide[name].item()), name
            print(name, loss.item(), wide[name].item())
        for name, g in gradients.items():
            error = (g.double() - exact[name]).abs().max() / exact[name].abs().max()
            assert error < 1e-3, f"{name}: {error}"
        print({k: [(t["positives"], t["taken_positives"], t["taken_negatives"]) for t in v] for k, v in taken.items()})
        cases.append(
            {
                "limits": limits,
                "targets": [{k: plain(v) for k, v in t.items()} for t in targets],
                "losses": {k: plain(v.item()) for k, v in losses.items()},
                "sampled": taken,
                "gradients": {k: sampled(g, 20) for k, g in gradients.items()},
            }
        )
    write("rcnn_losses", {"gains": GAINS, "input": described(STREAMS), "cases": cases})


if __name__ == "__main__":
    main()
