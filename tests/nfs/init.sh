#!/bin/bash
# The first process of the guest. The machine's files are its root, read only; the unpacked packages and a file system in memory
# lie over them, and the disk that NFS exports is a file of the host. Then it starts the NFS server and the checks.
# Of the kernel's command line: nfs_packages, nfs_work (the folder for results), nfs_tests, and nfs_python.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
packages=$nfs_packages work=$nfs_work
end() { echo o >/proc/sysrq-trigger; sleep 60; }
mount -t proc proc /proc
exec >"/proc/self/fd/1" 2>&1
trap end EXIT
set -e
mount -t hostfs -o "$work" hostfs /mnt
touch /mnt/started
umount /mnt
kernel=$(uname -r)
modules=$packages/usr/lib/modules/$kernel/kernel
(export LD_LIBRARY_PATH=$packages/usr/lib/x86_64-linux-gnu; exec -a insmod "$packages/usr/bin/kmod" "$modules/fs/overlayfs/overlay.ko")
mount -t tmpfs tmpfs /mnt
mkdir /mnt/packages /mnt/upper /mnt/work /mnt/root
# A mount of its own: overlayfs refuses a layer that lies inside another.
mount -t hostfs -o "$packages" hostfs /mnt/packages
mount -t overlay -o "lowerdir=/mnt/packages:/,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/shm run
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs run
mount -t hostfs -o "$work" hostfs "${work#/}"
trap - EXIT
chroot . /bin/bash "$nfs_tests/server.sh" || true
sync
end
