#!/usr/bin/env bash
# Installs what the tests of array jobs need: Slurm's controller, node daemon and commands, by Debian's packages. The tests start
# daemons of their own; without /etc/slurm/slurm.conf the packages start none.
set -euo pipefail

say() { printf 'slurm: %s\n' "$*" >&2; }

missing=()
PATH=$PATH:/usr/sbin
for program in slurmctld slurmd; do
  command -v "$program" >/dev/null || missing+=("$program")
done
for program in sbatch srun scontrol squeue scancel; do
  command -v "$program" >/dev/null || { missing+=(slurm-client); break; }
done
[ ${#missing[@]} -gt 0 ] || exit 0
# The plugins auth/none and cred/none.
missing+=(slurm-wlm-basic-plugins)
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  say "missing: ${missing[*]}; install with: sudo apt-get install ${missing[*]}"
  exit 1
fi
