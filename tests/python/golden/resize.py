"""Golden values of `d2r_contracts::preprocess::resize`: Pillow's BILINEAR on 8-bit grey images.

Run: python tests/python/golden/resize.py      (writes data-contracts/golden/resize.json)
"""

import json
import pathlib

import numpy
import PIL
from PIL import Image

OUT = pathlib.Path(__file__).parents[3] / "data-contracts" / "golden" / "resize.json"
SEED = 20260


def images():
    rng = numpy.random.default_rng(SEED)
    yy, xx = numpy.mgrid[0:41, 0:67]
    yield "gradient", ((3 * xx + 2 * yy) % 256).astype(numpy.uint8)
    yield "noise", rng.integers(0, 256, (33, 50), dtype=numpy.uint8)
    yield "stripes", (numpy.indices((64, 48)).sum(0) % 2 * 255).astype(numpy.uint8)


TARGETS = [(16, 16), (33, 20), (50, 33), (67, 26), (7, 90), (1, 1), (48, 3)]


def main():
    cases = []
    for name, pixels in images():
        cases.append(
            {
                "name": name,
                "width": pixels.shape[1],
                "height": pixels.shape[0],
                "pixels": pixels.tobytes().hex(),
                "resized": [
                    {
                        "width": w,
                        "height": h,
                        "pixels": Image.fromarray(pixels)
                        .resize((w, h), Image.Resampling.BILINEAR)
                        .tobytes()
                        .hex(),
                    }
                    for w, h in TARGETS
                ],
            }
        )
    document = {"generator": "tests/python/golden/resize.py", "pillow": PIL.__version__, "seed": SEED, "cases": cases}
    OUT.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    print(OUT.name, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
