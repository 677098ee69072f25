#!/usr/bin/env bash
# systemd.sh CGROUP PLACE [SOURCE:TARGET...]
#
# Joins CGROUP, and starts systemd in namespaces of its own, over a copy of this machine's files that
# lives in memory and is mounted at PLACE. It finds no service there but the journal, and each SOURCE
# at TARGET, read-only.
set -euo pipefail

cgroup=$1
root=$2

if [ "${INSIDE:-}" != yes ]; then
    echo $$ >"$cgroup/cgroup.procs"
    INSIDE=yes exec unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child=SIGKILL \
        bash "$0" "$@"
fi
shift 2

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root"/{above,work,both}
mount -t overlay -o "lowerdir=/,upperdir=$root/above,workdir=$root/work" overlay "$root/both"
root=$root/both
cd "$root"

# What systemd would start here, and what it would find of former runs.
units=usr/lib/systemd/system
mkdir ../units
for unit in {sysinit,basic,sockets,network-online,multi-user,shutdown}.target systemd-journald.{service,socket}; do
    cp "/$units/$unit" ../units
done
mkdir ../units/sysinit.target.wants
ln -s ../systemd-journald.service ../units/sysinit.target.wants
for emptied in etc/systemd etc/mcp-guard $units ${units}-generators run tmp var; do
    mkdir -p "$emptied"
    mount -t tmpfs -o mode=755 tmpfs "$emptied"
done
cp -a ../units/. $units
mkdir -p etc/systemd/system var/{lib,cache,log}
mkdir -m 1777 var/tmp
ln -s /run var/run
chmod 1777 tmp

# Of the kernel's settings, some are the whole machine's.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done

for pair in "$@"; do
    IFS=: read -r source target <<<"$pair"
    mkdir -p ".$target"
    mount --bind "$source" ".$target"
    mount -o remount,bind,ro ".$target"
done

ip link set lo up
pivot_root . .
umount --lazy .
# systemd hands credentials from one mount namespace to another.
mount --make-rshared /
# To systemd this is a container: it leaves the machine's clock, console and modules alone.
exec env -i container=other PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    setpriv --bounding-set=-sys_time,-sys_boot,-sys_module,-sys_rawio \
    /lib/systemd/systemd --unit=multi-user.target --show-status=no
