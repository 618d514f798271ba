#!/usr/bin/env bash
# `cargo_tool.sh NAME` builds a tool of the package registry once, into the cache folder, and prints the folder of its programs.
# Before anything of the tool's archive is built or run, the archive must have the digest below; the lock file inside it holds
# the digests of all other packages.
# Exit code 75: the archive cannot be fetched. 1: it is another archive, or does not build.
set -euo pipefail

name=${1:?usage: cargo_tool.sh NAME}
flags=()
case $name in
  cargo-auditable)
    version=0.7.7
    sha256=ccdd489bc94d1338cd04389a842e00661300331ec915fb376b4810ef7d480b5d
    ;;
  cargo-cyclonedx)
    version=0.5.9
    sha256=5d162f67705f0f5038759d73bf546a083bf30e8677c2e944b416bca48d9d69a8
    ;;
  cargo-deny)
    version=0.20.2
    sha256=e528dfcbe739af7ce37a77d3d6df1b29dd6887b1c701d888820c0f16b864f737
    flags=(--no-default-features)
    ;;
  mdbook)
    version=0.5.4
    sha256=5f68ffebcd0b9a4eb72aaacc4342bc94e1d63c01893b7c921437f6ef02443699
    flags=(--debug --no-default-features --features search)
    ;;
  *)
    echo "cargo_tool.sh: there is no tool $name" >&2
    exit 2
    ;;
esac
say() { printf '%s: %s\n' "$name" "$*" >&2; }

tool=${XDG_CACHE_HOME:-$HOME/.cache}/d2r/tools/$name-$version-${sha256:0:16}
if [ -d "$tool/bin" ]; then
  echo "$tool/bin"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work" "$tool.new-$$"' EXIT
# Outside the project, whose lock file would choose the version.
cd "$work"
if ! cargo info --quiet --color never "$name@$version" >/dev/null 2>log; then
  say "version $version cannot be fetched: $(tail -n 1 log)"
  exit 75
fi
archive=""
for found in "${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*/"$name-$version.crate"; do
  if [ -f "$found" ] && [ "$(sha256sum "$found" | cut -c1-64)" = "$sha256" ]; then archive=$found; fi
done
if [ -z "$archive" ]; then
  say "the archive of version $version does not have the digest $sha256: nothing is built"
  exit 1
fi
tar -xzf "$archive"
if [ ! -f "$name-$version/Cargo.lock" ]; then
  say "the archive of version $version has no lock file: nothing is built"
  exit 1
fi
say "building version $version into $tool (once, some minutes)"
CARGO_TARGET_DIR=$work/target cargo install --quiet --locked --root "$tool.new-$$" --path "$name-$version" "${flags[@]}" >&2
rm -rf "$tool"
mv "$tool.new-$$" "$tool"
echo "$tool/bin"
