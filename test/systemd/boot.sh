#!/bin/bash
# Becomes the first process of a machine: systemd, with file systems, processes, names and control groups of its own, in the network
# namespace that it is started in. Everything that it mounts is in a mount namespace of its own, and goes with it.
#   boot.sh HOSTNAME DIRECTORY LAYERS NODE CGROUP      DIRECTORY keeps what the machine writes, over the read-only LAYERS (with colons between)
set -euo pipefail
name=$1 directory=$2 layers=$3 node=$4 cgroup=$5

if [ "${6:-}" != inside ]; then
  mkdir -p "$cgroup" "$directory"/{root,written,work}
  echo $$ >"$cgroup/cgroup.procs"
  exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child "$0" "$name" "$directory" "$layers" "$node" "$cgroup" inside
fi

root=$directory/root
mount --make-rprivate /
mount -t overlay machine -o "lowerdir=$layers,upperdir=$directory/written,workdir=$directory/work" "$root"
mount --bind -o ro "$node" "$root/usr/local/bin/node"
mount -t proc proc "$root/proc" -o nosuid,noexec,nodev
mount -t sysfs sysfs "$root/sys" -o ro,nosuid,noexec,nodev
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" -o nosuid,noexec,nodev
mount -t tmpfs tmpfs "$root/run" -o mode=755,nosuid,nodev
mount -t tmpfs tmpfs "$root/dev" -o mode=755,nosuid
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root"/dev/{pts,shm}
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666,mode=620,gid=5
mount -t tmpfs tmpfs "$root/dev/shm" -o mode=1777
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0 1 2; do ln -s "fd/$number" "$root/dev/$(echo stdin stdout stderr | cut -d' ' -f$((number + 1)))"; done
hostname "$name"
echo "$name" >"$root/etc/hostname"
cd "$root"
pivot_root . .
umount -l .
cd /
# By this systemd knows that it is no machine of metal.
exec env -i container=understudy PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=journal systemd.unified_cgroup_hierarchy=1
