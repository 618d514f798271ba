"""Imported torchvision weights give the detections of torchvision: random weights, no download.

Runs where torchvision and safetensors are installed beside torch (`make parity-setup`), and is skipped elsewhere; the same
equality is part of the Rust tests by golden values, there for the second version of Faster R-CNN as well.
"""

import importlib.util
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

HAVE = all(importlib.util.find_spec(name) for name in ("torch", "torchvision", "safetensors"))
CLASSES = 5
SIZE = 192


@unittest.skipUnless(HAVE, "torchvision or safetensors is not installed")
class TorchvisionImport(unittest.TestCase):
    def compare(self, name: str, settings: list[str], score_min: float) -> None:
        import torch
        from safetensors.torch import load_file, save_file
        from torchvision.models import detection

        torch.manual_seed(3)
        is_fcos = name == "fcos_resnet50_fpn"
        classes = CLASSES if is_fcos else CLASSES + 1
        model = getattr(detection, name)(
            weights=None, weights_backbone=None, num_classes=classes, min_size=SIZE, max_size=SIZE, score_thresh=score_min
        )
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if key.endswith("running_var"):
                    value.uniform_(0.7, 1.3)
                # Untrained predictors give every region the same scores.
                if any(part in key for part in ("cls_score.weight", "cls_logits.weight", "bbox_pred.weight", "bbox_ctrness.weight")):
                    value.mul_(25.0 if "cls_score" in key or "head.cls" in key else 2.0)
                if is_fcos and key.endswith(("cls_logits.bias", "bbox_reg.bias")):
                    value.fill_(1.0)
        model.eval()
        images = torch.randn(2, 3, SIZE, SIZE)
        # Already normalised: the model's own normalisation is the identity, and nothing is resized.
        model.transform.image_mean, model.transform.image_std = [0.0] * 3, [1.0] * 3
        with torch.no_grad():
            wanted = model(list(images))
        with tempfile.TemporaryDirectory() as folder:
            weights, inputs, out = (Path(folder, f"{stem}.safetensors") for stem in ("weights", "in", "out"))
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
            save_file({"images": images}, inputs)
            d2r = os.environ["D2R"]
            command = [d2r, "import-weights", "torchvision", "--weights", weights, "--runs", "runs"]
            command += ["--classes", str(CLASSES), "--quiet"]
            for setting in settings:
                command += ["--set", f"detector.model.{setting}"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            (run,) = Path(folder, "runs").iterdir()
            command = [d2r, "inspect", "detect", "--detector", run, "--inputs", inputs, "--out", out]
            subprocess.run([*command, "--score-min", str(score_min)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            found = load_file(out)
        for i, theirs in enumerate(wanted):
            corners = theirs["boxes"]
            proper = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
            theirs = {key: value[proper] for key, value in theirs.items()}
            self.assertGreater(len(theirs["boxes"]), 3)
            self.assertEqual(len(found[f"boxes_{i}"]), len(theirs["boxes"]))
            # Scores that differ by a rounding error may change the order.
            far = (found[f"boxes_{i}"][:, None] - theirs["boxes"][None]).abs().amax(2)
            other = (found[f"labels_{i}"] + (0 if is_fcos else 1))[:, None] != theirs["labels"][None]
            distance, match = far.masked_fill(other, float("inf")).min(1)
            self.assertEqual(len(match.unique()), len(match))
            self.assertLess(distance.max().item(), 0.01)
            self.assertLess((found[f"scores_{i}"] - theirs["scores"][match]).abs().max().item(), 1e-4)

    def test_faster_rcnn(self):
        self.compare("fasterrcnn_resnet50_fpn", ["architecture=faster_rcnn"], 0.05)

    def test_fcos(self):
        self.compare("fcos_resnet50_fpn", ["architecture=fcos"], 0.2)


if __name__ == "__main__":
    unittest.main()
