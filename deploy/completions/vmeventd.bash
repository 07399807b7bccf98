# vmeventd's flags for bash: bash-completion reads them from --help.
# shellcheck shell=bash

# bash-completion before 2.12 has the other name. Values of --flag=VALUE are completed as files by default.
if declare -F _comp_complete_longopt >/dev/null; then
  complete -o default -F _comp_complete_longopt vmeventd
else
  complete -o default -F _longopt vmeventd
fi
