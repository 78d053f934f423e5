/**
 * The first process of a guest that `domus run` boots: a script for busybox's shell.
 *
 * It talks to the host over three consoles (run-channel.ts is the other end):
 *
 * - IO: the command's stdin and stdout. Towards the guest, stdin comes in frames, `LENGTH\n` and that many bytes, 0 for end
 *   of file; towards the host, stdout is plain bytes. With a terminal both directions are plain: the console is the
 *   command's controlling terminal.
 * - ERR: the command's stderr, plain bytes.
 * - CTL: lines. Guest to host: `ready`, `exit CODE`, `error TEXT`. Host to guest: `signal NAME`, `size ROWS COLUMNS`.
 *
 * What differs from run to run is in two files that the host puts beside it: /domus/settings (which devices, terminal or not)
 * and /domus/command (environment, folder and the exact arguments, as a script that ends in `exec`).
 *
 * Why it is as it is:
 * - The consoles stay open from beginning to end: the driver forgets a tty's modes at the last close.
 * - Stdout and stderr reach the consoles through fifos and `cat`: the command sees no terminal where there is none, and when the
 *   last writer is gone the `cat`s end, so that nothing can be lost or awaited forever.
 * - The command runs in the foreground, because a shell starts background processes with SIGINT and SIGQUIT ignored; and in a
 *   subshell, because this shell redirects itself for the time of a plain command and would report a signal on its stderr.
 * - `stty` sets modes only after the output has drained. That is how the script waits until everything is on its way before it
 *   reports the exit code.
 */
export const GUEST_INIT = String.raw`#!/bin/sh
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

hostname "$domus_hostname"
ip link set lo up 2>/dev/null

await_device "$domus_ctl"
exec 7<>"$domus_ctl"
stty raw -echo <&7
control_open=1
await_device "$domus_io"
exec 5<>"$domus_io"
if [ "$domus_terminal" ]; then
  stty sane rows "$domus_rows" cols "$domus_columns" <&5
else
  stty raw -echo <&5
  await_device "$domus_err"
  exec 6<>"$domus_err"
  stty raw -echo <&6
fi

# Reads what the host asks for while the command runs.
control() {
  while read -r verb first second; do
    case "$verb" in
      signal) [ -s /run/domus/pid ] && kill -"$first" "$(cat /run/domus/pid)" ;;
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

control <&7 5<&5 6<&- 2>/dev/null &
control_pid=$!

echo ready >&7

if [ "$domus_terminal" ]; then
  ( exec setsid -c /domus/command <&5 >&5 2>&5 5<&- 7<&- )
  code=$?
  out_pid=1
  err_pid=1
else
  mkfifo /run/domus/out /run/domus/err
  cat </run/domus/out >&5 5<&- 6<&- 7<&- &
  out_pid=$!
  cat </run/domus/err >&6 5<&- 6<&- 7<&- &
  err_pid=$!
  if [ "$domus_stdin" ]; then
    mkfifo /run/domus/in
    feed <&5 >/run/domus/in 5<&- 6<&- 7<&- &
    ( exec setsid /domus/command </run/domus/in >/run/domus/out 2>/run/domus/err 5<&- 6<&- 7<&- )
    code=$?
  else
    ( exec setsid /domus/command </dev/null >/run/domus/out 2>/run/domus/err 5<&- 6<&- 7<&- )
    code=$?
  fi
fi

# The run ends with its command: whatever it left behind goes, except those that still carry its output.
cd /proc
for pid in [0-9]*; do
  case "$pid" in
    1 | "$out_pid" | "$err_pid") ;;
    *) kill -9 "$pid" ;;
  esac
done 2>/dev/null
if [ "$domus_terminal" ]; then
  stty sane <&5
else
  wait "$out_pid" "$err_pid"
  stty raw -echo <&5
  stty raw -echo <&6
fi
echo "exit $code" >&7
stty raw -echo <&7
stop
`;
