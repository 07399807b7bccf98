#include <cstddef>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/options/option_reader.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

// The width of a help text.
constexpr size_t kHelpWidth = 80;
constexpr size_t kHelpColumn = 30;  // column at which CLI11 begins an option's description

constexpr char kProgramHelp[] =
    "Shows who ended the virtual machines of a node, and how vmeventd knows.";
constexpr char kProgramFooter[] =
    R"(ADDR is unix:PATH, HOST:PORT or HOST, whose port is 9555. Without --server it is
that of --context, else $VMEVENTS_SERVER, else that of the current context (see
CONTEXTS in vmevents(1)), else the user's socket
unix:$XDG_RUNTIME_DIR/vmeventd/vmeventd.sock if that exists, else the system's,
unix:/run/vmeventd/vmeventd.sock. A HOST with --tls-ca speaks TLS. If no --tls
option is given, the context's files count, or without a context
$VMEVENTS_TLS_CA, _CERT, _KEY and _SERVER_NAME.

nats://HOST:PORT[,HOST:PORT...], or tls:// likewise, names the NATS servers of a
fleet of nodes that publish there: watch, push, web, events, vms, why and fleet
read it.

Examples:
  vmevents watch                          what happens from now on
  vmevents vms                            the VMs that run
  vmevents why web1                       why web1 ended, with the evidence
  vmevents status                         vmeventd, and what happened of late
  vmevents events web1 --type stopped     each end of web1, the earlier ones too
  vmevents events --since 1h --class crash
  vmevents -o json watch --from oldest    one JSON object a line, for programs
  vmevents --server nats://nats1 watch    what happens on all nodes of a fleet

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not reachable,
5 push: the receiver wants no more.)";
constexpr char kWatchFooter[] =
    R"(A TIME is 2026-07-01T12:00:00Z, "2026-07-01 12:00:00" (local time), 2026-07-01,
12:00, today, yesterday, @SECONDS, or how long ago: 10m, 2d. It reconnects when
the daemon comes back, with nothing lost or repeated; if events may be missing,
it prints GAP on standard error. Ctrl-C and --timeout end it with 0, or with 130
and 1 if --count was not reached.

With --exec it prints nothing and runs COMMAND with /bin/sh for each event, one
at a time: the event's fields are in $VMEVENTS_TYPE, _VM, _CLASS, _CAUSE,
_RUN_ID, _SEQUENCE, _TIME and so on, its JSON is on standard input. A GAP, which
passes every filter because the missing events may have matched, is printed on
standard error, unless --type gap or --exec-gaps asks for it. With
--cursor-file it continues after the last event that was printed, or whose
command ended with 0; after a crash the last ones come again.

Examples:
  vmevents watch --from snapshot          the VMs as they are, then what follows
  vmevents watch 'web*' --type stopped --class user,admin
  vmevents watch --since 10m              the last ten minutes, and on
  vmevents watch web1 --type stopped --count 1 --timeout 5m    until web1 has
                                          ended, or 5 minutes are over
  vmevents watch --type stopped --class crash --cursor-file crashes.cursor \
      --exec 'mail -s "$VMEVENTS_VM crashed" ops' --exec-on-failure retry
  vmevents -o json watch --from 4711 --journal JOURNAL_ID)";
constexpr char kPushFooter[] =
    R"(It follows as watch does, for ever, and keeps its position once the receiver has
answered 2xx: each event is delivered at least once, those of a node in order,
and with the same id each time. It repeats what fails, after 1s to 5m or as long
as Retry-After says, up to 1h; an answer of 410 ends it. An event that is
answered by 400, 413 or 422 goes into the file set-aside.jsonl of its state
directory. docs/act.md has the formats, the templates and a receiver's check of
the signature.

nats://HOST:PORT[,HOST:PORT...], or tls://, names NATS servers of a fleet: the
events of the one node go into its stream, from the oldest on, and with them the
state of each VM and a heartbeat (docs/many-nodes.md).

Without --state-dir that directory is $XDG_STATE_HOME/vmevents/push/TARGET, or
in ~/.local/state. Where the URL is a secret, as Slack's, put it into a file for
--url-file: every user of the host sees the command line.

Examples:
  vmevents push https://events.example/vms --secret-file secret
  vmevents push --format slack --url-file slack.url --type stopped --class crash
  vmevents push --template ntfy.json https://ntfy.example --class crash
  vmevents push tls://nats1,nats2 --cluster prod --push-credentials node7.creds
  vmevents push --status https://events.example/vms)";
constexpr char kWebFooter[] =
    R"(It serves a page that shows the VMs, why each ended, and what happens now, and
the same as JSON below /api/v1 (docs/vmevents.md). Everything is only read.
Every user of this host can read it, unless --token-file asks for a token: as
the password, with any user name, or as "Authorization: Bearer TOKEN". Beyond
loopback it needs --web-cert, and --web-client-ca or --token-file.

Examples:
  vmevents web                            http://127.0.0.1:9557/
  vmevents web --server node1,node2 --token-file token
  vmevents web --listen 0.0.0.0:9557 --web-cert web.pem --web-key web.key \
      --token-file token)";
constexpr char kEventsFooter[] =
    R"(TIME is 2026-07-01T12:00:00Z, "2026-07-01 12:00:00" (local time), 2026-07-01,
12:00, today, yesterday, @SECONDS, or how long ago: 10m, 2d. On a terminal the
list goes through a pager: $VMEVENTS_PAGER, else $PAGER, else less.

Examples:
  vmevents events --since today --type stopped
  vmevents events -n 20                   the newest 20, oldest first
  vmevents events -f                      the newest 10, and then what happens
  vmevents tail                           the newest 10
  vmevents crashes --since 'last week'    the ends of class crash, newest first
  vmevents events web1 --since '1 hour ago'
  vmevents -o json events --vm web1 --since 2026-07-01T00:00:00Z --until 1d)";
constexpr char kVmsFooter[] =
    R"(It has a row for each VM: AGE is how long it is in its state, ENDS how often it
has ended, as far as vmeventd knows its runs, CLASS and WHY how it ended last.
Those that run come first, then those that have stopped, the newest end first.

Examples:
  vmevents vms --all                      include stopped VMs
  vmevents vms web1 --runs                each run of web1, and how it ended
  vmevents vms --all --sort-by ends       what ends most often
  vmevents vms --state paused --state unreachable
  vmevents vms --class crash              those that crashed
  vmevents vms --cause host-kill          those that somebody killed
  vmevents -o json vms 'web*' db1)";
constexpr char kWhyFooter[] =
    R"(It shows how the VM ended last, also where it runs again: the verdict, the
sentence that the facts make, the evidence, and what the VM does now. With
-o wide it adds the run, the UUID, the labels, the source and the monitor. NAME
may be a glob or a UUID; `vm` is the same command.

Examples:
  vmevents why web1
  vmevents why 'web*' db1
  vmevents why web1 --markdown            for a ticket
  vmevents why web1 --run RUN_ID          the end of an earlier run)";
constexpr char kStatusFooter[] =
    R"(It shows vmeventd on this node: whether it serves, the VMs by state, the ends of
the last 24 hours by class, and the latest of them. With NAME it does what
`vmevents why NAME` does. With -o json it prints what `vmevents info` prints.

Examples:
  vmevents status
  vmevents status web1)";
constexpr char kTopFooter[] =
    R"(It shows the VMs by state, the ends by class, the latest ends, the streams, and
how late events are. The keys t, v and c sort the latest ends by time, VM or
class; q ends it. Without a terminal it prints one frame, as with --once.

Examples:
  vmevents top --window 1h
  vmevents top --once)";
constexpr char kIntentFooter[] =
    R"(An intent says who is about to stop, migrate or kill a VM, and why: the stop
that follows is then an admin's, however it happens. It ends with the run, when
it expires, or when it is withdrawn.

Examples:
  vmevents intent declare web1 --actor alice --reason 'node is emptied'
  vmevents intent list
  vmevents intent withdraw INTENT_ID)";

constexpr char kFleetFooter[] =
    R"(LAG is how many events of the node's journal are not in the fleet's stream yet.
A node is silent if it has said nothing for three of its intervals: it is down,
or cannot reach the servers. A daemon that was stopped in order is stopped.

Examples:
  vmevents --server nats://nats1,nats2 fleet
  vmevents --context fleet -o json fleet --node 'rack7-*')";

constexpr char kFleetCreateFooter[] =
    R"(Makes the stream VMEVENTS and the buckets VMEVENTS_VMS and VMEVENTS_NODES where
they are missing, as docs/many-nodes.md describes them, and turns off the
rollups of buckets that permit them. It needs an account that may create
streams.

Example:
  vmevents --server tls://nats1 --credentials admin.creds fleet create \
      --replicas 3)";

constexpr char kHealthFooter[] =
    R"(SERVICE is vmeventd.v1.VmEventService, or journal: whether events are durable,
or watch: whether each directory of --watch is there, or sources: whether there
is anything in which VMs can be found, or libvirt: whether each libvirt can be
connected to, or listen: whether each --listen is open. Without it, the server
as a whole. Exits with 0 if it is SERVING, 1 if it is not, 3 if there is no such
service, 4 if the server is not reachable.

Examples:
  vmevents health
  vmevents health --all
  vmevents health --timeout 1s --server node1 --tls-ca ca.pem)";

constexpr char kDoctorFooter[] =
    R"(It looks for what keeps vmeventd on this node from following a VM: QEMUs without
a monitor that it may take, monitors that another client holds, QEMUs that hang,
directories that are missing, rights, descriptors, managers on the same socket.
Each finding comes with a line to paste. It connects to no monitor and changes
nothing. The --watch flags are those of vmeventd if that answers, else those of
/etc/vmeventd/vmeventd.conf. Run it as root. With the --server of another node
it asks only that vmeventd, and explains a connection, or TLS, that fails. Exits
with 0 if it finds nothing, else with 1.

Examples:
  vmevents doctor
  vmevents --server node1 --tls-ca ca.pem doctor
  vmevents -o json doctor | jq -r .line)";

constexpr char kCompletionFooter[] =
    R"(Packages install it. Without them:
  source <(vmevents completion bash)      in ~/.bashrc, or zsh in ~/.zshrc
  vmevents completion fish | source       in ~/.config/fish/config.fish)";

// CLI11 breaks no lines.
std::string Wrapped(const char* help) {
  return absl::StrJoin(WrapText(help, kHelpWidth - kHelpColumn), "\n");
}

CLI::Option* AddOption(CLI::App* app, const char* names, const char* value_name, const char* help) {
  return app->add_option(names, CLI::callback_t(), Wrapped(help))
      ->type_name(value_name)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void AddList(CLI::App* app, const char* names, const char* value_name, const char* help) {
  AddOption(app, names, value_name, help)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(CLI::detail::expected_max_vector_size)
      ->allow_extra_args(false);
}

// Adds a value that stands without an option's name.
CLI::Option* AddArgument(CLI::App* app, const char* name, const std::string& help) {
  return app->add_option(name, CLI::callback_t(), help)->type_name("");
}

void AddFlag(CLI::App* app, const char* names, const char* help) {
  const std::string text = Wrapped(help);
  app->add_flag(names, text);
}

CLI::App* AddCommand(CLI::App* app, const char* name, const char* help, const char* footer) {
  CLI::App* command = app->add_subcommand(name, help);
  command->fallthrough();  // --server and -o may also follow the command
  command->footer(
      absl::StrCat("The options of vmevents itself, as --server and -o, go before or after the\n"
                   "command: see vmevents --help.\n\n",
                   footer));
  return command;
}

void AddSource(CLI::App* command) {
  AddList(command, "--source", "GLOB",
          "only VMs from such a source, as 'libvirt:*'; may be repeated");
}

void AddVm(CLI::App* command) {
  AddList(command, "--vm", "GLOB", "only VMs of such names, separated by commas; may be repeated");
  AddList(command, "--uuid", "UUID",
          "only VMs of such UUIDs, separated by commas; may be repeated");
  AddList(command, "-l,--label", "SELECTOR",
          "only VMs with such labels, as app=web,tier!=db; may be repeated");
}

void AddNames(CLI::App* command) {
  AddArgument(command, "NAME", "only VMs of such names, as with --vm")
      ->expected(CLI::detail::expected_max_vector_size);
  AddVm(command);
}

// Selects runs of VMs and their ends.
void AddEnds(CLI::App* command) {
  AddList(command, "--class", "CLASS",
          "only ends by user, admin, crash or unknown; may be repeated");
  AddList(command, "--cause", "CAUSE",
          "only ends of this cause, as guest-panic or host-kill; may be repeated");
  AddList(command, "--run", "RUN_ID", "only this run of a VM; may be repeated");
}

// Adds all of the filter but the names.
void AddFilter(CLI::App* command) {
  AddSource(command);
  AddList(command, "--type", "TYPE",
          "only events of this type, as started or stopped; may be repeated");
  AddEnds(command);
}

void AddNode(CLI::App* command) {
  AddList(command, "--node", "GLOB", "only this node of a fleet, or CLUSTER/NODE; may be repeated");
}

void AddCursorFile(CLI::App* command) {
  AddOption(
      command, "--cursor-file", "FILE",
      "keep the position here, and continue from it; at first from where the other options say");
}

void AddStart(CLI::App* command, const char* from) {
  AddOption(command, "--from", "START", from);
  AddOption(command, "--journal", "ID",
            "the journal of that sequence number; default the server's present one");
  AddOption(command, "--since", "TIME", "begin with the events at or after this time");
  AddNode(command);
}

void AddWatch(CLI::App* app) {
  CLI::App* watch = AddCommand(app, "watch", "Follow events as they happen", kWatchFooter);
  AddStart(watch, "begin after a sequence number, or at oldest, snapshot or a time; default now");
  AddNames(watch);
  AddFilter(watch);
  AddOption(watch, "-n,--count", "N", "end after N of the events that were asked for");
  AddOption(watch, "--timeout", "DURATION", "end after so long, such as 5m");
  AddFlag(watch, "--no-resume", "end when the daemon stops");
  AddFlag(watch, "--wait", "wait for a daemon that cannot be reached yet");
  AddCursorFile(watch);
  AddOption(watch, "--exec", "COMMAND", "run this for each event instead of printing it");
  AddOption(watch, "--exec-on-failure", "ACTION",
            "stop, retry (10 times, after 1s to 1m) or skip the event; default stop");
  AddFlag(watch, "--exec-gaps", "run COMMAND for each GAP too, which may have no VM");
}

void AddPush(CLI::App* app) {
  CLI::App* push = AddCommand(app, "push", "Deliver events to a URL as they happen", kPushFooter);
  AddArgument(push, "URL", "where to: https://, or nats:// into a fleet");
  AddOption(push, "--url-file", "FILE", "the URL is the first line of this file");
  AddOption(push, "--format", "FORMAT", "cloudevents, slack or json; default cloudevents");
  AddOption(push, "--template", "FILE",
            "instead send this JSON for each event, with its fields as {{vm}} in the texts");
  AddStart(push, "at first begin after a sequence number, or at oldest or a time; default now");
  AddVm(push);
  AddFilter(push);
  AddOption(push, "--batch", "N", "at most N events in a request; default 100");
  AddOption(push, "--batch-time", "DURATION",
            "how long an event waits for others, 1ms to 1m; default 1s");
  AddOption(push, "--timeout", "DURATION", "of a request, 1s to 10m; default 30s");
  AddOption(push, "--secret-file", "FILE",
            "sign each request by the secret in this file; two lines while it is replaced");
  AddOption(push, "--header-file", "FILE",
            "send these headers too, as \"Authorization: Bearer ...\", one a line");
  AddOption(push, "--push-ca", "FILE",
            "the CA of the receiver's certificate, PEM; default the system's");
  AddOption(push, "--push-cert", "FILE", "the certificate to show the receiver, PEM");
  AddOption(push, "--push-key", "FILE", "that certificate's private key, PEM");
  AddOption(push, "--cluster", "NAME", "nats://: the cluster of this node");
  AddOption(push, "--push-credentials", "FILE", "nats://: log in by this file (NATS's .creds)");
  AddOption(push, "--push-domain", "NAME",
            "nats://: the domain of the JetStream, where the servers are leaf nodes of others");
  AddFlag(push, "--insecure-http",
          "permit http:// and nats:// beyond this host: anyone on the way reads the events");
  AddOption(push, "--state-dir", "DIR",
            "the directory of this push: its position, state and what was set aside");
  AddOption(push, "--metrics-file", "FILE", "write metrics here, NAME.prom for the node exporter");
  AddFlag(push, "--status", "show what this push last did, without a network");
  AddFlag(push, "--retry-set-aside", "have this push send again what it set aside");
}

void AddWeb(CLI::App* app) {
  CLI::App* web = AddCommand(app, "web", "Serve a page for browsers", kWebFooter);
  AddOption(web, "--listen", "HOST:PORT", "where it listens; default 127.0.0.1:9557");
  AddOption(web, "--web-cert", "FILE", "serve TLS with this certificate, PEM");
  AddOption(web, "--web-key", "FILE", "that certificate's private key, PEM");
  AddOption(web, "--web-client-ca", "FILE",
            "serve only browsers that show a certificate of a CA in this PEM file");
  AddOption(web, "--token-file", "FILE", "serve only browsers that send the token in this file");
  AddNode(web);
}

void AddEvents(CLI::App* app) {
  CLI::App* events = AddCommand(app, "events", "List events of the past", kEventsFooter);
  events->alias("logs")->alias("history");
  AddOption(events, "--since", "TIME", "only events at or after this time");
  AddOption(events, "--until", "TIME", "only events before this time");
  AddNode(events);
  AddNames(events);
  AddFilter(events);
  AddFlag(events, "-r,--newest-first", "the newest at the top");
  AddOption(events, "-n,--last", "N", "only the newest N events");
  AddOption(events, "--limit", "N", "only the first N events of the list");
  AddFlag(events, "-f,--follow", "then follow events as they happen, as watch does");
  AddCursorFile(events);
}

void AddVms(CLI::App* app) {
  CLI::App* vms = AddCommand(app, "vms", "List the VMs", kVmsFooter);
  vms->alias("ls")->alias("ps");
  AddNode(vms);
  AddNames(vms);
  AddSource(vms);
  AddEnds(vms);
  AddList(vms, "--state", "STATE",
          "only VMs in this state, as running or stopped; may be repeated");
  AddFlag(vms, "-a,--all", "include stopped VMs");
  AddFlag(vms, "--runs", "each run of the VMs, the newest first");
  AddOption(vms, "--sort-by", "ORDER", "state, name, age, ends or class; default state");
}

void AddWhy(CLI::App* app) {
  CLI::App* why = AddCommand(app, "why", "Show why VMs ended, and what they do now", kWhyFooter);
  why->alias("vm")->alias("describe");
  AddNode(why);
  AddNames(why);
  AddList(why, "--run", "RUN_ID", "the end of this run; may be repeated");
  AddFlag(why, "--markdown", "Markdown, for a ticket");
}

void AddStatus(CLI::App* app) {
  CLI::App* status =
      AddCommand(app, "status", "Show vmeventd's state, or why a VM ended", kStatusFooter);
  AddArgument(status, "NAME", "a VM, for `why`")->expected(CLI::detail::expected_max_vector_size);
}

void AddIntent(CLI::App* app) {
  CLI::App* intent =
      AddCommand(app, "intent", "Say who is about to stop a VM, and why", kIntentFooter);
  intent->require_subcommand(0, 1);
  CLI::App* declare = AddCommand(
      intent, "declare", "Declare an intent for a VM",
      "Example:\n  vmevents intent declare web1 --actor mover --reason 'to node7' --ttl 5m");
  AddArgument(declare, "NAME", "the VM's name")->required();
  AddOption(declare, "--actor", "WHO",
            "the person or the system that acts; default $SUDO_USER, $USER or the user's name");
  AddOption(declare, "--reason", "WHY", "one sentence for people");
  AddOption(declare, "--ttl", "DURATION",
            "how long it is valid, such as 5m; default 10m, at most 24h");
  AddOption(declare, "--run", "RUN_ID", "the run, if a name has several");
  AddCommand(intent, "list", "List the open intents", "Example:\n  vmevents intent list");
  CLI::App* withdraw =
      AddCommand(intent, "withdraw", "Withdraw a declared intent",
                 "Example:\n  vmevents intent withdraw 6a6f7572-6e61-4c00-8000-000000000001");
  AddArgument(withdraw, "INTENT_ID", "as printed by declare")->required();
}

void AddTop(CLI::App* app) {
  CLI::App* top = AddCommand(app, "top", "Watch the VMs of a node on a terminal", kTopFooter);
  AddOption(top, "--interval", "DURATION", "how often it is drawn; default 2s");
  AddOption(top, "--window", "DURATION", "whose ends are counted; default 15m");
  AddFlag(top, "--once", "print one frame");
}

}  // namespace

void Define(CLI::App* app) {
  app->description(kProgramHelp);
  app->footer(kProgramFooter);
  app->set_version_flag("--version", absl::StrCat("vmevents ", VMEVENTD_VERSION));
  AddList(app, "--server", "ADDR",
          "where vmeventd listens; watch, push, web, events, vms and why merge several of them. Or "
          "nats://, see "
          "below");
  AddOption(app, "--context", "NAME",
            "the TLS files, and without --server the servers, of this context in the configuration "
            "file");
  AddOption(app, "--tls-ca", "FILE",
            "speak TLS with a server whose certificate is of a CA in this PEM file");
  AddOption(app, "--tls-cert", "FILE", "the certificate to show the server, PEM");
  AddOption(app, "--tls-key", "FILE", "that certificate's private key, PEM");
  AddOption(app, "--tls-server-name", "NAME",
            "the name in the server's certificate; default the host of --server");
  AddOption(app, "--credentials", "FILE",
            "log in to the NATS servers of a fleet by this file (NATS's .creds)");
  AddOption(
      app, "--nats-domain", "NAME",
      "the domain of the JetStream that has the fleet's stream, where the NATS servers are leaf "
      "nodes of others");
  AddOption(app, "-o,--output", "FORMAT",
            "table or wide for people; json, jsonl (the same), yaml or name for programs; default "
            "table");
  AddOption(app, "--color", "WHEN",
            "auto, always or never; auto: on a terminal, unless $NO_COLOR is set");
  AddFlag(app, "--utc", "times in UTC, not in the local time zone");
  AddFlag(app, "--no-headers", "tables without their headings");
  AddFlag(app, "--no-trunc", "tables whose rows are not cut where the terminal ends");
  AddFlag(app, "--no-pager", "no pager for the lists of events and vms");
  app->require_subcommand(0, 1);  // a missing command is reported below, with the commands' names
  AddWatch(app);
  AddPush(app);
  AddWeb(app);
  AddEvents(app);
  AddVms(app);
  AddWhy(app);
  AddStatus(app);
  AddTop(app);
  CLI::App* fleet = AddCommand(app, "fleet", "Show the nodes of a fleet", kFleetFooter);
  fleet->require_subcommand(0, 1);
  AddNode(fleet);
  CLI::App* create = AddCommand(fleet, "create", "Make the streams of a fleet", kFleetCreateFooter);
  AddOption(create, "--replicas", "N",
            "how many servers store each stream, 1 to 5; default as they are, and 1 of new ones");
  AddIntent(app);
  AddCommand(app, "info", "Show vmeventd's own state", "Example:\n  vmevents -o json info");
  AddCommand(app, "streams", "Show who watches events, and how far each is",
             "For operators of vmeventd.\n\nExample:\n  vmevents -o json streams");
  CLI::App* health = AddCommand(app, "health", "Ask whether vmeventd serves", kHealthFooter);
  AddArgument(health, "SERVICE", "one of its services");
  AddFlag(health, "--all", "each of its services, a line each");
  AddOption(health, "--timeout", "DURATION",
            "how long to wait for the answer, such as 1s; default 5s");
  AddCommand(app, "doctor", "Find what keeps vmeventd from following VMs here", kDoctorFooter);
  CLI::App* help =
      AddCommand(app, "help", "Explain a command", "Example:\n  vmevents help intent declare");
  AddArgument(help, "COMMAND", "the command")->expected(CLI::detail::expected_max_vector_size);
  AddCommand(app, "version", "Print the version", "Example:\n  vmevents version");
  CLI::App* completion =
      AddCommand(app, "completion", "Print what completes commands in a shell", kCompletionFooter);
  AddArgument(completion, "SHELL", "bash, zsh or fish")->required();
}

}  // namespace vmeventd::client
