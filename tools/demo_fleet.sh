#!/usr/bin/env bash
# ./dev demo-fleet: five nodes with real QEMU guests publish into a cluster of three NATS servers. One node
# is cut off and comes back, one server and one push are killed. One vmevents watch sees every event once.
#
#   demo_fleet.sh BIN_DIRECTORY GUEST_DIRECTORY
#
# Takes three minutes, half of which a node is silent before that shows. Needs neither KVM nor a terminal; without root it needs user namespaces, for
# the nodes' host names. Leaves no files or processes.
set -euo pipefail

readonly demo=demo-fleet patience=180  # a node is silent after 90 s
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/demo_common.sh
source "$tools/demo_common.sh"
readonly nodes=(node1 node2 node3 node4 node5)
base=$((20000 + RANDOM % 20000))  # of the ports: clients 1 to 3, routes 4 to 6, the relay 7
readonly tools base
readonly fleet=nats://127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2)),127.0.0.1:$((base + 3))

# until_true WHAT COMMAND...: waits until the command succeeds.
until_true() {
  local what=$1 tries=$((patience * 5))
  shift
  until "$@"; do
    ((tries-- > 0)) || fail "$what"
    sleep 0.2
  done
}

start_server() {
  local number=$1
  cat >"$dir/nats$number.conf" <<END
server_name: nats$number
listen: 127.0.0.1:$((base + number))
jetstream { store_dir: "$dir/nats$number" }
cluster {
  name: demo
  listen: 127.0.0.1:$((base + 3 + number))
  routes: [nats://127.0.0.1:$((base + 4)), nats://127.0.0.1:$((base + 5)), nats://127.0.0.1:$((base + 6))]
}
END
  nats-server -c "$dir/nats$number.conf" >"$dir/nats$number.log" 2>&1 &
  server[$number]=$!
  disown "${server[$number]}"  # otherwise the shell prints a message at its end
}

# start_node NAME SERVERS: its daemon, with a host name of its own, and the push of its events.
start_node() {
  local node=$1 servers=$2 namespace=(unshare --uts)
  [[ $EUID -eq 0 ]] || namespace=(unshare --map-root-user --uts)
  mkdir -p "$dir/$node/vms"
  # shellcheck disable=SC2016  # expanded by the node's shell
  "${namespace[@]}" sh -c 'hostname "$0" && exec "$@"' "$node" \
    "$bin/vmeventd" --watch "$dir/$node/vms:*.kvmd" --listen "unix:$dir/$node/socket" \
    --state-dir "$dir/$node/state" --log-level warn 2>"$dir/$node.log" &
  until_true "$node: vmeventd does not answer" vmevents_of "$node" health >/dev/null 2>&1
  start_push "$node" "$servers"
}

start_push() {
  local node=$1 servers=$2
  "$bin/vmevents" --server "unix:$dir/$node/socket" push "$servers" --cluster demo --state-dir "$dir/$node/push" \
    2>>"$dir/$node-push.log" &
  server[$node]=$!
  disown "${server[$node]}"
}

vmevents_of() {
  local node=$1
  shift
  vmevents --server "unix:$dir/$node/socket" "$@"
}

# The watch has printed the end of a VM.
has_ended() { grep -q "\"name\":\"$1\".*\"type\":\"EVENT_TYPE_STOPPED\"" "$dir/watch.json"; }
await_end() {
  until_true "the watch does not show the end of $1" has_ended "$1"
  unset "qemu[$1]"
}
node_is() { vmevents --server "$fleet" -o json fleet --node "$1" | grep -q "\"state\":\"$2\""; }

say "three NATS servers form a cluster, five nodes publish into its stream"
for number in 1 2 3; do start_server "$number"; done
"$tools/relay.py" $((base + 7)) $((base + 1)) &
relay=$!
until_true "the fleet's streams are not created" vmevents --server "$fleet" fleet create --replicas 3 2>/dev/null
for node in "${nodes[@]}"; do
  if [[ $node == node3 ]]; then
    start_node "$node" "nats://127.0.0.1:$((base + 7))"  # by a relay, to be cut off
  else
    start_node "$node" "$fleet"
  fi
done
for node in "${nodes[@]}"; do until_true "$node does not publish" node_is "$node" up 2>/dev/null; done
vmevents --server "$fleet" fleet

say "one vmevents watch follows all of them"
"$bin/vmevents" --server "$fleet" -o json watch --from oldest >"$dir/watch.json" 2>"$dir/watch.log" &
watch=$!
"$bin/vmevents" --server "$fleet" --no-headers watch --from oldest 2>/dev/null &
for number in 1 2 3 4; do boot "$dir/node$number/vms" "web$number"; done
boot "$dir/node5/vms" web5 -device pvpanic

say "node3 is cut off; its VM's user types poweroff"
kill -STOP "$relay"
echo "poweroff -f" >&"${serial[web3]}"
until_true "node3 does not become silent" node_is node3 silent
vmevents --server "$fleet" fleet

say "the NATS server nats2 and the push of node1 are killed; on node1 the administrator ends a VM, on node2 QEMU is killed"
kill -KILL "${server[2]}" "${server[node1]}"
echo quit >&"${monitor[web1]}"
start_push node1 "$fleet"
kill -KILL "${qemu[web2]}"
await_end web1
await_end web2
! has_ended web3 || fail "the end of web3 came although its node is cut off"

say "node3 is back, with what it has kept; on node4 the host presses the power button, on node5 the kernel panics"
kill -CONT "$relay"
await_end web3
echo system_powerdown >&"${monitor[web4]}"
echo "echo c > /proc/sysrq-trigger" >&"${serial[web5]}"
await_end web4
await_end web5
for node in "${nodes[@]}"; do until_true "$node is not up" node_is "$node" up; done

say "vmevents vms --all"
vmevents --server "$fleet" vms --all
say "vmevents fleet"
vmevents --server "$fleet" fleet
none_lags() { ! vmevents --server "$fleet" -o json fleet | grep -v '"lag":"0"' >/dev/null; }
until_true "a node lags behind" none_lags

say "the watch against the nodes' journals"
kill -TERM "$watch"  # SIGINT is ignored behind a shell without job control
wait "$watch"
journals=()
for node in "${nodes[@]}"; do
  vmevents_of "$node" -o json events >"$dir/$node.json"
  journals+=("$node=$dir/$node.json")
done
"$tools/check_fleet_watch.py" "$dir/watch.json" "${journals[@]}"
echo "what the watch printed on standard error:"
sed 's/^/  /' "$dir/watch.log"
