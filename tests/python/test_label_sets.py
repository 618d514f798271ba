"""A COCO dataset with its own categories, through training and annotation, scored by pycocotools against the file that
was ingested, without a change to either file.

The drawn radiographs are those of `d2r phantom` in NIH's layout; large boxes become the category Mass (id 7), small ones Nodule (id 12).
"""

import csv
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# Boxes refer to 1024 pixels, the drawn images have 256.
FRAME, SIZE = 1024, 256
LARGE_AREA = 60 * 60


def coco_dataset(source: Path, root: Path) -> None:
    """Writes `train` and `val` folders with one COCO file each; image ids fall in the order of the files."""
    boxes: dict[str, list[list[float]]] = {}
    with open(source / "BBox_List_2017.csv", newline="") as file:
        for row in list(csv.reader(file))[1:]:
            boxes.setdefault(row[0], []).append([float(v) * SIZE / FRAME for v in row[2:6]])
    names = sorted(path.name for path in (source / "images").iterdir())
    for split, of_split in (("train", names[::2]), ("val", names[1::2])):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for k, name in enumerate(of_split):
            (root / split / name).write_bytes((source / "images" / name).read_bytes())
            images.append({"id": 500 - k, "file_name": name, "width": SIZE, "height": SIZE})
            for x, y, w, h in boxes.get(name, []):
                annotation = {"id": len(annotations) + 1, "image_id": 500 - k, "bbox": [x, y, w, h]}
                category = 7 if w * h > LARGE_AREA else 12
                annotations.append({**annotation, "area": w * h, "iscrowd": 0, "category_id": category})
        categories = [{"id": 7, "name": "Mass"}, {"id": 12, "name": "Nodule"}]
        document = {"images": images, "categories": categories, "annotations": annotations}
        (root / split / "boxes.json").write_text(json.dumps(document))


class OwnCategories(unittest.TestCase):
    def test_pycocotools_scores_the_export_as_it_is(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)

            def d2r(*args: str) -> None:
                subprocess.run([os.environ["D2R"], *args, "--quiet"], cwd=at, check=True, stdout=subprocess.DEVNULL)

            d2r("phantom", "--preset", "tiny", "--out", "drawn", "--layout", "nih", "--images", "24", "--seed", "5")
            coco_dataset(at / "drawn" / "nih", at / "mine")
            d2r("ingest", "coco", "--root", "mine", "--dataset", "mine", "--labels", "dataset")
            tiny = ["--preset", "tiny", "--device", "cpu"]
            d2r("train-detector", "--dataset", "mine", *tiny)
            (detector,) = (at / "runs").iterdir()
            everything = ["--set", "annotate.score_floor=0.0", "--set", "annotate.threshold=0.0"]
            d2r("annotate", "--dataset", "mine", "--detector", str(detector), *tiny, *everything)
            export = ["export", "coco", "--dataset", "mine", "--split", "val", "--image-ids", "mine/val/boxes.json"]
            d2r(*export, "--out", "labelled.json")
            d2r(*export, "--pseudo", "--out", "detected.json")

            truth = COCO(str(at / "mine" / "val" / "boxes.json"))
            figures = {}
            for name in ("labelled", "detected"):
                found = COCO(str(at / f"{name}.json"))
                self.assertEqual(sorted(found.getCatIds()), [7, 12])
                self.assertLessEqual(set(found.getImgIds()), set(truth.getImgIds()))
                evaluation = COCOeval(truth, found, "bbox")
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
                figures[name] = evaluation.stats[0]
                # The same boxes as a list of results.
                truth.loadRes(found.dataset["annotations"])
            self.assertGreater(figures["labelled"], 0.999, "the annotators' boxes are those of the file")
            self.assertGreaterEqual(figures["detected"], 0.0)
