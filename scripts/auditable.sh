# shellcheck shell=bash
# Sourced from the project's root by scripts that define `say`: sets `build` to the cargo whose programs carry the list of their
# packages, with versions (cargo-auditable); to plain cargo, which is said, where the tool cannot be fetched.
build=(cargo)
if auditable=$(scripts/cargo_tool.sh cargo-auditable); then
  build=(cargo auditable)
  export PATH=$auditable:$PATH
else
  [ $? = 75 ] || exit 1
  say "cargo-auditable cannot be installed: what is built carries NO list of its packages"
fi
