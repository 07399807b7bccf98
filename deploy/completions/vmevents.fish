# vmevents' commands and flags for fish. A test compares them with each --help.

# The command so far: "watch", "intent declare"; empty before it.
function __vmevents_command
    set -l words (commandline -opc)
    set -l command
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case -o --output --color --server --context --tls-ca --tls-cert --tls-key --tls-server-name --credentials
                set skip 1
            case watch events vms vm top timeline fleet info health doctor
                echo $word
                return
            case intent context
                if test -z "$command"
                    set command $word
                end
            case declare list withdraw use
                if test -n "$command"
                    echo "$command $word"
                    return
                end
        end
    end
    echo $command
end

function __vmevents_is
    set -l command (__vmevents_command)
    test "$command" = "$argv"
end

# Names of the server that the line already names.
function __vmevents_names
    set -l words (commandline -opc)
    set -l server
    set -l take 0
    for word in $words[2..-1]
        if test $take = 1
            set -a server $word
            set take 0
            continue
        end
        switch $word
            case --server --context --tls-ca --tls-cert --tls-key --tls-server-name --credentials
                set -a server $word
                set take 1
            case '--server=*' '--context=*' '--tls-*=*' '--credentials=*'
                set -a server $word
        end
    end
    timeout 2 vmevents $server -o name vms --all 2>/dev/null | sed -E 's/^.*\///' | sort -u
end

function __vmevents_contexts
    timeout 2 vmevents -o name context list 2>/dev/null
end

set -l types started stopped guest-shutdown powerdown-requested reset paused resumed suspended woken \
    hibernating guest-panicked watchdog-expired io-error memory-failure migration monitor-lost \
    monitor-restored intent-declared intent-withdrawn gap state-changed problems-changed
set -l classes user admin crash unknown
set -l states running paused suspended guest-down unreachable stopped

complete -c vmevents -f
complete -c vmevents -s h -l help -d 'print help and exit'
complete -c vmevents -l server -x -d 'where vmeventd listens'
complete -c vmevents -l context -x -a '(__vmevents_contexts)' -d 'named servers of the configuration file'
complete -c vmevents -s o -l output -x -a 'table wide json jsonl yaml name' -d 'for people or for programs'
complete -c vmevents -l color -x -a 'auto always never' -d 'whether to use colours'
complete -c vmevents -l utc -d 'times in UTC'
complete -c vmevents -l no-headers -d 'tables without their headings'
complete -c vmevents -l no-pager -d 'no pager for long lists'
complete -c vmevents -l tls-ca -r -F -d 'who signs the certificate of the server'
complete -c vmevents -l tls-cert -r -F -d 'the certificate to show'
complete -c vmevents -l tls-key -r -F -d 'its key'
complete -c vmevents -l tls-server-name -x -d 'the name in the certificate of the server'

complete -c vmevents -l credentials -r -F -d 'log in to NATS servers by this file'
complete -c vmevents -n '__vmevents_is ""' -l version -d 'print the version and exit'
complete -c vmevents -n '__vmevents_is ""' -a watch -d 'follow events as they happen'
complete -c vmevents -n '__vmevents_is ""' -a events -d 'list events of the past'
complete -c vmevents -n '__vmevents_is ""' -a vms -d 'list the VMs'
complete -c vmevents -n '__vmevents_is ""' -a vm -d 'show one VM in full'
complete -c vmevents -n '__vmevents_is ""' -a intent -d 'say who is about to stop a VM, and why'
complete -c vmevents -n '__vmevents_is ""' -a top -d 'watch the VMs of a node on a terminal'
complete -c vmevents -n '__vmevents_is ""' -a timeline -d 'show the life of one VM'
complete -c vmevents -n '__vmevents_is ""' -a fleet -d 'show the nodes of a fleet'
complete -c vmevents -n '__vmevents_is ""' -a context -d 'choose among named servers'
complete -c vmevents -n '__vmevents_is ""' -a info -d "show vmeventd's own state"
complete -c vmevents -n '__vmevents_is ""' -a health -d 'ask whether vmeventd serves'
complete -c vmevents -n '__vmevents_is ""' -a doctor -d 'find what keeps vmeventd from following VMs'

complete -c vmevents -n '__vmevents_is watch' -l from -x -a 'oldest snapshot' -d 'where to begin'
complete -c vmevents -n '__vmevents_is watch' -l journal -x -d 'the journal of that number'
complete -c vmevents -n '__vmevents_is watch' -l since -x -a 'today yesterday' -d 'begin at this time'
complete -c vmevents -n '__vmevents_is watch' -l node -x -d 'only this node of a fleet'
complete -c vmevents -n '__vmevents_is watch' -l vm -x -a '(__vmevents_names)' -d 'only VMs of such a name'
complete -c vmevents -n '__vmevents_is watch' -l source -x -d 'only VMs from such a source'
complete -c vmevents -n '__vmevents_is watch' -l type -x -a "$types" -d 'only events of this type'
complete -c vmevents -n '__vmevents_is watch' -l class -x -a "$classes" -d 'only ends of this class'
complete -c vmevents -n '__vmevents_is watch' -l count -x -d 'end after so many events'
complete -c vmevents -n '__vmevents_is watch' -l no-resume -d 'end when the daemon stops'
complete -c vmevents -n '__vmevents_is watch' -l wait -d 'wait for a daemon that cannot be reached yet'
complete -c vmevents -n '__vmevents_is watch' -l cursor-file -r -F -d 'keep the position here'
complete -c vmevents -n '__vmevents_is watch' -l exec -x -d 'run this for each event'
complete -c vmevents -n '__vmevents_is watch' -l exec-on-failure -x -a 'stop retry skip' -d 'if it fails'
complete -c vmevents -n '__vmevents_is watch' -l exec-gaps -d 'run it for each GAP too'

complete -c vmevents -n '__vmevents_is events' -l since -x -a 'today yesterday' -d 'only events at or after this time'
complete -c vmevents -n '__vmevents_is events' -l until -x -a 'today yesterday' -d 'only events before this time'
complete -c vmevents -n '__vmevents_is events' -l node -x -d 'only this node of a fleet'
complete -c vmevents -n '__vmevents_is events' -l vm -x -a '(__vmevents_names)' -d 'only VMs of such a name'
complete -c vmevents -n '__vmevents_is events' -l source -x -d 'only VMs from such a source'
complete -c vmevents -n '__vmevents_is events' -l type -x -a "$types" -d 'only events of this type'
complete -c vmevents -n '__vmevents_is events' -l class -x -a "$classes" -d 'only ends of this class'
complete -c vmevents -n '__vmevents_is events' -s r -l newest-first -d 'the newest at the top'
complete -c vmevents -n '__vmevents_is events' -s n -l last -x -d 'only the newest so many'
complete -c vmevents -n '__vmevents_is events' -l limit -x -d 'only the first so many of the list'
complete -c vmevents -n '__vmevents_is events' -s f -l follow -d 'then follow events as they happen'
complete -c vmevents -n '__vmevents_is events' -l cursor-file -r -F -d 'keep the position here'

complete -c vmevents -n '__vmevents_is vms' -l node -x -d 'only this node of a fleet'
complete -c vmevents -n '__vmevents_is vms' -l vm -x -a '(__vmevents_names)' -d 'only VMs of such a name'
complete -c vmevents -n '__vmevents_is vms' -l source -x -d 'only VMs from such a source'
complete -c vmevents -n '__vmevents_is vms' -l state -x -a "$states" -d 'only VMs in this state'
complete -c vmevents -n '__vmevents_is vms' -l all -d 'those that have stopped as well'

complete -c vmevents -n '__vmevents_is vm' -l node -x -d 'only this node of a fleet'
complete -c vmevents -n '__vmevents_is vm' -l run -x -d 'which run'
complete -c vmevents -n '__vmevents_is vm' -a '(__vmevents_names)'

complete -c vmevents -n '__vmevents_is fleet' -l node -x -d 'only this node of a fleet'
complete -c vmevents -n '__vmevents_is top' -l interval -x -d 'how often it is drawn'
complete -c vmevents -n '__vmevents_is top' -l window -x -d 'whose ends are counted'
complete -c vmevents -n '__vmevents_is timeline' -l since -x -a 'today yesterday' -d 'begin at this time'
complete -c vmevents -n '__vmevents_is timeline' -l run -x -d 'which run'
complete -c vmevents -n '__vmevents_is timeline' -a '(__vmevents_names)'

complete -c vmevents -n '__vmevents_is context' -a list -d 'list the contexts'
complete -c vmevents -n '__vmevents_is context' -a use -d 'make a context the current one'
complete -c vmevents -n '__vmevents_is context use' -a '(__vmevents_contexts)'

complete -c vmevents -n '__vmevents_is intent' -a declare -d 'declare an intent for a VM'
complete -c vmevents -n '__vmevents_is intent' -a list -d 'list the open intents'
complete -c vmevents -n '__vmevents_is intent' -a withdraw -d 'withdraw a declared intent'
complete -c vmevents -n '__vmevents_is intent declare' -l actor -x -d 'the person or the system that acts'
complete -c vmevents -n '__vmevents_is intent declare' -l reason -x -d 'one sentence for people'
complete -c vmevents -n '__vmevents_is intent declare' -l ttl -x -d 'how long it is valid'
complete -c vmevents -n '__vmevents_is intent declare' -l run -x -d 'which run'
complete -c vmevents -n '__vmevents_is intent declare' -a '(__vmevents_names)'

complete -c vmevents -n '__vmevents_is health' -l timeout -x -d 'how long to wait for the answer'
complete -c vmevents -n '__vmevents_is health' -a 'journal watch vmeventd.v1.VmEventService'
