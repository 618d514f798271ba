"""Golden files of `d2r_contracts::decode::dicom`: small DICOM files and the grey levels they must decode to.

Grey levels follow pydicom (`apply_modality_lut`, `apply_voi_lut`), scaled to 0..255; without a VOI, the range of
the values. Codestreams are written by imagecodecs and pydicom, so that no encoder is shared with the decoder.

Run: python tests/python/golden/dicom.py      (writes data-contracts/golden/dicom/)
"""

import json
import pathlib

import imagecodecs
import numpy
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom import uid

OUT = pathlib.Path(__file__).parents[3] / "data-contracts" / "golden" / "dicom"
SEED = 11
SIZE = 32


def image(bits, signed=False, seed=SEED):
    """A ramp with noise that uses the whole range of `bits`."""
    rng = numpy.random.default_rng(seed)
    ramp = numpy.linspace(0, (1 << bits) - 1, SIZE * SIZE).reshape(SIZE, SIZE)
    values = numpy.clip(ramp + rng.normal(0, (1 << bits) / 20, ramp.shape), 0, (1 << bits) - 1)
    values = values.astype(numpy.int32) - ((1 << (bits - 1)) if signed else 0)
    return values.astype(numpy.int16 if signed else numpy.uint16)


def file(values, bits_stored, syntax=uid.ExplicitVRLittleEndian, allocated=16, photometric="MONOCHROME2", **attributes):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    data.SOPInstanceUID = "1.2.3"
    data.PatientIdentityRemoved = "YES"
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = photometric
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, bits_stored, bits_stored - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(data, name, value)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    kind = "u1" if allocated == 8 else f"{values.dtype.kind}2"
    data.PixelData = values.astype(order + kind).tobytes()
    return data


def lut(count, first, bits, entries):
    item = Dataset()
    item.add_new(0x00283002, "US" if first >= 0 else "SS", [count, first, bits])
    item.add_new(0x00283006, "OW", numpy.asarray(entries, dtype="<u2").tobytes())
    return item


def compressed(data, syntax, codestream):
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([codestream])
    data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OB"
    return data


def expected(data, values):
    """Grey levels 0..255, bright = dense."""
    modality = numpy.asarray(apply_modality_lut(values, data), dtype=numpy.float64)
    if "VOILUTSequence" in data:
        rendered = apply_voi_lut(modality.astype(numpy.int64), data).astype(numpy.float64)
        share = rendered / ((1 << data.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif "WindowCenter" in data:
        rendered = apply_voi_lut(modality, data)
        low, high = 0.0, float((1 << data.BitsStored) - 1)
        if data.PixelRepresentation:
            low, high = -float(1 << (data.BitsStored - 1)), float((1 << (data.BitsStored - 1)) - 1)
        if "ModalityLUTSequence" in data:
            low, high = 0.0, float((1 << data.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
        elif "RescaleSlope" in data:
            low, high = (v * data.RescaleSlope + data.RescaleIntercept for v in (low, high))
        share = (rendered - low) / (high - low)
    else:
        share = (modality - modality.min()) / (modality.max() - modality.min())
    levels = numpy.floor(share * 255 + 0.5).astype(int)
    return 255 - levels if data.PhotometricInterpretation == "MONOCHROME1" else levels


def cases():
    twelve = image(12)
    yield "range_12", file(twelve, 12), twelve
    yield "linear_12", file(twelve, 12, WindowCenter=2000, WindowWidth=1500), twelve
    yield "linear_m1_implicit", file(
        twelve, 12, uid.ImplicitVRLittleEndian, photometric="MONOCHROME1", WindowCenter=["2000", "900"],
        WindowWidth=["3000", "100"],
    ), twelve
    yield "linear_exact_rescaled", file(
        twelve, 12, WindowCenter=100, WindowWidth=900.5, RescaleSlope=0.5, RescaleIntercept=-1024,
        VOILUTFunction="LINEAR_EXACT",
    ), twelve
    yield "sigmoid_big_endian", file(
        twelve, 12, uid.ExplicitVRBigEndian, WindowCenter=2048, WindowWidth=2000, VOILUTFunction="SIGMOID"
    ), twelve
    signed = image(16, signed=True)
    yield "signed_16", file(signed, 16, WindowCenter=-500, WindowWidth=20000), signed
    curve = (numpy.linspace(0, 1, 4096) ** 0.5 * 1023).astype(int)
    yield "voi_table", file(
        twelve, 12, VOILUTSequence=Sequence([lut(4096, 0, 10, curve)]), WindowCenter=1, WindowWidth=1
    ), twelve
    yield "voi_table_below_zero", file(
        twelve, 12, RescaleSlope=1, RescaleIntercept=-1000,
        VOILUTSequence=Sequence([lut(3000, -500, 12, numpy.linspace(0, 4095, 3000).astype(int))]),
    ), twelve
    yield "modality_table", file(
        twelve, 12, ModalityLUTSequence=Sequence([lut(2048, 1024, 16, numpy.arange(2048) * 30)]), WindowCenter=30000,
        WindowWidth=50000,
    ), twelve
    eight = image(8)
    yield "eight_bits", file(eight, 8, allocated=8), eight
    sixteen = image(16)
    yield "deflated", file(sixteen, 16, uid.DeflatedExplicitVRLittleEndian), sixteen
    rle = file(twelve, 12)
    rle.compress(uid.RLELossless, encoding_plugin="pydicom")
    yield "rle_12", rle, twelve
    yield "jpeg_lossless_12", compressed(
        file(twelve, 12), uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode(twelve, bitspersample=12)
    ), twelve
    yield "jpeg_lossless_16", compressed(
        file(sixteen, 16), uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode(sixteen, bitspersample=16)
    ), sixteen
    jpeg2000 = {"codecformat": "j2k", "level": 0, "reversible": True}
    yield "jpeg_2000_12", compressed(
        file(twelve, 12), uid.JPEG2000Lossless, imagecodecs.jpeg2k_encode(twelve, bitspersample=12, **jpeg2000)
    ), twelve
    yield "jpeg_2000_signed", compressed(
        file(signed, 16), uid.JPEG2000Lossless, imagecodecs.jpeg2k_encode(signed, bitspersample=16, **jpeg2000)
    ), signed
    yield "jpeg_2000_16", compressed(
        file(sixteen, 16), uid.JPEG2000Lossless, imagecodecs.jpeg2k_encode(sixteen, bitspersample=16, **jpeg2000)
    ), sixteen
    # Grey but for a corner whose channels differ; a component transform is applied.
    colour = numpy.stack([eight, eight, eight], axis=-1).astype(numpy.int32)
    colour[:9, :9] += numpy.array([7, 0, -9])
    colour = colour.clip(0, 255).astype(numpy.uint8)
    luma = (colour.astype(numpy.int32) @ numpy.array([299, 587, 114]) + 500) // 1000
    yield "jpeg_2000_colour", compressed(
        file(eight, 8, allocated=8, photometric="YBR_RCT", SamplesPerPixel=3, PlanarConfiguration=0),
        uid.JPEG2000Lossless,
        imagecodecs.jpeg2k_encode(colour, mct=True, **jpeg2000),
    ), luma
    yield "jpeg_extended_12", compressed(
        file(twelve, 12), uid.JPEGExtended12Bit, imagecodecs.jpeg_encode(twelve, level=95, bitspersample=12)
    ), None


def main():
    grey = {}
    for name, data, values in cases():
        data.save_as(OUT / f"{name}.dcm", enforce_file_format=True)
        grey[name] = None if values is None else bytes(expected(data, values).astype(numpy.uint8).ravel()).hex()
    document = {
        "generator": "tests/python/golden/dicom.py",
        "pydicom": pydicom.__version__,
        "imagecodecs": imagecodecs.__version__,
        "numpy": numpy.__version__,
        "seed": SEED,
        "side": SIZE,
        "grey": grey,
    }
    (OUT / "expected.json").write_text(json.dumps(document, indent=0) + "\n")
    for path in sorted(OUT.iterdir()):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
