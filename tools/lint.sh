#!/usr/bin/env bash
# ./dev lint: formatting, shell scripts, the directions of includes, documents, the places of the
# simulation's defects, the wire contract, clang-tidy.
#
#   lint.sh BUILD_TREE JOBS [--all | --since COMMIT]
#
# clang-tidy is slow. It checks what differs from COMMIT: by default from the merge base of HEAD and main,
# or if nothing has changed since, from the previous commit, and for five minutes at most; --all:
# everything. Everything else is always checked as a whole. The build tree needs its
# compile_commands.json and the generated code of proto/.
set -euo pipefail

usage() {
  echo "usage: $0 BUILD_TREE JOBS [--all | --since COMMIT]" >&2
  exit 2
}

[[ $# -ge 2 ]] || usage
tree=$(cd "$1" && pwd)
jobs=$2
shift 2
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
readonly tree jobs
failures=0

say() { printf '\n==> %s\n' "$*"; }

complain() {
  echo "lint: $*" >&2
  failures=$((failures + 1))
}

# The merge base of HEAD and main; if nothing has changed since, or there is no main, the previous commit.
branch_point() {
  local main point
  for main in origin/main main; do
    point=$(git merge-base HEAD "$main" 2>/dev/null) || continue
    if [[ -n $(git diff --name-only "$point") || -n $(git ls-files --others --exclude-standard) ]]; then
      echo "$point"
      return
    fi
  done
  git rev-parse --verify --quiet HEAD~1 || true
}

case "$#:${1:-}" in
  0:)
    since=$(branch_point)
    tidy=(--since "$since" --seconds 300)
    buf=(--optional)
    ;;
  1:--all) tidy=() buf=() ;;
  2:--since) tidy=(--since "$2") buf=(--optional) ;;
  *) usage ;;
esac

say "formatting"
if [[ $(clang-format --version) == *"version 14."* ]]; then
  find base client proto server tests tools watcher \( -name '*.h' -o -name '*.cc' \) -print0 |
    xargs -0 -n 40 -P "$jobs" clang-format --dry-run -Werror || complain "not formatted: clang-format -i"
else
  echo "not checked: the sources are formatted by Debian 12's clang-format 14, from which others differ"
fi

say "shell scripts"
scripts=(dev .ci/run tests/support/guest/make_guest.sh tests/support/nspawn.sh tests/system/package/*.sh tests/system/managers/real/*.sh tools/*.sh tools/contract/*.sh
  deploy/*.sh deploy/container/*.sh deploy/completions/*.bash debian/tests/guest debian/tests/*.sh)
for script in "${scripts[@]}"; do
  bash -n "$script" || complain "$script is not valid bash"
done
shellcheck "${scripts[@]}" tests/support/guest/init debian/vmeventd.{postinst,prerm,postrm} \
  debian/vmevents.{postinst,prerm,postrm} debian/tests/client ||
  complain "shellcheck found something"

say "directions of includes"
tools/check_includes.py || complain "tools/include_rules.txt does not permit these includes"

say "documents"
tools/version.py || complain "files name another version"
tools/check_documents.py || complain "a document names a file or test that does not exist"
tools/cause_table.py || complain "the table of causes is not that of the contract and the rules"
tools/managers_table.py || complain "what was run under its manager is told otherwise"

say "the defects that the simulation is tried with"
tests/simulation/mutations.py --check || complain "what a defect changes is not there any more"

say "the wire contract"
status=0
tools/contract/check.sh "${buf[@]}" || status=$?
case $status in
  0) ;;
  77) echo "the wire contract was not compared with the last release: --all requires buf" ;;
  *) complain "the wire contract breaks a rule" ;;
esac

say "clang-tidy"
if [[ -v since && -z $since ]]; then
  echo "clang-tidy: there is no commit to compare with; --all checks everything"
else
  tools/tidy.py "$tree" "$jobs" "${tidy[@]}" || complain "clang-tidy found something"
fi

if ((failures > 0)); then
  printf '\nlint: %d checks failed\n' "$failures"
  exit 1
fi
printf '\nlint: all clean\n'
