#!/usr/bin/env bash
# Makes a minimal Debian from the mirror that this machine's apt uses, with its settings for proxies and
# for the mirror's age.
#
#   make_debian.sh RELEASE TARGET [MMDEBSTRAP-OPTION...]
#
# RELEASE is a code name, as trixie; TARGET a directory, or a file NAME.tar. Needs root and mmdebstrap.
set -euo pipefail

release=$1
target=$2
shift 2
here=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
readonly release target here

# shellcheck disable=SC2016  # apt-get's own variables
sources=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
  'Created-By: Packages' 'Origin: Debian' |
  awk -v here="$here" -v release="$release" \
    '$1 ~ "^" here "(-updates|-security)?$" {sub(here, release, $3); print "deb", $2, $3, $4}' | sort -u)
[[ -n $sources ]] || { echo "apt-get knows no source of Debian's $here" >&2; exit 1; }
mapfile -t options < <(apt-config dump |
  grep -E '^Acquire::((http|https)::(Proxy|Pipeline-Depth)|Check-Valid-Until|Check-Date|Retries)' |
  sed 's/^/--aptopt=/')
exec mmdebstrap --quiet --mode=root --variant=apt --dpkgopt=force-unsafe-io --aptopt='Acquire::Languages "none"' \
  --aptopt='Acquire::Retries "3"' "${options[@]}" "$@" "$release" "$target" - <<<"$sources"
