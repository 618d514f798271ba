#!/bin/bash
# Inside the guest: a disk, the NFS server of the kernel on it, and the checks.
set -eu
ulimit -n 4096
hostname server
for module in veth nfs nfsv3 nfsv4 nfsd lockd; do modprobe "$module"; done
ip link set lo up
grep -q '^_rpc:' /etc/passwd || echo '_rpc:x:64998:65534::/run/rpcbind:/usr/sbin/nologin' >>/etc/passwd
grep -q '^statd:' /etc/passwd || echo 'statd:x:64999:65534::/var/lib/nfs:/usr/sbin/nologin' >>/etc/passwd
# The guest has no IPv6.
sed -i /inet6/d /etc/netconfig
mkfs.ext4 -q /dev/ubda
mkdir -p /srv/disk /lake /run/rpcbind /run/sendsigs.omit.d /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/v4recovery
chown -R statd /var/lib/nfs/sm /var/lib/nfs/sm.bak
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/state
mount /dev/ubda /srv/disk
mount -t nfsd nfsd /proc/fs/nfsd
echo '/srv/disk 10.0.0.0/8(rw,sync,no_root_squash,no_subtree_check,fsid=0)' >/etc/exports
rpcbind -w
rpc.statd --no-notify
exportfs -ra
# The time in which clients reclaim locks of a server that was started again; there are none.
echo 10 >/proc/fs/nfsd/nfsv4leasetime
echo 10 >/proc/fs/nfsd/nfsv4gracetime
rpc.nfsd 4
rpc.mountd
echo Y >/proc/fs/nfsd/v4_end_grace || true
exec "$nfs_python" "$nfs_tests/checks.py" "$nfs_work"
