#!/usr/bin/env bash
# container.sh ROOT USER MOUNT... -- NAME=VALUE... -- COMMAND...
#
# Process 1 of new namespaces until it becomes COMMAND: sets up what a container engine does.
set -euo pipefail

root=$1
user=$2
shift 2

mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/run"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
# Where secrets are mounted: nothing of them is left in the image's files.
mount -t tmpfs -o mode=755 tmpfs "$root/run"
while [ "$1" != -- ]; do
    IFS=: read -r mode source target <<<"$1"
    if [ -d "$source" ]; then
        mkdir -p "$root$target"
    else
        mkdir -p "$(dirname "$root$target")"
        touch "$root$target"
    fi
    mount --bind "$source" "$root$target"
    [ "$mode" = rw ] || mount -o remount,bind,ro "$root$target"
    shift
done
shift
mount -o remount,bind,ro "$root"

ip link set lo up
# As Docker and Podman have it: any port for anybody.
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start

variables=()
while [ "$1" != -- ]; do
    variables+=("$1")
    shift
done
shift
# What chroot needs itself goes with the change of the user.
exec env -i "${variables[@]}" /usr/bin/setpriv --no-new-privs --inh-caps=-all \
    --bounding-set=-all,+sys_chroot,+setuid,+setgid \
    /usr/sbin/chroot --userspec="$user" --groups= "$root" "$@"
