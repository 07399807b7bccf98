#!/bin/bash
# Makes a Debian the image of a program: installs the packages that FILE lists, and PACKAGEs, creates the user
# 65532, clears all setuid and setgid bits, and removes the files in /tmp.
#
#   install_runtime.sh FILE [PACKAGE...]
set -euo pipefail

packages=$1
shift
apt-get -q update
DEBIAN_FRONTEND=noninteractive xargs -a "$packages" apt-get -q -y --no-install-recommends install "$@"
apt-get clean
rm -rf /tmp/* /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig/* \
  /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
groupadd --gid 65532 vmeventd
useradd --uid 65532 --gid vmeventd --home-dir /var/lib/vmeventd --no-create-home \
  --no-log-init --shell /usr/sbin/nologin vmeventd
find / -xdev -type f -perm /6000 -exec chmod a-s '{}' +
