# vmevents' commands and flags for bash. A test compares them with each --help.
# shellcheck shell=bash

# Names of the server that the line already names. Names of other characters are left out: they would
# need quotes.
_vmevents_names() {
  local -a typed server=()
  local index word
  # Not from COMP_WORDS: bash splits unix:PATH there.
  read -ra typed <<<"${COMP_LINE-}"
  for ((index = 1; index < ${#typed[@]}; ++index)); do
    word=${typed[index]}
    case $word in
      --server | --context | --tls-ca | --tls-cert | --tls-key | --tls-server-name | --credentials)
        server+=("$word" "${typed[++index]-}")
        ;;
      --server=* | --context=* | --tls-ca=* | --tls-cert=* | --tls-key=* | --tls-server-name=* | \
        --credentials=*)
        server+=("$word")
        ;;
    esac
  done
  timeout 2 vmevents "${server[@]}" -o name vms --all 2>/dev/null |
    sed -E 's/^.*\///' | grep -E '^[A-Za-z0-9._-]+$' | sort -u
}

_vmevents_contexts() { timeout 2 vmevents -o name context list 2>/dev/null; }

# The values of a flag that takes one of a list, of which several may be separated by commas.
_vmevents_list() {
  local before=
  [[ $1 != *,* ]] || before=${1%,*},
  shift
  printf "$before%s\n" "$@"
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
    --tls-ca | --tls-cert | --tls-key | --credentials | --cursor-file)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    -o | --output) words='table wide json jsonl yaml name' ;;
    --color) words='auto always never' ;;
    --class) words=$(_vmevents_list "$current" user admin crash unknown) ;;
    --type)
      words=$(_vmevents_list "$current" started stopped guest-shutdown powerdown-requested reset \
        paused resumed suspended woken hibernating guest-panicked watchdog-expired io-error \
        memory-failure migration monitor-lost monitor-restored intent-declared intent-withdrawn gap \
        state-changed problems-changed)
      ;;
    --state)
      words=$(_vmevents_list "$current" running paused suspended guest-down unreachable stopped)
      ;;
    --from) words='oldest snapshot' ;;
    --since | --until) words='today yesterday' ;;
    --exec-on-failure) words='stop retry skip' ;;
    --vm) words=$(_vmevents_names) ;;
    --context) words=$(_vmevents_contexts) ;;
    --server | --tls-server-name | --node | --journal | --source | --count | -n | --last | --limit | --exec | --run | \
      --actor | --reason | --ttl | --timeout | --interval | --window)
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
      -o | --output | --color | --server | --context | --tls-ca | --tls-cert | --tls-key | \
        --tls-server-name | --credentials)
        [[ ${COMP_WORDS[index + 1]} == = ]] && ((++index))
        ((++index))
        ;;
      watch | events | vms | vm | top | timeline | fleet | info | health | doctor)
        command=$word
        break
        ;;
      intent | context) [[ -n $command ]] || command=$word ;;
      declare | withdraw) [[ $command != intent ]] || command="intent $word" ;;
      list) [[ -z $command ]] || command="$command list" ;;
      use) [[ $command != context ]] || command='context use' ;;
    esac
  done
  echo '-h --help --server --context -o --output --color --utc --no-headers --no-pager'
  echo '--tls-ca --tls-cert --tls-key --tls-server-name --credentials'
  case $command in
    '') echo '--version watch events vms vm top timeline fleet intent info health doctor context' ;;
    watch)
      echo '--from --journal --since --node --vm --source --type --class --count --no-resume --wait'
      echo '--cursor-file --exec --exec-on-failure --exec-gaps'
      ;;
    events)
      echo '--since --until --node --vm --source --type --class -r --newest-first -n --last --limit'
      echo '-f --follow --cursor-file'
      ;;
    vms) echo '--node --vm --source --state --all' ;;
    vm)
      echo '--node --run'
      _vmevents_names
      ;;
    top) echo '--interval --window' ;;
    fleet) echo '--node' ;;
    timeline)
      echo '--since --run'
      _vmevents_names
      ;;
    intent) echo 'declare list withdraw' ;;
    context) echo 'list use' ;;
    'context use') _vmevents_contexts ;;
    'intent declare')
      echo '--actor --reason --ttl --run'
      _vmevents_names
      ;;
    health) echo '--timeout journal watch vmeventd.v1.VmEventService' ;;
  esac
}
complete -F _vmevents vmevents
