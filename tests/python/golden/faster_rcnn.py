"""Golden values of Faster R-CNN with ResNet-50 and a pyramid, from torchvision in single precision.

Two images of unequal size in one padded batch, parameters by the formula: what every stage puts out, the proposals
with the limits of evaluation and of training, and the detections. Results that double precision or a slightly moved
threshold would change are refused.

    python tests/python/golden/faster_rcnn.py        writes batch/golden/detector/faster_rcnn.json
"""

import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers

from detectors import CLASSES, described, images, same, settled, smallest_gap
from formula import fill, plain, sampled, write

STREAMS = (101, 102)
GAINS = {
    "fpn.layer_blocks": 0.4,
    "rpn.head.cls_logits.weight": 0.5,
    "rpn.head.bbox_pred.weight": 0.15,
    "box_predictor.cls_score.weight": 2.0,
    "box_predictor.bbox_pred.weight": 0.6,
}


def build(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES)
    fill(model, GAINS)
    return model.eval().to(dtype)


def proposals(rpn: torch.nn.Module, batch: ImageList, features: dict) -> tuple[list, list]:
    """What the proposal network returns in evaluation mode, with the scores it does not return."""
    maps = list(features.values())
    objectness, deltas = rpn.head(maps)
    counts = [o[0].numel() for o in objectness]
    objectness, deltas = concat_box_prediction_layers(objectness, deltas)
    boxes = rpn.box_coder.decode(deltas, rpn.anchor_generator(batch, maps)).view(len(batch.image_sizes), -1, 4)
    kept, scores = rpn.filter_proposals(boxes, objectness, batch.image_sizes, counts)
    assert all(torch.equal(a, b) for a, b in zip(kept, rpn(batch, features)[0]))
    return kept, scores


def detections(model: torch.nn.Module, batch: ImageList, features: dict) -> list[dict]:
    return model.roi_heads(features, model.rpn(batch, features)[0], batch.image_sizes)[0]


def described_proposals(boxes: list, scores: list) -> list:
    out = []
    for b, s in zip(boxes, scores):
        gap = min(smallest_gap(s[:11]), smallest_gap(s[-11:]))
        assert gap > 1e-6, f"proposals tie within {gap}"
        out.append(
            {
                "count": len(b),
                "first": {"boxes": plain(b[:10]), "scores": plain(s[:10])},
                "last": {"boxes": plain(b[-10:]), "scores": plain(s[-10:])},
                "box_sum": plain(b.double().sum(0)),
                "score_sum": plain(s.double().sum().item()),
            }
        )
    return out


def checked_detections(model: torch.nn.Module, wide: torch.nn.Module, threshold: float, streams=STREAMS) -> dict:
    """Detections that neither precision nor a moved threshold changes."""
    model.roi_heads.score_thresh = wide.roi_heads.score_thresh = threshold
    batch, precise = images(streams), images(streams, torch.float64)
    features = model.backbone(batch.tensors)
    found = detections(model, batch, features)
    exact = detections(wide, precise, wide.backbone(precise.tensors))
    doubts = [] if same(found, exact) else ["double precision"]
    for owner, knobs in (
        (model.roi_heads, {"score_thresh": 1e-4, "nms_thresh": 1e-4}),
        (model.rpn, {"nms_thresh": 1e-5, "min_size": 1e-4}),
    ):
        doubts += settled(lambda: detections(model, batch, features), owner, knobs)
    assert not doubts, doubts
    for f in found:
        gap, s = smallest_gap(f["scores"]), f["scores"]
        print(len(s), "detections of classes", f["labels"].bincount().tolist(), "scores", s[-1].item(), s[0].item())
        assert gap > 1e-6, f"detections tie within {gap}"
    limit = model.roi_heads.detections_per_img
    images_found = [{k: plain(v) for k, v in f.items()} for f in found]
    return {"score_thresh": threshold, "detections_per_img": limit, "images": images_found}


def limited(model: torch.nn.Module, wide: torch.nn.Module, before: int, after: int) -> dict:
    """Proposals with given limits, the same in double precision."""
    results = []
    for m, dtype in ((model, torch.float32), (wide, torch.float64)):
        m.rpn._pre_nms_top_n["testing"], m.rpn._post_nms_top_n["testing"] = before, after
        batch = images(STREAMS, dtype)
        results.append(proposals(m.rpn, batch, m.backbone(batch.tensors)))
        m.rpn._pre_nms_top_n["testing"] = m.rpn._post_nms_top_n["testing"] = 1000
    (boxes, scores), (exact, _) = results
    for b, e in zip(boxes, exact):
        assert len(b) == len(e), f"{len(b)} proposals, {len(e)} in double precision"
        moved = (b.double() - e).abs().amax(1) > 1e-2
        print(len(b), "proposals,", int(moved.sum()), "in another order in double precision")
    return {"pre_nms_top_n": before, "post_nms_top_n": after, "images": described_proposals(boxes, scores)}


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    model, wide = build(), build(torch.float64)
    batch = images(STREAMS)
    body = model.backbone.body(batch.tensors)
    features = model.backbone.fpn(body)
    objectness, deltas = model.rpn.head(list(features.values()))
    kept, _ = proposals(model.rpn, batch, features)
    pooled = model.roi_heads.box_roi_pool(features, kept, batch.image_sizes)
    logits, codes = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
    write(
        "faster_rcnn",
        {
            "gains": GAINS,
            "input": described(STREAMS),
            "input_sample": sampled(batch.tensors, 10),
            "body": [sampled(f, 20) for f in body.values()],
            "fpn": [sampled(f, 20) for f in features.values()],
            "objectness": [sampled(o, 20) for o in objectness],
            "deltas": [sampled(d, 20) for d in deltas],
            "proposals": [limited(model, wide, *limits) for limits in ((1000, 1000), (2000, 2000), (1000, 300))],
            "pooled_row": sampled(pooled[0], 20),
            "class_logits_first": plain(logits[:5]),
            "box_codes_first": plain(codes[:5]),
            "detections": [checked_detections(model, wide, threshold) for threshold in (0.05, 0.35)],
        },
    )


if __name__ == "__main__":
    main()
