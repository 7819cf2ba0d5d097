#!/usr/bin/env bash
# Debian's Prometheus and Alertmanager for the tests of this folder, unpacked into .ops: nothing is installed on the
# machine, no service is started, no root needed. A tool that is on PATH already is taken as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

wanted=()
command -v prometheus >/dev/null && command -v promtool >/dev/null || wanted+=(prometheus)
command -v alertmanager >/dev/null && command -v amtool >/dev/null || wanted+=(prometheus-alertmanager)

for package in "${wanted[@]}"; do
  [ -e ".ops/$package.unpacked" ] && continue
  if ! command -v apt-get >/dev/null; then
    echo "make test-ops: prometheus, promtool, alertmanager and amtool must be on PATH where there is no apt-get" >&2
    exit 1
  fi
  # A fresh container image has no package lists; only root may fetch them.
  if ! apt-cache show "$package" >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then apt-get update -qq; fi
  downloads="$(mktemp -d)"
  trap 'rm -rf "$downloads"' EXIT
  (cd "$downloads" && apt-get -qq -o APT::Sandbox::User=root download "$package") || {
    echo "make test-ops: apt-get could not fetch $package; run 'apt-get update' as root and try again" >&2
    exit 1
  }
  mkdir -p .ops
  dpkg-deb -x "$downloads"/*.deb .ops
  rm -rf "$downloads"
  touch ".ops/$package.unpacked"
done

# Debian's Alertmanager reads its templates below /usr/share, where nothing was installed. The unpacked copy looks for them
# below its working directory instead, which the tests set to .ops; the path keeps its length, so the program stays whole.
if [ -e .ops/usr/bin/prometheus-alertmanager ]; then
  LC_ALL=C sed -i 's#/usr/share/prometheus/alertmanager#usr//share/prometheus/alertmanager#g' \
    .ops/usr/bin/prometheus-alertmanager
fi
