#!/bin/bash
# Prints the packages that have the shared libraries of these programs, one per line.
#
#   runtime_packages.sh PROGRAM...
set -euo pipefail

libraries=$(ldd "$@" | awk '/not found/ {print > "/dev/stderr"; missing = 1}
  $2 == "=>" && $3 ~ /^\// {print $3}
  END {exit missing}' | sort -u)
for library in $libraries; do
  # dpkg lists a library where the package put it, ldd where the linker found it: with or without /usr.
  dpkg-query -S "$library" 2>/dev/null || dpkg-query -S "/usr$library" 2>/dev/null ||
    dpkg-query -S "${library#/usr}"
done | cut -d: -f1 | sort -u
