#!/bin/sh
# Runs in a mount namespace of its own and becomes a booted container: every mount made here ends with it.
#   enter.sh ROOT DIR [CGROUP...] -- [OPTION...]
# ROOT is the shared root, never written to; DIR has an empty `mnt`; the container lives below each CGROUP; the options are
# systemd-nspawn's.
set -eu
lower=$1 dir=$2
shift 2
while [ "$1" != -- ]; do
    echo $$ > "$1/cgroup.procs"
    shift
done
shift

# The writable layer is a tmpfs: an overlay's upper directory may not itself lie on an overlay, which a container's disk
# often is.
mount -t tmpfs -o mode=0755 ivrd-rig "$dir/mnt"
# At a reboot nspawn clears its directory in /run, and refuses to do so where that is on a disk.
mount -t tmpfs -o mode=0755 ivrd-rig /run
cd "$dir/mnt"
mkdir upper work root
mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" overlay root

# It ends with 133 when the container is to be booted anew.
status=133
while [ "$status" -eq 133 ]; do
    status=0
    systemd-nspawn --quiet --boot --directory=root --register=no --keep-unit --console=passive --private-network "$@" ||
        status=$?
done
exit "$status"
