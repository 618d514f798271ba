#!/usr/bin/env bash
# What the tests on NFS mounts need, as a tree in FOLDER: a kernel in user mode with its NFS modules, the NFS server and what
# mounts. By Debian's packages, which are unpacked and not installed: no server starts on this machine, and no root is needed
# where apt's lists are there. Prints a line `skipped: REASON` and ends with 0 where this machine cannot have them.
set -euo pipefail

folder=${1:?usage: nfs_setup.sh FOLDER}
packages=(user-mode-linux nfs-kernel-server nfs-common rpcbind kmod iproute2 util-linux e2fsprogs strace)

say() { printf 'nfs: %s\n' "$*" >&2; }
skip() { printf 'skipped: %s\n' "$*"; exit 0; }

[ ! -e "$folder/complete" ] || exit 0
[ "$(uname -sm)" = "Linux x86_64" ] || skip "the kernel in user mode is for Linux on x86-64"
for program in apt-get dpkg-deb; do
  command -v "$program" >/dev/null || skip "no $program; the packages are Debian's: ${packages[*]}"
done
say "unpacking ${packages[*]} into $folder"
rm -rf "$folder"
mkdir -p "$folder/archives/partial" "$folder"/usr/{bin,sbin,lib}
for name in bin sbin lib; do
  ln -s "usr/$name" "$folder/$name"
done
# What is installed already is not fetched: the guest sees this machine's files under the tree.
fetch() {
  apt-get install -y -qq --download-only --no-install-recommends -o Debug::NoLocking=1 \
    -o "Dir::Cache::archives=$folder/archives" "${packages[@]}" >"$folder/apt.log" 2>&1
}
if [ "$(id -u)" = 0 ]; then
  apt-get update -qq || say "the package lists are old"
fi
fetch || skip "apt-get cannot fetch ${packages[*]}: $(tail -n 1 "$folder/apt.log")"
for archive in "$folder"/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$archive" | tar -x --keep-directory-symlink --no-same-owner -C "$folder"
done
find "$folder" -type f -perm /6000 -exec chmod ug-s {} +
rm -rf "$folder/archives"
kernel=$(ls "$folder/usr/lib/uml/modules")
# Where modprobe looks for them.
mkdir -p "$folder/usr/lib/modules"
ln -s "../uml/modules/$kernel" "$folder/usr/lib/modules/$kernel"
touch "$folder/complete"
