#!/usr/bin/env bash
# The units for real: boots a Debian of its own under systemd-nspawn, installs Penstock there from this tree as
# docs/systemd.md says, and runs scenes.py in it. Needs root, debootstrap, systemd-container and some minutes; nothing
# of it is left on the host, and the container has a network of its own with nothing but a loopback.
#   SUITE=trixie   another Debian than bookworm
#   ROOT=dir       build the container's root there, or use what an earlier run left, and keep it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

suite="${SUITE:-bookworm}"
mirror="${MIRROR:-http://deb.debian.org/debian}"
limit=1200 # seconds for all scenes
for tool in debootstrap systemd-nspawn; do
  command -v "$tool" >/dev/null && continue
  echo "$tool is missing: apt-get install debootstrap systemd-container" >&2
  exit 2
done
[ "$(id -u)" = 0 ] || { echo "this needs root" >&2; exit 2; }

machine="penstock-try-$$"
alone=() # where systemd is not the host's init, nobody registers the container or makes it a unit
[ -d /run/systemd/system ] || alone=(--register=no --keep-unit)
work="$(mktemp -d)"
root="${ROOT:-$work/root}"
nspawn=""
finish() {
  if [ -n "$nspawn" ] && kill -0 "$nspawn" 2>/dev/null; then
    kill -TERM "$nspawn" || true # asks the container to shut down; asked twice, it is ended
    sleep 5
    kill -TERM "$nspawn" 2>/dev/null || true
    wait "$nspawn" || true
  fi
  if [ ${#alone[@]} -gt 0 ]; then # what systemd-nspawn leaves where no systemd tidies up
    rmdir "/run/systemd/nspawn/propagate/$machine" 2>/dev/null || true
    for group in /sys/fs/cgroup/{,systemd,unified}/{payload,supervisor}; do
      [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
  fi
  rm -rf --one-file-system "$work"
}
trap finish EXIT

if [ ! -e "$root/.built" ]; then
  echo "building a $suite in $root"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3,python3-venv,redis-server,ca-certificates \
    "$suite" "$root" "$mirror" >"$work/debootstrap.log" || { tail "$work/debootstrap.log" >&2; exit 1; }
  touch "$root/.built"
fi

python="$(basename "$(readlink -f "$root/usr/bin/python3")")" # python3.11
version="${python#python}"
echo "wheels for $python"
python3 -m venv "$work/pip"
export PIP_DISABLE_PIP_VERSION_CHECK=1
sed -nE 's/^([a-z0-9][A-Za-z0-9._-]*==[^ ;\\]+).*/\1/p' requirements-dev.txt >"$work/constraints.txt"
"$work/pip/bin/pip" wheel --quiet --no-deps --wheel-dir "$work/wheels" .
# redis wants async-timeout before Python 3.11.3, which Debian's may be when the host's is not.
platforms=()
for name in manylinux_2_34 manylinux_2_28 manylinux_2_17 manylinux2014; do
  platforms+=(--platform "${name}_$(uname -m)")
done
"$work/pip/bin/pip" download --quiet --only-binary=:all: --python-version "$version" --implementation cp \
  --abi "cp${version/./}" --abi abi3 --abi none "${platforms[@]}" --constraint "$work/constraints.txt" \
  --dest "$work/wheels" async-timeout "$(echo "$work"/wheels/penstock-*.whl)[worker]"

# The container's own name for the tree is /src; it cannot write there.
spawn=(systemd-nspawn --quiet "${alone[@]}" --private-network --directory="$root" --machine="$machine"
  --bind-ro="$PWD:/src" --bind-ro="$work/wheels:/wheels")
rm -rf "$root"/opt/penstock* "$root/etc/penstock" "$root"/etc/credstore* "$root"/etc/systemd/system/*penstock* \
  "$root/scenes.log" "$root"/var/lib/redis/*
"${spawn[@]}" --as-pid2 /bin/sh -euc '
  python3 -m venv /opt/penstock-0.1.0
  /opt/penstock-0.1.0/bin/pip install --quiet --no-index --find-links /wheels "penstock[worker]"
  ln -s penstock-0.1.0 /opt/penstock
  install -m 644 /src/systemd/*.service /src/systemd/*.target /etc/systemd/system/
  install -d -m 755 /etc/penstock
  install -m 644 /src/systemd/penstock.env.example /etc/penstock/penstock.env
  install -d -m 700 /etc/credstore
'
cat >"$root/etc/systemd/system/scenes.service" <<'UNIT'
[Unit]
After=multi-user.target redis-server.service
SuccessAction=exit
FailureAction=exit
SuccessActionExitStatus=0
FailureActionExitStatus=1
[Service]
Type=oneshot
WorkingDirectory=/src
Environment=PYTHONPATH=/src PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 SYSTEMD_PAGER= SYSTEMD_COLORS=0
ExecStart=/opt/penstock/bin/python -m tests.container.scenes
StandardOutput=append:/scenes.log
StandardError=append:/scenes.log
[Install]
WantedBy=graphical.target
UNIT
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -sf ../scenes.service "$root/etc/systemd/system/graphical.target.wants/scenes.service"

echo "booting it"
touch "$root/scenes.log"
timeout --signal=TERM --kill-after=20 "$limit" "${spawn[@]}" --console=pipe --boot \
  >"$work/boot.log" 2>&1 </dev/null &
nspawn=$!
tail --pid="$nspawn" --follow "$root/scenes.log" &
status=0
wait "$nspawn" || status=$?
wait $! || true
if [ "$status" != 0 ]; then
  echo "the container ended with status $status; the end of its console:" >&2
  tail -20 "$work/boot.log" >&2
fi
exit "$status"
