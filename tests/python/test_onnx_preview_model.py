"""One preview model in three runtimes: libtorch, tract and onnxruntime give the same numbers and the same greedy words on 50
phantoms. The page's tests compare tract in the browser with tract here.
"""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

IMAGES = 50
# Of log-probabilities and of scores (0 to 1).
TOLERANCE = 1e-3
# Masks an empty position of the caches.
MASKED = -1e9
IMAGE_FILES = (".png", ".jpg", ".jpeg", ".dicom", ".dcm")


def d2r(folder: Path, *args: str) -> dict:
    command = [os.environ["D2R"], *args, "--quiet"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"d2r {' '.join(args)} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip().endswith("}") else {}


class Runtime:
    """The two graphs in onnxruntime, on one thread, and the host's loop around them."""

    def __init__(self, bundle: Path):
        self.card = json.loads((bundle / "card.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self.encoder, self.step = (
            onnxruntime.InferenceSession(str(bundle / name), options, providers=providers)
            for name in ("encoder.onnx", "step.onnx")
        )

    def encode(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        names = [output.name for output in self.encoder.get_outputs()]
        image = pixels.astype(np.float32)[None, None] / np.float32(255)
        return dict(zip(names, self.encoder.run(names, {"image": image}), strict=True))

    def greedy(self, encoded: dict[str, np.ndarray]) -> tuple[list[int], np.ndarray]:
        """Words without `<unk>`, and the log-probabilities of every step."""
        sizes = self.card["decoder"]
        unknown = self.card["vocabulary"].index("<unk>") + 1
        layers, heads, longest, d_head = (sizes[name] for name in ("layers", "heads", "max_words", "d_head"))
        shapes = {"k_cache": (layers, heads, d_head, longest), "v_cache": (layers, heads, longest, d_head)}
        caches = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        bias = np.full(sizes["max_words"], MASKED, np.float32)
        words, steps = [], []
        while len(words) < sizes["max_words"]:
            pos = len(words)
            inputs = {"token": np.array([words[-1] if words else 0]), "pos": np.array([pos]), "bias": bias}
            inputs |= caches | {name: encoded[name] for name in ("mem_k", "mem_v")}
            logits, k_new, v_new = self.step.run(["logits", "k_new", "v_new"], inputs)
            caches["k_cache"][..., pos], caches["v_cache"][:, :, pos] = k_new[:, :, 0], v_new[:, :, 0]
            bias[..., pos] = 0
            top = logits[0] - logits[0].max()
            log_probs = top - np.log(np.exp(top).sum())
            steps.append(log_probs)
            allowed = log_probs.copy()
            allowed[unknown] = -np.inf
            word = int(allowed.argmax())
            if word == 0:
                break
            words.append(word)
        return words, np.stack(steps)


class OnnxPreviewModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        folder = Path(cls.temporary.name)
        common = ["--preset", "tiny", "--lake", "demo/lake", "--runs", "demo/runs"]
        # A seed and a number of epochs after which the tiny preview model writes several different reports.
        d2r(folder, "pipeline", "--preset", "tiny", "--out", "demo", "--seed", "7")
        (reporter,) = folder.glob("demo/runs/reporter-*")
        longer = ["--set", "preview.epochs=80", "--set", "preview.lr=0.01"]
        d2r(folder, "distill", "--reporter", str(reporter), *longer, *common)
        (preview_model,) = folder.glob("demo/runs/preview-*")
        d2r(folder, "export", "preview", "--preview-model", str(preview_model), "--out", "preview", *common)
        d2r(folder, "phantom", "--preset", "tiny", "--out", "drawn", "--images", str(IMAGES))
        images = sorted(p for p in (folder / "drawn").rglob("*") if p.suffix in IMAGE_FILES)[:IMAGES]
        (folder / "images").mkdir()
        for i, image in enumerate(images):
            shutil.copy(image, folder / "images" / f"{i:02d}{image.suffix}")
        given = ["inspect", "preview", "--images", "images", "--out"]
        d2r(folder, *given, "tract.safetensors", "--bundle", "preview", "--analyses", "analyses.json")
        d2r(folder, *given, "torch.safetensors", "--preview-model", str(preview_model))
        cls.bundle = folder / "preview"
        cls.tract, cls.torch = (load_file(folder / f"{name}.safetensors") for name in ("tract", "torch"))
        cls.analyses = json.loads((folder / "analyses.json").read_text())
        cls.runtime = Runtime(cls.bundle)

    def test_the_graphs_are_valid_onnx(self):
        for name in ("encoder.onnx", "step.onnx"):
            model = onnx.load(self.bundle / name)
            onnx.checker.check_model(model, full_check=True)
            # The step's attentions are ONNX functions of the domain d2r.
            own = [("d2r", 1)] if name == "step.onnx" else []
            self.assertEqual([(o.domain, o.version) for o in model.opset_import], [("", 17), *own])
            dims = [d for v in (*model.graph.input, *model.graph.output) for d in v.type.tensor_type.shape.dim]
            self.assertTrue(all(d.WhichOneof("value") == "dim_value" and d.dim_value > 0 for d in dims), name)
            self.assertIn("model_sha256", {p.key for p in model.metadata_props})

    def test_three_runtimes_give_the_same_numbers_and_words(self):
        self.assertEqual(len(self.analyses), IMAGES)
        reports, first_steps = set(), []
        for i, analysis in enumerate(self.analyses):
            encoded = self.runtime.encode(self.tract[f"pixels_{i}"])
            words, log_probs = self.runtime.greedy(encoded)
            reports.add(tuple(words))
            first_steps.append(log_probs[0])
            for name, theirs in (("tract", self.tract), ("torch", self.torch)):
                with self.subTest(image=analysis["file"], runtime=name):
                    np.testing.assert_array_equal(theirs[f"pixels_{i}"], self.tract[f"pixels_{i}"])
                    self.assertEqual(theirs[f"words_{i}"].tolist(), words)
                    for key, ours in (("heat", encoded["heat"][0]), ("edges", encoded["edges"][0]), ("labels", encoded["labels"][0]), ("log_probs", log_probs)):
                        np.testing.assert_allclose(theirs[f"{key}_{i}"], ours, rtol=0, atol=TOLERANCE, err_msg=key)
            # The session that the browser runs gives the same words.
            self.assertEqual(analysis["words"], words)
            vocabulary = self.runtime.card["vocabulary"]
            self.assertEqual(analysis["report"], " ".join(vocabulary[w - 1] for w in words))
            chosen = [log_probs[t, w] for t, w in enumerate(words)]
            np.testing.assert_allclose(analysis["log_probs"], chosen, rtol=0, atol=TOLERANCE)
        # The comparison needs words and numbers that depend on the image.
        self.assertGreater(len(reports), 1, reports)
        self.assertGreater(np.ptp(np.stack(first_steps), axis=0).max(), 20 * TOLERANCE)
        self.assertGreater(max(map(len, reports)), 5)

    def test_the_memory_of_another_image_is_noticed(self):
        first, other = (self.runtime.encode(self.tract[f"pixels_{i}"]) for i in (0, 1))
        _, log_probs = self.runtime.greedy(first | {"mem_v": other["mem_v"]})
        gap = np.abs(log_probs[0] - self.tract["log_probs_0"][0]).max()
        self.assertGreater(gap, TOLERANCE)


if __name__ == "__main__":
    unittest.main()
