#!/usr/bin/env bash
# Makes the Debian packages.
#
#   build_package.sh BUILD_TREE binary   in BUILD_TREE/package, of the programs that BUILD_TREE has built, with
#                                        their bill of materials, without their symbols
#   build_package.sh BUILD_TREE symbols  the same, and vmeventd-dbgsym and vmevents-dbgsym
#   build_package.sh BUILD_TREE source   in BUILD_TREE/source-package: the source package, from which
#                                        dpkg-buildpackage builds all
set -euo pipefail

tree=$(readlink -f "$1")
what=$2
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
out=$tree/package
[[ $what != source ]] || out=$tree/source-package
readonly tree what root out
version=$(dpkg-parsechangelog -l "$root/debian/changelog" -S Version)
readonly version upstream=${version%-*}
source=$out/vmeventd-$upstream
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l "$root/debian/changelog" -S Timestamp)
export SOURCE_DATE_EPOCH
grep -qx "CMAKE_PROJECT_VERSION:STATIC=$upstream" "$tree/CMakeCache.txt" || {
  echo "debian/changelog begins with $version, which is not the version in CMakeLists.txt" >&2
  exit 1
}

# The files of the clone, or of an unpacked source package.
files() {
  if [[ -e $root/.git ]]; then
    git -C "$root" ls-files -z --cached --others --exclude-standard
  else
    (cd "$root" && find . -path ./build -prune -o \( -type f -o -type l \) -print0)
  fi
}

# A copy, because debhelper works next to the source. Files that git knows and that are gone are left out.
copy_source() {
  mkdir -p "$source"
  files | (cd "$root" && while IFS= read -r -d '' file; do
    [[ ! -e $file ]] || printf '%s\0' "$file"
  done) | tar -c -C "$root" --null -T - | tar -x -C "$source"
}

logged() {
  "$@" >"$out/log" 2>&1 || {
    cat "$out/log" >&2
    exit 1
  }
}

rm -rf "$out"
copy_source
cd "$source"
case $what in
  binary) VMEVENTD_BUILT=$tree DEB_BUILD_OPTIONS=noautodbgsym logged dpkg-buildpackage -b -us -uc ;;
  symbols) VMEVENTD_BUILT=$tree logged dpkg-buildpackage -b -us -uc ;;
  source)
    tar -c --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --exclude=./debian \
      --transform="s|^\.|vmeventd-$upstream|" . | xz -T0 >"../vmeventd_$upstream.orig.tar.xz"
    logged dpkg-buildpackage -S -us -uc
    ;;
  *)
    echo "neither binary nor symbols nor source: $what" >&2
    exit 2
    ;;
esac
[[ $what == source ]] ||
  "$root/tools/sbom.py" packages "$out" >"$out/vmeventd_${version}_$(dpkg --print-architecture).spdx.json"
rm -rf "$source" "$out/log"
