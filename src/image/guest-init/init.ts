/**
 * The first process of a guest that runs commands for the host: a script for busybox's shell that sets the guest up and then
 * becomes the agent (../guest-agent), which has the channel to the host as standard input and output, and busybox as descriptor 3; or
 * the root's own init, with the agent beside it.
 *
 * When something is missing it says so on the channel, in the frame FAILED of ../guest-agent/frames.ts.
 */
import { loadModules } from './load-modules.ts';

export const GUEST_INIT = `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/domus
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || ln -s fd/0 /dev/stdin
[ -e /dev/stdout ] || ln -s fd/1 /dev/stdout
[ -e /dev/stderr ] || ln -s fd/2 /dev/stderr

. /domus/settings

stop() {
  poweroff -f
  # Not reached unless the kernel refuses.
  halt -f
}

is_open=
fail() {
  echo "domus: $*"
  if [ "$is_open" ]; then
    why="$*"
    printf "\\012\\000\\000\\000\\\\$(printf %03o "\${#why}")\\000\\000\\000%s" "$why" >&7
    # Setting a mode waits until everything is on its way.
    stty raw -echo <&7
  fi
  stop
}

# A console's node may exist before its device answers, so opening it is the test.
await_device() {
  tries=0
  until ( : <>"$1" ) 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 1000 ] || fail "the console $1 did not appear"
    usleep 10000
  done
}

# Set from outside: no exchange has to be waited for. A guest with a userland of its own may ask by DHCP.
set_up_network() {
  tries=0
  until [ -e /sys/class/net/eth0 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { echo "domus: the kernel shows no network interface"; return; }
    usleep 10000
  done
  ip link set eth0 mtu "$domus_mtu" up
  ip address add "$domus_address" dev eth0
  [ -z "$domus_gateway" ] || ip route add default via "$domus_gateway"
  [ -z "$domus_nameserver" ] || echo "nameserver $domus_nameserver" >/etc/resolv.conf
  until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { echo "domus: the network interface has no carrier"; return; }
    usleep 10000
  done
}

# A disk appears when its two halves have met.
await_disks() {
  for disk in $domus_disks; do
    tries=0
    until [ -b "/dev/$disk" ]; do
      tries=$((tries + 1))
      [ "$tries" -lt 500 ] || fail "the kernel shows no disk $disk: it may lack the driver xen-blkfront"
      usleep 10000
    done
  done
}

# mount_folder TARGET TAG OPTIONS: possible as soon as the device is there. Messages are as long as the rings allow.
mount_folder() {
  mkdir -p "$1" || fail "cannot make the folder $1"
  tries=0
  until why=$(mount -t 9p -o "trans=xen,version=9p2000.L,msize=524288,$3" "$2" "$1" 2>&1); do
    tries=$((tries + 1))
    [ "$tries" -lt 500 ] || fail "cannot mount a shared folder: $why"
    usleep 10000
  done
}
mount_folders() {
  [ "$domus_folders" ] || return 0
  while read -r tag options target; do
    mount_folder "$root$target" "$tag" "$options"
  done <<END
$domus_folders
END
}

# A disk or a shared folder becomes the root. What the machine needs in it is made, where it is missing; what the guest runs on is moved.
prepare_root() {
  root=/sysroot
  if [ "$domus_root" ]; then
    mkdir "$root"
    # Else a thread of the kernel's reads all bitmaps of the file system in the minute after, in each clone again. Linux has that since 5.13.
    mount -t ext4 -o noatime,no_prefetch_block_bitmaps "/dev/$domus_root" "$root" 2>/dev/null ||
      mount -t ext4 -o noatime "/dev/$domus_root" "$root" || fail "the root disk $domus_root cannot be mounted"
  else
    mount_folder "$root" "$1" "$2"
  fi
  umount /tmp
  for folder in dev proc run sys; do
    [ -d "$root/$folder" ] || mkdir "$root/$folder" || fail "the root has no folder $folder"
    mount -o move "/$folder" "$root/$folder"
  done
  [ -d "$root/tmp" ] || mkdir -m 1777 "$root/tmp"
  [ -w "$root/tmp" ] || mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  [ -d "$root/etc" ] || mkdir "$root/etc"
  if [ "$domus_root" ]; then
    # Files that say which machine this is, where the image leaves them open.
    [ -s "$root/etc/hostname" ] || echo "$domus_hostname" >"$root/etc/hostname"
    [ -s "$root/etc/hosts" ] ||
      printf '127.0.0.1\\tlocalhost\\n::1\\tlocalhost\\n127.0.1.1\\t%s\\n' "$domus_hostname" >"$root/etc/hosts"
  fi
  [ -z "$domus_nameserver" ] || { rm -f "$root/etc/resolv.conf"; cp /etc/resolv.conf "$root/etc/"; }
  cp /domus/agent "$root/run/domus/"
}

# What nearly all commands need, the dynamic linker and the C library, is in memory from the beginning: of a machine that is kept, a saved
# one or a clone too. A root without a shell does without.
warm_up() {
  timeout 5 chroot "$root" /bin/sh -c : </dev/null >/dev/null 2>&1
}

# The root's own init becomes process 1. The agent goes on beside it, with that root for its own, from where nothing is removed;
# it takes no commands before the hand-over.
boot_root() {
  [ -e "$root$domus_init" ] || [ -L "$root$domus_init" ] ||
    fail "the root has no $domus_init: install an init in it, for example the packages systemd-sysv and udev"
  chroot "$root" /run/domus/agent <&7 >&7 7<&- 3</bin/busybox &
  until [ "$(readlink "$root/proc/$!/exe")" != /bin/busybox ]; do usleep 1000; done
  exec 7<&-
  exec switch_root "$root" "$domus_init"
}

${loadModules('/domus/modules')}hostname "$domus_hostname"
ip link set lo up 2>/dev/null
[ -z "$domus_address" ] || set_up_network

await_device "$domus_channel"
exec 7<>"$domus_channel"
stty raw -echo <&7
is_open=1
await_disks
[ -z "$domus_root_folder$domus_folders" ] || grep -q '	9p$' /proc/filesystems ||
  fail "the kernel has no driver for shared folders (9p over Xen)"
root=
[ -z "$domus_root_folder$domus_root" ] || prepare_root $domus_root_folder
mount_folders
[ -z "$domus_init" ] || boot_root
[ -z "$domus_root" ] || warm_up
[ -z "$root" ] || exec switch_root "$root" /run/domus/agent <&7 >&7 7<&- 3</bin/busybox
exec /domus/agent <&7 >&7 7<&- 3</bin/busybox
`;
