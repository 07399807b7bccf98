#!/usr/bin/env bash
# Checks the wire contract with buf: its style, and from 1.0.0 on that it breaks no client of the last
# release, whose proto/ is then in tools/contract/released. Then checks the check: a change that would
# break a client must fail.
#
#   check.sh             installs buf under build/buf first, which needs npm
#   check.sh --optional  exits with 77 where buf is not there and cannot be installed
set -euo pipefail

option=${1:-}
readonly option
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
readonly tree=build/buf
readonly buf=$PWD/$tree/node_modules/.bin/buf
readonly released=tools/contract/released

fail() {
  echo "contract: $*" >&2
  exit 1
}

# The lock file pins the versions and their hashes. --no-save: npm leaves out packages of other
# platforms and would rewrite the lock file without them.
install_buf() {
  if [[ -x $buf ]] && cmp -s tools/contract/package-lock.json "$tree/package-lock.json"; then
    return 0
  fi
  command -v npm >/dev/null || { echo "contract: there is no npm to install buf with" >&2; return 1; }
  rm -rf "$tree"
  mkdir -p "$tree"
  (
    cp tools/contract/package.json tools/contract/.npmrc "$tree"
    cp tools/contract/package-lock.json "$tree/package-lock.json"
    cd "$tree"
    npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
  ) || { echo "contract: npm cannot install buf; is its registry reachable?" >&2; return 1; }
  # npm silently leaves out a package whose hash is not that of the lock file.
  "$buf" --version >/dev/null || { rm -rf "$tree"; return 1; }
}

# must_fail WHAT SED_SCRIPT CHECK...: the check must reject the contract after this change.
must_fail() {
  local what=$1 change=$2 copy
  shift 2
  copy=$(mktemp -d)
  cp -r buf.yaml proto "$copy"
  sed -i -E "$change" "$copy/proto/vmeventd/v1/vm_events.proto"
  if cmp -s "$copy/proto/vmeventd/v1/vm_events.proto" proto/vmeventd/v1/vm_events.proto; then
    rm -r "$copy"
    fail "the test of the check is out of date: nothing to change for: $what"
  fi
  if (cd "$copy" && "$@") >/dev/null 2>&1; then
    rm -r "$copy"
    fail "buf does not object to this: $what"
  fi
  rm -r "$copy"
}

if ! install_buf; then
  [[ $option != --optional ]] || exit 77
  fail "buf is needed: install the packages nodejs and npm"
fi

status=0
"$buf" lint || { echo "contract: buf lint found something" >&2; status=1; }
if [[ -d $released ]]; then
  "$buf" breaking --against "$released" ||
    { echo "contract: this breaks clients of the last release" >&2; status=1; }
fi
((status == 0)) || exit "$status"

breaking=("$buf" breaking --against "$PWD")
must_fail "a field is removed" '/^  string qmp_event = 7;/d' "${breaking[@]}"
must_fail "a field has another number" 's/ detail_json = 8;/ detail_json = 80;/' "${breaking[@]}"
must_fail "a field has another type" 's/^  int64 pid = 4;/  string pid = 4;/' "${breaking[@]}"
must_fail "a field has another name" 's/ run_id = 2;/ run = 2;/' "${breaking[@]}"
must_fail "an enum's value is removed" '/SHUTDOWN_CAUSE_WATCHDOG = 11;/d' "${breaking[@]}"
must_fail "a method is removed" '/rpc GetVm\(/d' "${breaking[@]}"
must_fail "a stream becomes one answer" 's/returns \(stream /returns (/' "${breaking[@]}"
must_fail "a name is not in the style" 's/ message = 9;/ messageText = 9;/' "$buf" lint
must_fail "a method without a comment" '/ Withdraws an open intent/,/rpc WithdrawIntent/{/^ *\/\//d}' "$buf" lint
echo "contract: buf is clean, and objects where it must"
