"""Golden values of ResNet-50 with the stride in the first 1x1 convolution of a stage, as the MSRA weights want it.

The body is torchvision's, with the strides of `conv1` and `conv2` swapped in the first block of each stage that
shrinks the map; evaluation mode, parameters by the formula under torchvision's names below `backbone.body.`.

    python tests/python/golden/stride_in_1x1.py        writes batch/golden/detector/stride_in_1x1.json
"""

import torch
from torchvision.models import resnet50

from formula import fill, image, sampled, write

SHAPE, STREAM = (1, 3, 64, 96), 131
GAINS: dict[str, float] = {}


def body() -> torch.nn.Module:
    model = resnet50(weights=None).eval()
    del model.fc
    fill(torch.nn.ModuleDict({"backbone": torch.nn.ModuleDict({"body": model})}), GAINS)
    return model


def stages(model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    out = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = stage(x)
        out.append(x)
    return out


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    model = body()
    x = image(STREAM, SHAPE)
    usual = stages(model, x)
    for stage in (model.layer2, model.layer3, model.layer4):
        block = stage[0]
        assert block.conv1.stride == (1, 1) and block.conv2.stride == (2, 2)
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    swapped = stages(model, x)
    assert torch.equal(usual[0], swapped[0]) and not torch.allclose(usual[1], swapped[1], atol=1e-2)
    write(
        "stride_in_1x1",
        {
            "gains": GAINS,
            "input": {"shape": list(SHAPE), "image_stream": STREAM},
            "stride_in_1x1": [sampled(f, 30) for f in swapped],
            "stride_in_3x3": [sampled(f, 30) for f in usual],
        },
    )


if __name__ == "__main__":
    main()
