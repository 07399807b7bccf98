# vmeventd's flags for bash. A test compares them with --help.
# shellcheck shell=bash

_vmeventd() {
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
    --config | --tls-cert | --tls-key | --tls-client-ca)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    --watch | --state-dir)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
    --process-tracking) words='auto off' ;;
    --signal-senders) words='auto off require' ;;
    --log-level) words='trace debug info warn error' ;;
    --log-format) words='text json' ;;
    --libvirt | --listen | --metrics-listen | --metrics-vms | --tls-operator | --label | --powerdown-window | --hang-check | \
      --retention-age | --retention-events | --max-connections | --max-streams | --node)
      return
      ;;
    *)
      words='-h --help --version --config --check-config --watch --watch-manager-sockets
        --libvirt --listen --metrics-listen --metrics-vms --insecure-listen --state-dir --label --powerdown-window --hang-check --retention-age --retention-events
        --process-tracking --signal-senders --tls-cert --tls-key --tls-client-ca --tls-operator
        --max-connections --max-streams --log-level --log-format --node'
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _vmeventd vmeventd
