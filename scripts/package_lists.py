"""Lists of packages of what is built.

`package_lists.py binary FILE`: reads the list that cargo-auditable put into an ELF program or a WebAssembly module (section
`.dep-v0`: JSON, compressed by zlib) and prints the number of packages; exit code 1 where there is none.
`package_lists.py wheel WHEEL LOCK`: a bill of materials (CycloneDX 1.5, JSON) of a wheel on standard output. A wheel holds no
other package; what it imports is listed in the versions, and with the hashes, of the lock file that it is tested with.
"""

import email
import hashlib
import json
import re
import struct
import sys
import zipfile
import zlib
from pathlib import Path

SECTION = ".dep-v0"


def sections_of_elf(data: bytes) -> dict[str, bytes]:
    """The sections of a 64-bit little-endian ELF file by name (System V ABI, chapter 4)."""
    if data[4:6] != b"\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    # Per header: name, type, flags, address, offset, size.
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
    texts = headers[names][4]
    return {
        data[texts + name : data.index(b"\0", texts + name)].decode(): data[offset : offset + length]
        for name, _, _, _, offset, length in headers
    }


def leb128(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def sections_of_wasm(data: bytes) -> dict[str, bytes]:
    """The custom sections of a WebAssembly module by name (core specification, section 5.5.3)."""
    found, at = {}, 8
    while at < len(data):
        kind, (size, start) = data[at], leb128(data, at + 1)
        at = start + size
        if kind == 0:
            length, begin = leb128(data, start)
            found[data[begin : begin + length].decode()] = data[begin + length : at]
    return found


def packages(path: Path) -> list[dict]:
    """The packages that a program or module lists: name, version, source. `ValueError` where it lists none."""
    data = path.read_bytes()
    if data[:4] == b"\x7fELF":
        sections = sections_of_elf(data)
    elif data[:4] == b"\0asm":
        sections = sections_of_wasm(data)
    else:
        raise ValueError("neither an ELF program nor a WebAssembly module")
    if SECTION not in sections:
        raise ValueError(f"no list of packages (section {SECTION}); build it with cargo auditable")
    return json.loads(zlib.decompress(sections[SECTION]))["packages"]


def locked(text: str) -> list[dict]:
    """The packages of a lock file of requirements as components: name, version, digests of the archives that it allows."""
    components = []
    for name, version, rest in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(.*(?:\n[ \t].*)*)", text, re.MULTILINE):
        hashes = sorted(set(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)))
        purl = f"pkg:pypi/{name}@{version}"
        components.append({
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            "scope": "required",
            "externalReferences": [
                {"type": "distribution", "url": purl, "hashes": [{"alg": "SHA-256", "content": digest}]} for digest in hashes
            ],
        })
    return components


def bill_of_wheel(wheel: Path, lock: Path) -> dict:
    """The bill of materials of a wheel. The same files give the same text: it holds no time and no random number."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(metadata))
    components = locked(lock.read_text(encoding="utf-8"))
    if not components:
        raise ValueError(f"{lock}: no locked package")
    reference = {component["name"]: component["bom-ref"] for component in components}
    direct = [re.match(r"[A-Za-z0-9._-]+", line).group() for line in about.get_all("Requires-Dist", []) if "extra ==" not in line]
    missing = sorted(set(direct) - set(reference))
    if missing:
        raise ValueError(f"{lock}: lacks {', '.join(missing)}, which the wheel needs")
    purl = f"pkg:pypi/{about['Name']}@{about['Version']}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": purl,
                "name": about["Name"],
                "version": about["Version"],
                "purl": purl,
                "licenses": [{"expression": about["License-Expression"]}],
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
            }
        },
        "components": components,
        "dependencies": [{"ref": purl, "dependsOn": sorted(reference[name] for name in direct)}],
    }


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["binary", file]:
                print(f"{len(packages(Path(file)))} packages are listed in {Path(file).name}")
            case ["wheel", wheel, lock]:
                print(json.dumps(bill_of_wheel(Path(wheel), Path(lock)), indent=2))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (OSError, ValueError, struct.error, zlib.error, IndexError) as error:
        print(f"{arguments[1]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
