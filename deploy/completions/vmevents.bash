# vmevents' completion for bash: the program knows its own commands and options.
# shellcheck shell=bash disable=SC2162
#
# Bash splits words at "=" and ":" too, so the line is split again, and what stands before the
# cursor's word is cut off. Bash inserts the answer as it stands, and a VM's name may be any text
# of another user, so it is quoted. In a word with a quotation mark nothing is offered.
_vmevents() {
  local line=${COMP_LINE:0:COMP_POINT} current=${COMP_WORDS[COMP_CWORD]} word
  local -a words
  COMPREPLY=()
  [[ $current != *[\"\'\`]* ]] || return
  read -a words <<<"$line"
  [[ $line != *[[:space:]] || $line == *\\[[:space:]] ]] || words+=('')
  [[ $current != = && $current != : ]] || current=
  current=${current//\\/}
  while IFS=$'\t' read -r word _; do
    [[ $word == "${words[-1]}"* ]] || continue
    word=${word#"${words[-1]%"$current"}"}
    [[ $word != *[^[:alnum:]_.,:=@/+-]* ]] || printf -v word %q "$word"
    COMPREPLY+=("$word")
  done < <(timeout 2 vmevents __complete "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _vmevents vmevents
