#!/bin/sh
# Runs in a mount namespace of its own and becomes Asterisk: every mount made here ends with the processes in it.
#   enter.sh ROOT DIR [HOST INSIDE]...
# ROOT is the shared root, never written to; DIR is this instance's directory with an empty `mnt`; each HOST path
# appears as INSIDE.
set -eu
lower=$1 dir=$2
shift 2

# The writable layer is a tmpfs: an overlay's upper directory may not itself lie on an overlay, which a container's
# disk often is.
mount -t tmpfs -o mode=0755 ivrd-rig "$dir/mnt"
cd "$dir/mnt"
mkdir upper work root
mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" overlay root

mount -t proc proc root/proc
# A /dev of its own: with the machine's bound in, the machine's /dev/null ended up 0620.
mount -t tmpfs -o mode=0755 dev root/dev
umask 000
mknod root/dev/null c 1 3
mknod root/dev/zero c 1 5
mknod root/dev/full c 1 7
mknod root/dev/random c 1 8
mknod root/dev/urandom c 1 9
mknod root/dev/tty c 5 0
umask 022
mkdir root/dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts root/dev/pts
ln -s pts/ptmx root/dev/ptmx
ln -s /proc/self/fd root/dev/fd

# Where no resolver answers, look-ups stall SIP for seconds. Asterisk asks for its own name, and for a root server to
# learn its address.
: > root/etc/resolv.conf
echo "127.0.0.1 localhost $(uname -n) A.ROOT-SERVERS.NET" > root/etc/hosts

while [ $# -gt 0 ]; do
    # Resolved inside the root: /var/run is a link to /run, which out here would be the machine's own.
    if [ -d "$1" ]; then
        chroot root /bin/mkdir -p "$2"
    else
        chroot root /bin/mkdir -p "$(dirname "$2")"
        chroot root /usr/bin/touch "$2"
    fi
    mount --bind "$1" "root$(chroot root /bin/readlink -f "$2")"
    shift 2
done

# Without -U root, which would drop the capabilities that let root read the asterisk user's files.
exec chroot root /usr/sbin/asterisk -f
