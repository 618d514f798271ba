#!/usr/bin/env bash
# The bill of materials (CycloneDX, JSON) of a package of the workspace: `sbom.sh d2r-batch|d2r-viewer FILE`.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:?usage: sbom.sh PACKAGE FILE} in
  d2r-batch) folder=batch ;;
  d2r-viewer) folder=wasm-viewer ;;
  *) printf 'sbom: no such package: %s\n' "$1" >&2; exit 64 ;;
esac
file=${2:?usage: sbom.sh PACKAGE FILE}
cyclonedx=$(scripts/cargo_tool.sh cargo-cyclonedx)/cargo-cyclonedx
# It writes beside the manifest of every package of the workspace.
trap 'find batch wasm-viewer data-contracts tests -name "$1.cdx.json" -delete' EXIT
"$cyclonedx" cyclonedx --manifest-path "$folder/Cargo.toml" --format json --override-filename "$1.cdx" >&2
mv "$folder/$1.cdx.json" "$file"
