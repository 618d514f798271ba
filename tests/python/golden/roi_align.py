"""Golden values of ROIAlign, forwards and backwards, from torchvision in single precision.

Both alignments, adaptive (0) and fixed (2) sampling; boxes inside, across the border, outside and degenerate. The
input and the weights of the backward sum come from the formula, the boxes are stored.

    python tests/python/golden/roi_align.py        writes batch/golden/detector/roi_align.json
"""

import torch
from torchvision.ops import roi_align

from formula import image, plain, sampled, signed, write

SHAPE, SCALE, SIZE = (2, 3, 20, 24), 0.25, 7
INPUT_STREAM, WEIGHT_STREAM, ROI_STREAM = 21, 22, 23

# Batch index and XYXY in image pixels; the image is 80 high and 96 wide.
SPECIAL = [
    [0, 0.0, 0.0, 96.0, 80.0],
    [1, 4.0, 4.0, 8.0, 8.0],
    [0, -30.0, -20.0, 40.0, 30.0],
    [1, 70.0, 50.0, 130.0, 120.0],
    [0, 200.0, 200.0, 260.0, 240.0],
    [1, -90.0, -90.0, -40.0, -40.0],
    [0, 95.0, 79.0, 96.0, 80.0],
    [1, 20.0, 30.0, 20.0, 30.0],
    [0, 20.0, 30.0, 20.0, 60.0],
    [1, 50.0, 40.0, 30.0, 20.0],
    [0, -4.0, -4.0, 12.0, 12.0],
    [1, 84.0, 68.0, 100.0, 84.0],
    [0, 1.0, 2.0, 95.5, 6.25],
    [1, 46.0, 1.0, 47.0, 79.0],
    [0, -500.0, -400.0, 600.0, 500.0],
    [1, 13.625, 7.375, 61.125, 44.875],
]


def main():
    torch.set_num_threads(1)
    u = image(ROI_STREAM, (8, 4))
    corner = u[:, :2] * torch.tensor([80.0, 60.0]) - 8
    side = 6 + u[:, 2:] * 60
    batch = torch.tensor([[k % 2] for k in range(8)])
    scattered = torch.cat([batch, torch.cat([corner, corner + side], 1).mul(8).round() / 8], 1)
    rois = torch.cat([torch.tensor(SPECIAL), scattered])
    features = signed(INPUT_STREAM, SHAPE).requires_grad_()
    weights = signed(WEIGHT_STREAM, (len(rois), SHAPE[1], SIZE, SIZE))
    cases = []
    for aligned in (False, True):
        for ratio in (0, 2):
            output = roi_align(features, rois, SIZE, SCALE, ratio, aligned)
            (gradient,) = torch.autograd.grad((output * weights).sum(), features)
            with torch.no_grad():
                wide = roi_align(features.double(), rois.double(), SIZE, SCALE, ratio, aligned)
            error = (output - wide).abs().max().item()
            assert error < 1e-5, error
            cases.append(
                {
                    "aligned": aligned,
                    "sampling_ratio": ratio,
                    "output": sampled(output, 40),
                    "sum_per_roi": plain(output.double().sum((1, 2, 3))),
                    "gradient": sampled(gradient, 40),
                }
            )
    write(
        "roi_align",
        {
            "input": {"shape": list(SHAPE), "signed_stream": INPUT_STREAM},
            "weights": {"shape": list(weights.shape), "signed_stream": WEIGHT_STREAM},
            "spatial_scale": SCALE,
            "output_size": SIZE,
            "rois": plain(rois),
            "cases": cases,
        },
    )


if __name__ == "__main__":
    main()
