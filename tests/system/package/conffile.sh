#!/usr/bin/env bash
# The configuration file of the package names every setting, with the default that it has.
#
#   conffile.sh VMEVENTD CONFFILE
set -euo pipefail

daemon=$1
conffile=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

complain() {
  echo "$conffile: $*" >&2
  failures=$((failures + 1))
}

for flag in $("$daemon" --help | grep -oE '^ +(-h,)?--[a-z-]+' | grep -oE -- '--[a-z-]+'); do
  case $flag in
    --help | --version | --config | --check-config) ;;
    *) grep -qE "^#( *)${flag#--} = " "$conffile" || complain "does not name ${flag#--}" ;;
  esac
done

# As it stands it changes nothing, and neither do the defaults that it shows.
"$daemon" --check-config >"$scratch/defaults"
"$daemon" --check-config --config "$conffile" >"$scratch/as-it-is" ||
  complain "is not valid"
sed -E 's/^#([a-z-]+ = )/\1/' "$conffile" >"$scratch/shown.conf"
"$daemon" --check-config --config "$scratch/shown.conf" >"$scratch/shown" ||
  complain "shows a default that is not valid"
for other in as-it-is shown; do
  diff -u "$scratch/defaults" "$scratch/$other" || complain "differs from the defaults"
done
((failures == 0))
