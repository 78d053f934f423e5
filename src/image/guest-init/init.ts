/**
 * The first process of a guest that runs commands for the host: a script for busybox's shell.
 *
 * It talks to the host over three consoles (run-channel.ts is the other end):
 *
 * - IO: the command's stdin and stdout. Towards the guest, stdin comes in frames, `LENGTH\n` and that many bytes, 0 for end of
 *   file; towards the host, stdout is plain bytes. With a terminal both directions are plain: the console is the command's
 *   controlling terminal.
 * - ERR: the command's stderr, plain bytes.
 * - CTL: lines. Host to guest: `run TERMINAL INPUT ROWS COLUMNS MARK LENGTH` followed by LENGTH bytes, a script that ends in `exec`
 *   (run-command.ts); while it runs `signal NUMBER` and `size ROWS COLUMNS`; between commands `stop`. Guest to host: `ready`, then for
 *   each command `started` and `exit CODE`; `error TEXT`.
 *
 * MARK is a word that the host makes up. It ends the command's output on IO and ERR, so that the host knows when it has everything,
 * and before a command it stands as a line of its own on IO: what comes before was meant for the last command.
 *
 * Why it is as it is:
 * - The consoles stay open from beginning to end: the driver forgets a tty's modes at the last close.
 * - Stdout and stderr reach the consoles through fifos and `cat`: the command sees no terminal where there is none, and when the
 *   last writer is gone the `cat`s end, so that nothing can be lost or awaited forever.
 * - The command runs in the foreground, because a shell starts background processes with SIGINT and SIGQUIT ignored; and in a
 *   subshell, because this shell redirects itself for the time of a plain command and would report a signal on its stderr.
 * - `stty` sets modes only after the output has drained. That is how the script waits until everything is on its way before it
 *   reports the exit code.
 * - With a terminal, the kernel hangs the console up when the leader of its session ends: what has not drained is lost and open files
 *   are dead. So the leader is a shell of ours that waits for the drain, and the console is opened anew.
 * - This shell reads from a terminal byte by byte, so what follows a line is still there for `dd`.
 */
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

control_open=
fail() {
  echo "domus: $*"
  if [ "$control_open" ]; then
    echo "error $*" >&7
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

# Reads what the host asks for while a command runs.
control() {
  while read -r verb first second; do
    case "$verb" in
      signal)
        # The command may be on its way still.
        until [ -s /run/domus/pid ]; do usleep 1000; done
        kill -"$first" "$(cat /run/domus/pid)"
        ;;
      size) stty rows "$first" cols "$second" <&5 ;;
    esac
  done
}

# Unpacks the frames of stdin. Ends at the host's end of file, or when the command no longer reads.
feed() {
  while read -r length; do
    [ "$length" -gt 0 ] || break
    dd bs="$length" count=1 iflag=fullblock 2>/dev/null || break
  done
}

# Leads the session of a terminal's command, outlives it and lets its output drain.
lead_session='
  trap : HUP INT QUIT TERM
  ( exec /run/domus/command 2>&1 )
  code=$?
  trap "" TTOU
  stty sane
  exit "$code"
'

# run_command TERMINAL INPUT ROWS COLUMNS MARK LENGTH
run_command() {
  dd bs="$6" count=1 iflag=fullblock 2>/dev/null <&7 >/run/domus/command
  chmod 700 /run/domus/command
  while read -r line; do
    [ "$line" = "$5" ] && break
  done <&5
  rm -f /run/domus/pid
  [ "$1" = 0 ] || stty sane rows "$3" cols "$4" <&5
  control <&7 6<&- 7<&- 2>/dev/null &
  control_pid=$!
  feed_pid=1
  out_pid=1
  err_pid=1
  echo started >&7

  if [ "$1" = 1 ]; then
    ( exec setsid -c sh -c "$lead_session" <&5 >&5 5<&- 6<&- 7<&- )
    code=$?
    exec 5<>"$domus_io"
  else
    cat </run/domus/out >&5 5<&- 6<&- 7<&- &
    out_pid=$!
    cat </run/domus/err >&6 5<&- 6<&- 7<&- &
    err_pid=$!
    if [ "$2" = 1 ]; then
      feed <&5 >/run/domus/in 5<&- 6<&- 7<&- &
      feed_pid=$!
      ( exec setsid /run/domus/command </run/domus/in >/run/domus/out 2>/run/domus/err 5<&- 6<&- 7<&- )
      code=$?
    else
      ( exec setsid /run/domus/command </dev/null >/run/domus/out 2>/run/domus/err 5<&- 6<&- 7<&- )
      code=$?
    fi
  fi

  # A command takes along whatever it left behind, except those that still carry its output.
  cd /proc
  for pid in [0-9]*; do
    case "$pid" in
      1 | "$out_pid" | "$err_pid") ;;
      *) kill -9 "$pid" ;;
    esac
  done 2>/dev/null
  cd /
  for pid in "$control_pid" "$feed_pid" "$out_pid" "$err_pid"; do
    [ "$pid" = 1 ] || wait "$pid"
  done
  # Setting the mode first: the mark must come out as it is.
  stty raw -echo <&5
  printf %s "$5" >&5
  printf %s "$5" >&6
  stty raw -echo <&5
  stty raw -echo <&6
  echo "exit $code" >&7
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

# A shared folder can be mounted as soon as its device is there. Messages are as long as the rings allow.
mount_folders() {
  [ "$domus_folders" ] || return 0
  grep -q '	9p$' /proc/filesystems || fail "the kernel has no driver for shared folders (9p over Xen)"
  while read -r tag options target; do
    mkdir -p "$target" || fail "cannot make the folder $target"
    tries=0
    until mount -t 9p -o "trans=xen,version=9p2000.L,msize=524288,$options" "$tag" "$target" 2>/run/domus/mount; do
      tries=$((tries + 1))
      [ "$tries" -lt 500 ] || fail "cannot mount a shared folder on $target: $(cat /run/domus/mount)"
      usleep 10000
    done
  done <<END
$domus_folders
END
}

for module in /domus/modules/*.ko; do
  [ ! -e "$module" ] || insmod "$module"
done
hostname "$domus_hostname"
ip link set lo up 2>/dev/null
[ -z "$domus_address" ] || set_up_network
mkfifo /run/domus/in /run/domus/out /run/domus/err

await_device "$domus_ctl"
exec 7<>"$domus_ctl"
stty raw -echo <&7
control_open=1
await_device "$domus_io"
exec 5<>"$domus_io"
stty raw -echo <&5
await_device "$domus_err"
exec 6<>"$domus_err"
stty raw -echo <&6

await_disks
mount_folders
echo ready >&7
while read -r verb terminal input rows columns mark length; do
  case "$verb" in
    run) run_command "$terminal" "$input" "$rows" "$columns" "$mark" "$length" ;;
    stop) break ;;
  esac
done <&7
stop
`;
