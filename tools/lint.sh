#!/usr/bin/env bash
# ./dev lint: formatting, shell scripts, the directions of includes, the wire contract, clang-tidy.
#
#   lint.sh BUILD_TREE JOBS
#
# The build tree needs its compile_commands.json and the generated code of proto/.
set -euo pipefail

[[ $# -eq 2 ]] || { echo "usage: $0 BUILD_TREE JOBS" >&2; exit 2; }
tree=$(cd "$1" && pwd)
jobs=$2
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
readonly tree jobs
failures=0

say() { printf '\n==> %s\n' "$*"; }

complain() {
  echo "lint: $*" >&2
  failures=$((failures + 1))
}

sources=$(find client proto server tests watcher \( -name '*.h' -o -name '*.cc' \) | LC_ALL=C sort)

say "formatting"
# shellcheck disable=SC2086  # no source has a blank in its name
clang-format --dry-run -Werror $sources || complain "not formatted; clang-format -i mends it"

say "shell scripts"
scripts=(dev .ci/run tests/e2e/guest/make_guest.sh tests/package/*.sh tools/*.sh tools/contract/*.sh
  deploy/*.sh deploy/container/*.sh deploy/completions/*.bash)
for script in "${scripts[@]}"; do
  bash -n "$script" || complain "$script is no bash"
done
if command -v shellcheck >/dev/null; then
  shellcheck "${scripts[@]}" tests/e2e/guest/init deploy/debian/{postinst,prerm,postrm} ||
    complain "shellcheck found something"
fi

# forbid DIRECTORY PATTERN WHY
forbid() {
  local found
  found=$(grep -rnE --include='*.h' --include='*.cc' -- "$2" "$1" || true)
  [[ -z $found ]] || complain "$1: $3"$'\n'"$found"
}

say "directions of includes"
forbid watcher '#include.*(grpc|google/protobuf|\.pb\.h|sqlite)' \
  "the watcher knows nothing of gRPC, protobuf and SQLite"
forbid watcher '#include "(server|client|tests)/' "the watcher uses no box above it"
forbid watcher/core '#include <(sys/|unistd|fcntl|thread|mutex|chrono)|absl::Now\(' \
  "the core makes no system call, has no thread and reads no clock"
forbid watcher/core '#include "watcher/io/' "the core uses no box above it"
forbid client '#include "(watcher|server|tests)/' "the client knows only proto/"
forbid server '#include "(client|tests)/' "the server uses neither the client nor the tests"

say "the wire contract"
tools/contract/check.sh || complain "the wire contract is not as it must be"
tools/api_reference.py --check docs/api.md || complain "docs/api.md is not the contract's; ./dev docs mends it"

say "clang-tidy"
# Each source that the tree compiles, generated code apart. --quiet still tells how many warnings
# were suppressed in other people's headers.
run-clang-tidy -quiet -p "$tree" -j "$jobs" "^$PWD/(client|server|tests|watcher)/.*\.cc\$" \
  >"$tree/clang-tidy.log" 2>&1 ||
  { grep -vE '^(clang-tidy|[0-9]+ warnings? generated|Suppressed|Use -header-filter)' \
      "$tree/clang-tidy.log" || true; complain "clang-tidy found something"; }

if ((failures > 0)); then
  printf '\nlint: %d checks failed\n' "$failures"
  exit 1
fi
printf '\nlint: all clean\n'
