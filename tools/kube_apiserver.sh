#!/usr/bin/env bash
# Builds DIRECTORY/kube-apiserver from the source of Debian 12's package kubernetes (1.20), whose binary package has kubectl
# alone. It takes ten minutes of processor time.
#
#   kube_apiserver.sh DIRECTORY
#
# Does nothing if it is there already. Needs golang-go and golang-github-modern-go-reflect2-dev, but not root.
set -euo pipefail

[[ $# -eq 1 ]] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
[[ ! -x $1/kube-apiserver ]] || exit 0
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d -p "$out")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

echo "kube-apiserver: downloading the source"
mkdir -p "$work"/{lists/partial,src/k8s.io/kubernetes}
# shellcheck disable=SC2016  # apt-get's own variable
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' | head -n 1)
[[ -n $uri ]] || { echo "kube-apiserver: apt-get knows no source of Debian 12 (bookworm)" >&2; exit 1; }
echo "deb-src $uri bookworm main" >"$work/sources.list"
apt_options=(
  -q=2 -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/lists"
  -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User="$(id -un)"
)
cd "$work"
apt-get "${apt_options[@]}" update
apt-get "${apt_options[@]}" source --download-only kubernetes
tar -xzf kubernetes_*.orig.tar.gz -C src/k8s.io/kubernetes --strip-components=1

echo "kube-apiserver: building"
cd src/k8s.io/kubernetes
export GOPATH=$work GO111MODULE=off GOCACHE=$work/cache CGO_ENABLED=0
# The copy in the archive fails with this release's Go.
rm -r vendor/github.com/modern-go/reflect2
cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go
go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
# The one generated source that the archive lacks.
packages=$(grep -rl '+k8s:openapi-gen=' --include='*.go' pkg staging/src/k8s.io |
  grep -v -e '_test[.]go$' -e /testdata/ -e /code-generator/ -e /sample-apiserver/ | xargs -n 1 dirname | sort -u |
  sed -e 's,^staging/src,vendor,' -e 's,^,k8s.io/kubernetes/,' | paste -sd ,)
"$work/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
  -h /dev/null -r "$work/violations"
go build -ldflags '-s -w' -o "$work/kube-apiserver" ./cmd/kube-apiserver
mv "$work/kube-apiserver" "$out"
