# shellcheck shell=bash disable=SC2034
# LXD, by the checks of Incus.
packages=(lxd)
backports='' client=lxc daemon_unit=lxd.service name=LXD package=lxd run=/var/log/lxd
# shellcheck source=tests/system/managers/real/incus.sh
source "$(dirname "${BASH_SOURCE[0]}")/incus.sh"
