#!/bin/bash
# The packages with the shared libraries of these programs, one a line.
#
#   runtime_packages.sh PROGRAM...
set -euo pipefail

libraries=$(ldd "$@" | awk '/not found/ {print > "/dev/stderr"; missing = 1}
  $2 == "=>" && $3 ~ /^\// {print $3}
  END {exit missing}' | sort -u)
for library in $libraries; do
  # A package lists a library where it put it, the linker where it found it: with and without /usr.
  dpkg-query -S "$library" 2>/dev/null || dpkg-query -S "/usr$library" 2>/dev/null ||
    dpkg-query -S "${library#/usr}"
done | cut -d: -f1 | sort -u
