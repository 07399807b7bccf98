#!/usr/bin/env bash
# Makes the Debian package from the built files, in BUILD_TREE/package.
#
#   build_package.sh BUILD_TREE CPACK
set -euo pipefail

tree=$(readlink -f "$1")
cpack=$2
readonly tree cpack
rm -rf "$tree/package"
cd "$tree"
"$cpack" --config CPackConfig.cmake -G DEB >package.log 2>&1 || {
  cat package.log >&2
  exit 1
}
rm -rf package/_CPack_Packages
