#!/bin/sh
# install.sh LOCK...: makes .venv with what the locks list, from wheels alone, and the mldeploy command.
# Does nothing where that is done. PYTHON=... takes another Python than the newest on PATH.
set -eu
cd "$(dirname "$0")/.."

SUPPORTED="3.11 3.12 3.13 3.14"
FIRST_LOCK_MB=1000  # of disk space: what .venv takes, and pip's cache
NEXT_LOCK_MB=500
WHEELS_MB=300       # of temporary files, while they are installed
PROBE='
import os, sys
try:
    import ensurepip, venv
    has_venv = "yes"
except ImportError:
    has_venv = "no"
print("%d.%d" % sys.version_info[:2], has_venv, os.path.realpath(getattr(sys, "_base_executable", sys.executable)))'

fail() { echo "mldeploy cannot be installed: $1" >&2; exit 1; }

# Sets version and base, the interpreter itself even if the name is that of a virtual environment.
choose_python() {
  if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.14 python3.13 python3.12 python3.11 python3; fi
  reason="it needs Python 3.11 to 3.14 with venv, and $1 does not run"
  [ -n "${PYTHON:-}" ] || reason="it needs Python 3.11 to 3.14 with venv, and none is on PATH (Debian, Ubuntu: apt install python3-venv)"
  for name in "$@"; do
    found=$("$name" -I -c "$PROBE" 2>/dev/null) || continue  # a name on PATH may stand for a version that is not there
    IFS=' ' read -r version has_venv base <<END
$found
END
    case " $SUPPORTED " in
      *" $version "*) ;;
      *) reason="it needs Python 3.11 to 3.14, and $name is $version"; continue ;;
    esac
    [ "$has_venv" = no ] || return 0
    without_venv=${without_venv:-"$name has no venv (Debian, Ubuntu: apt install python$version-venv)"}
  done
  fail "${without_venv:-$reason}"
}

# With no PYTHON=... the Python that .venv was made with stays, while it runs.
keeps_its_python() {
  [ -z "${PYTHON:-}" ] && [ -f .venv/made-with ] && [ "$(.venv/bin/python -I -c "$PROBE" 2>/dev/null)" = "$(cat .venv/made-with)" ]
}

check_space() {
  free=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }')
  [ "$free" -ge "$2" ] || fail "it needs $2 MB of disk space in $1, and $free MB are free"
}

make_venv() {
  rm -rf .venv
  "$base" -I -m venv .venv 2>/dev/null || fail "$base -m venv .venv failed; run it to see why"
  .venv/bin/python -I -c "$PROBE" >.venv/made-with
}

pip_install() {
  .venv/bin/python -I -m pip install -q --disable-pip-version-check "$@" >.venv/pip.log 2>&1 && return
  if grep -qi 'connection broken\|failed to connect\|connection error' .venv/pip.log; then
    fail "no package index can be reached (what pip says is in .venv/pip.log)"
  elif grep -q 'No space left' .venv/pip.log; then
    fail "the disk is full"
  fi
  fail "$(sed -n 's/^ERROR: //p' .venv/pip.log | tail -n 1) (what pip says is in .venv/pip.log)"
}

locks=$#
if ! keeps_its_python; then
  choose_python
  if [ "$(cat .venv/made-with 2>/dev/null)" != "$version $has_venv $base" ]; then
    check_space . $((FIRST_LOCK_MB + NEXT_LOCK_MB * (locks - 1)))
    make_venv
  fi
fi

for lock in "$@"; do
  wanted=$(cat "$lock" pyproject.toml | cksum)
  installed=.venv/installed-$lock
  [ "$(cat "$installed" 2>/dev/null)" != "$wanted" ] || continue
  check_space "${TMPDIR:-/tmp}" $WHEELS_MB
  echo "installing $lock into .venv, with Python $(cut -d ' ' -f 1 .venv/made-with)"
  pip_install --only-binary :all: --require-hashes -r "$lock"
  pip_install --no-deps --no-build-isolation -e .
  echo "$wanted" >"$installed"
done
