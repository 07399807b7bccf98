#!/usr/bin/env bash
# Unpacks Ganeti's own Python, Debian's package ganeti-3.0 or ganeti-3.1, in DIR. Nothing is installed: the package
# would bring a cluster's worth of others.
#
#   fetch_ganeti.sh DIR
set -euo pipefail

dir=$1
! compgen -G "$dir/usr/share/ganeti/3.*/ganeti/hypervisor/hv_kvm/__init__.py" >/dev/null || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -q=2 -o APT::Sandbox::User="$(id -un)" download 'ganeti-3.*')
mkdir -p "$dir"
dpkg-deb -x "$work"/ganeti-3.*.deb "$dir"
