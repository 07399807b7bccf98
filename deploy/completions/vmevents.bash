# vmevents' commands and flags for bash. A test compares them with each --help.
# shellcheck shell=bash

# Names of other characters are left out: they would need quotes.
_vmevents_names() {
  timeout 2 vmevents --color never vms --all 2>/dev/null |
    awk 'NR > 1 && $1 ~ /^[A-Za-z0-9._-]+$/ {print $1}' | sort -u
}

_vmevents() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  # Bash makes three words of --flag=value.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi

  local words=
  case $previous in
    --tls-ca | --tls-cert | --tls-key)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    -o | --output) words='table json' ;;
    --color) words='auto always never' ;;
    --class) words='user admin crash unknown' ;;
    --from) words='oldest snapshot' ;;
    --vm) words=$(_vmevents_names) ;;
    --server | --tls-server-name | --journal | --type | --state | --count | --since | --until | \
      --limit | --run | --actor | --reason | --ttl | --timeout)
      return
      ;;
    *) words=$(_vmevents_words) ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

# What may stand at the cursor of the words before it.
_vmevents_words() {
  local command='' word index
  for ((index = 1; index < COMP_CWORD; ++index)); do
    word=${COMP_WORDS[index]}
    case $word in
      -o | --output | --color | --server | --tls-ca | --tls-cert | --tls-key | --tls-server-name)
        [[ ${COMP_WORDS[index + 1]} == = ]] && ((++index))
        ((++index))
        ;;
      watch | events | vms | vm | info | health)
        command=$word
        break
        ;;
      intent) command=intent ;;
      declare | withdraw) [[ $command != intent ]] || command="intent $word" ;;
    esac
  done
  echo '-h --help --server -o --output --color --tls-ca --tls-cert --tls-key --tls-server-name'
  case $command in
    '') echo '--version watch events vms vm intent info health' ;;
    watch) echo '--from --journal --vm --type --class --count --no-resume --wait' ;;
    events) echo '--since --until --vm --type --class --newest-first --limit' ;;
    vms) echo '--vm --state --all' ;;
    vm)
      echo '--run'
      _vmevents_names
      ;;
    intent) echo 'declare withdraw' ;;
    'intent declare')
      echo '--actor --reason --ttl --run'
      _vmevents_names
      ;;
    health) echo '--timeout journal vmeventd.v1.VmEventService' ;;
  esac
}
complete -F _vmevents vmevents
