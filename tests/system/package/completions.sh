#!/usr/bin/env bash
# The shells' completions, and the manual page of vmevents, know the flags that --help prints, each
# command's own, and no others. bash completes vmeventd's by bash-completion.
#
#   completions.sh BIN_DIR COMPLETION_DIR DOCS_DIR
set -euo pipefail

bin=$1
completions=$2
docs=$3
failures=0

# same WHAT HELP COMPLETION: two lists of flags.
same() {
  local difference
  difference=$(diff <(echo "$2" | sort -u) <(echo "$3" | sort -u) | grep '^[<>]' || true)
  [[ -n $difference ]] || return 0
  printf '%s: (<: only in --help, >: only in the completion)\n%s\n' "$1" "$difference" >&2
  failures=$((failures + 1))
}

# Flags of a help text, one a line.
flags_of() {
  sed -nE 's/^ {1,4}(-[-a-z].*)/\1/p' | awk '{print $1}' | tr ',' '\n' | sort -u
}

# Commands of a help text, one a line.
commands_of() {
  sed -n '/^Subcommands:/,/^$/p' | sed -nE 's/^  ([a-z]+)[, ].*/\1/p'
}

# The program completes its own line. No daemon is asked for the names of VMs.
export PATH=$bin:$PATH VMEVENTS_SERVER=unix:/nonexistent/vmeventd.sock

# The functions that bash-completion has for every program.
readonly bash_completion=/usr/share/bash-completion/bash_completion

# What bash offers after the words, where a word is to be begun or a flag.
bash_offers() {
  bash -c '
    set -u
    [[ $3 != vmeventd ]] || source "$1"
    source "$2"; shift 2
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
    function=$(complete -p "$1" | sed -nE "s/.* -F ([^ ]+) .*/\1/p")
    "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf "%s\n" "${COMPREPLY[@]}"' bash "$bash_completion" "$@"
}

# Bash inserts a candidate unchanged: each word must be the VM's name again, and must run nothing, whatever the name is.
names_are_quoted() {
  local scratch
  scratch=$(mktemp -d)
  (
    cd "$scratch"
    # shellcheck disable=SC1090
    source <("$bin/vmevents" completion bash)
    printf '%s\n' '#!/bin/sh' 'cat names' >vmevents
    chmod +x vmevents
    PATH=$scratch:$PATH
    offers() {
      COMP_LINE="vmevents why $1" COMP_POINT=${#COMP_LINE} COMP_WORDS=(vmevents why "$1") COMP_CWORD=2
      _vmevents || true
    }
    # shellcheck disable=SC2016
    for name in 'k$(touch${IFS}pwned)' 'k`touch${IFS}pwned`' 'k;touch pwned' 'k&&touch pwned #' "k'1" 'k\2'; do
      printf '%s\n' "$name" >names
      offers k
      eval "words=(${COMPREPLY[0]})"
      [[ ${#words[@]} == 1 && ${words[0]} == "$name" && ! -e pwned ]] || { echo "$name: ${COMPREPLY[0]}" >&2 && exit 1; }
    done
    printf '%s\n' 'db 1' 'db 2' >names
    offers 'db\ '
    [[ ${COMPREPLY[*]} == 'db\ 1 db\ 2' ]] || { echo "db: ${COMPREPLY[*]}" >&2 && exit 1; }
    offers '"db'
    [[ ${#COMPREPLY[@]} == 0 ]] || { echo "in quotation marks: ${COMPREPLY[*]}" >&2 && exit 1; }
  ) || failures=$((failures + 1))
  rm -r "$scratch"
}

# What zsh passes to _arguments.
zsh_offers() {
  zsh -f -c '
    source_file=$1; shift
    setopt extendedglob
    compdef() { : }
    _call_program() { shift; eval "$@" }
    _arguments() { print -l -- "${@[2,-1]}" }
    words=("$@" "") CURRENT=$(($# + 1))
    source $source_file' zsh "$@" |
    # (exclusions)*--flag=[text]:... , and -o+
    sed -nE 's/^(\([^)]*\))?\*?(-[-a-z]*[a-z])[=+]*\[.*/\2/p'
}

# The flags that the manual page lists for a command, or with "" for the program.
manual_lists() {
  awk -v section="$1" '
    /^\.S[sh] / { here = $0 == ".Ss " section || (section == "" && $0 == ".Sh DESCRIPTION") }
    here && /^\.It Fl / { for (i = 2; i < NF; ++i) if ($i == "Fl") print "-" $(i + 1) }
  ' "$docs/vmevents.1"
}

check() {
  local program=$1 words help
  words=("$@")
  help=$("$bin/$program" "${words[@]:1}" --help)
  local flags
  flags=$(flags_of <<<"$help")
  # The client's global flags go after a command as well.
  if [[ $program == vmevents && $# -gt 1 ]]; then
    flags+=$'\n'$("$bin/vmevents" --help | flags_of | grep -v '^--version$')
  fi
  # The short flag of vmeventd is not completed.
  [[ $program == vmevents ]] || flags=$(grep '^--' <<<"$flags")
  if [[ $program == vmevents || -f $bash_completion ]]; then
    same "bash: ${words[*]}" "$flags" "$(bash_offers "$completions/$program.bash" "${words[@]}" -)"
  fi
  local commands
  commands=$(commands_of <<<"$help")
  [[ -z $commands ]] || same "bash: commands of ${words[*]}" "$commands" \
    "$(bash_offers "$completions/$program.bash" "${words[@]}" '' | grep -E '^[a-z]+$')"
  if [[ $program == vmeventd ]] && command -v zsh >/dev/null; then
    same "zsh: ${words[*]}" "$flags" "$(zsh_offers "$completions/_$program" "${words[@]}")"
  fi
  if [[ $program == vmevents ]]; then
    local own="${words[*]:1}"
    local listed
    listed=$(flags_of <<<"$help")
    # The page lists --help once.
    [[ -z $own ]] || listed=$(grep -vxE -- '-h|--help' <<<"$listed" || true)
    same "vmevents.1: ${words[*]}" "$listed" "$(manual_lists "$own")"
  fi
  local command
  for command in $commands; do
    check "${words[@]}" "$command"
  done
}

[[ -f $bash_completion ]] || echo "there is no bash-completion here: bash's completion of vmeventd is not looked at"
command -v zsh >/dev/null || echo "there is no zsh here: its completions are not looked at"
check vmeventd
check vmevents
names_are_quoted
((failures == 0))
