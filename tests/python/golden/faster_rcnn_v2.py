"""Golden values of the second Faster R-CNN of torchvision, in single precision.

It differs from the first by two convolutions in the proposal network, batch norm in the pyramid and in the box head,
and a box head of four convolutions and one layer. Few proposals, for the head is expensive.

    python tests/python/golden/faster_rcnn_v2.py        writes batch/golden/detector/faster_rcnn_v2.json
"""

import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

from detectors import CLASSES, described, images
from faster_rcnn import checked_detections, described_proposals, proposals
from formula import fill, plain, sampled, write

STREAMS = (111, 112)
PROPOSALS = 150
GAINS = {
    "rpn.head.cls_logits.weight": 0.4,
    "rpn.head.bbox_pred.weight": 0.3,
    "box_predictor.cls_score.weight": 3.0,
    "box_predictor.cls_score.bias": -40.0,
    "box_predictor.bbox_pred.weight": 1.0,
}


def build(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    model = fasterrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, num_classes=CLASSES, rpn_post_nms_top_n_test=PROPOSALS
    )
    fill(model, GAINS)
    return model.eval().to(dtype)


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    model, wide = build(), build(torch.float64)
    batch = images(STREAMS)
    body = model.backbone.body(batch.tensors)
    features = model.backbone.fpn(body)
    objectness, deltas = model.rpn.head(list(features.values()))
    kept, scores = proposals(model.rpn, batch, features)
    pooled = model.roi_heads.box_roi_pool(features, kept, batch.image_sizes)
    hidden = model.roi_heads.box_head(pooled)
    logits, codes = model.roi_heads.box_predictor(hidden)
    write(
        "faster_rcnn_v2",
        {
            "gains": GAINS,
            "input": described(STREAMS),
            "body": [sampled(f, 20) for f in body.values()],
            "fpn": [sampled(f, 20) for f in features.values()],
            "objectness": [sampled(o, 20) for o in objectness],
            "deltas": [sampled(d, 20) for d in deltas],
            "proposals": {
                "pre_nms_top_n": 1000,
                "post_nms_top_n": PROPOSALS,
                "images": described_proposals(kept, scores),
            },
            "hidden_first": sampled(hidden[0], 20),
            "class_logits_first": plain(logits[:5]),
            "box_codes_first": plain(codes[:5]),
            "detections": [checked_detections(model, wide, threshold, STREAMS) for threshold in (0.05, 0.5)],
        },
    )


if __name__ == "__main__":
    main()
