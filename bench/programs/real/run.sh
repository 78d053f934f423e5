# run.sh PROGRAM COUNT: runs one of Debian's programs on an input that depends on COUNT only. What has to be prepared is not
# measured. Full paths, because busybox's shell would take its own gzip. openssl is told to use no more than SSE2, so that
# it runs the same code on every processor.
here="${0%/*}"
export OPENSSL_ia32cap=0x078bfbff:0

input() { for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cat "$here/text"; done | head -c "$1" >/tmp/in; }
measure() {
  echo @begin
  "$@" >/tmp/out
  code=$?
  echo @end
  [ "$code" = 0 ] || exit "$code"
  echo "@check $(sha256sum </tmp/out | cut -c 1-16)"
}
repeat() {
  times="$1"
  shift
  for i in $(seq "$times"); do "$@" || return; done
}

case "$1" in
  gzip) input "$2"; measure /bin/gzip -nc /tmp/in ;;
  gunzip) input "$2"; /bin/gzip -1 -c /tmp/in >/tmp/packed; measure repeat 2 /bin/gzip -dc /tmp/packed ;;
  xz) input "$2"; measure /bin/xz -1 -c /tmp/in ;;
  unxz) input "$2"; /bin/xz -1 -c /tmp/in >/tmp/packed; measure /bin/xz -dc /tmp/packed ;;
  zstd) input "$2"; measure /bin/zstd --single-thread -q -c /tmp/in ;;
  unzstd) input "$2"; /bin/zstd --single-thread -q -c /tmp/in >/tmp/packed; measure /bin/zstd -q -dc /tmp/packed ;;
  openssl-sha256) input "$2"; measure /bin/openssl dgst -sha256 /tmp/in ;;
  openssl-aes) input "$2"; measure /bin/openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 0 -in /tmp/in ;;
  python) /bin/python3 -I -S -c pass; measure /bin/python3 -I -S "$here/work.py" "$2" ;;
  perl) measure /bin/perl "$here/work.pl" "$here/text" "$2" ;;
  sqlite) sed "s/COUNT/$2/g" "$here/work.sql" >/tmp/in; measure /bin/sqlite3 :memory: '.read /tmp/in' ;;
  gcc) measure repeat "$2" /usr/lib/gcc/x86_64-linux-gnu/*/cc1 -quiet -I /tmp -O1 -o - "$here/unit.c" ;;
esac
