#include "client/options/help.h"

#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/terminal_text.h"

// The texts below the options of the help, and its form.

namespace vmeventd::client {
namespace {

constexpr char kProgram[] =
    R"(ADDR is one of
  unix:PATH or /PATH        a Unix socket
  HOST:PORT or HOST         TCP, by default port 9555; TLS if --tls-ca is given
  ssh://HOST                the Unix socket of HOST, through ssh
  nats://HOST:PORT          a NATS server of a fleet of nodes; tls:// with TLS
Without --server, the address is that of --context, else $VMEVENTS_SERVER, else
that of the current context, else unix:$XDG_RUNTIME_DIR/vmeventd/vmeventd.sock
if that exists, else unix:/run/vmeventd/vmeventd.sock.
vmevents(1) describes contexts, environment variables and output formats.

Examples:
  vmevents watch                          what happens from now on
  vmevents vms                            the VMs that run
  vmevents why web1                       why web1 ended, with the evidence
  vmevents status                         vmeventd, and what happened lately
  vmevents events web1 --type stopped     each end of web1, the earlier ones too
  vmevents events --since 1h --class crash
  vmevents -o json watch --from oldest    one JSON object a line, for programs
  vmevents --server nats://nats1 watch    what happens on all nodes of a fleet

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not reachable,
5 push: the receiver answered 410 Gone.)";

// The text below the options of a command. The paragraphs of its sinks come between `text` and
// `examples`.
struct Footer {
  absl::string_view command;
  absl::string_view text;
  absl::string_view examples = "";
};

constexpr Footer kFooters[] = {
    {"watch",
     R"(A TIME is 2026-07-01T12:00:00Z, "2026-07-01 12:00:00" (local time), 2026-07-01,
12:00, 8pm, noon, today, yesterday, monday, "last monday 14:00", boot, @SECONDS,
or how long ago: 10m, 2d, "half an hour ago". It reconnects when the daemon
comes back, with nothing lost or repeated; if events may be missing, it prints
GAP on standard error. A GAP of the whole node passes every filter, in JSON too.
It runs the command of --exec and counts for --count only if there is no filter
or --type includes gap.

With --cursor-file it continues after the last event that was printed, or whose
command ended with 0; after a crash of vmevents, the last events may be
repeated.)",
     R"(Examples:
  vmevents watch --from snapshot          the VMs as they are, then what follows
  vmevents watch 'web*' --type stopped --class user,admin
  vmevents watch web1 --type stopped --count 1 --timeout 5m    until web1 has
                                          ended, or 5 minutes are over
  vmevents watch --type stopped --class crash --cursor-file crashes.cursor \
      --exec 'mail -s "$VMEVENTS_VM crashed" ops' --exec-on-failure retry
  vmevents -o json watch --from 4711 --journal JOURNAL_ID)"},
    {"push",
     R"(It follows events as watch does, without end, and saves its position once the
receiver has accepted them: each event is delivered at least once, those of a
node in order. It retries what fails. A GAP of the whole node is sent only if
there is no filter or --type includes gap. docs/act.md has the formats and
templates.)",
     R"(Examples:
  vmevents push https://events.example/vms --secret-file secret
  vmevents push --template slack.json --url-file slack.url --class crash
  vmevents push --template slack.json --url-file slack.url --test
  vmevents push tls://nats1,nats2 --cluster prod --push-credentials node7.creds
  vmevents push --status https://events.example/vms)"},
    {"web",
     R"(It serves a page that shows the VMs, why each ended, and what happens now, and
the same data as JSON below /api/v1 (docs/vmevents.md). Browsers can only read.
Every user of this host can read the page unless --token-file is given: then a
browser must send the token as the password, with any user name, or as
"Authorization: Bearer TOKEN". An address that other hosts can reach needs
--web-cert, and either --web-client-ca or --token-file.

Examples:
  vmevents web                            http://127.0.0.1:9557/
  vmevents web --server node1,node2 --token-file token
  vmevents web --listen 0.0.0.0:9557 --web-cert web.pem --web-key web.key \
      --token-file token)"},
    {"vms",
     R"(It prints a row for each VM. AGE is how long the VM has been in its state. ENDS
is the number of its ended runs that vmeventd knows. CLASS and WHY are those of
its last end. VMs that run come first, then those that have
stopped, the newest end first.

Examples:
  vmevents vms --all                      include stopped VMs
  vmevents vms web1 --runs                each run of web1, and how it ended
  vmevents vms --trouble                  those that need attention
  vmevents vms --all --sort-by ends       what ends most often
  vmevents vms --class crash              those that crashed
  vmevents vms --cause host-kill          those that somebody killed
  vmevents -o json vms 'web*' db1)"},
    {"why",
     R"(It shows how the VM ended last, even if it runs again: the verdict, a sentence
with the facts, the evidence, and the VM's present state. NAME may be a glob, a
UUID, or the PID of a VM's process, even of one that is gone. `vm` is the same
command. With --since, --until, --class or --cause it shows each end that
matches, the newest first; NAME may then be left out.

Examples:
  vmevents why web1
  vmevents why 14028                      the VM of that process
  vmevents why 'web*' db1
  vmevents why web1 --markdown            for a ticket
  vmevents why web1 --run RUN_ID          the end of an earlier run)"},
    {"stats",
     R"(It counts the ends of VMs by who ended them, the largest number first. WHO is
the actor of an intent, else the sender of the signal, else the manager, the
guest or the host, "QEMU itself" for its own crash, or "unknown". With --type it
counts other events.

Examples:
  vmevents stats --since 7d                 who ends the most
  vmevents stats --since 7d --by vm --class crash
  vmevents stats --since 30d --by day -o csv)"},
    {"status",
     R"(It shows vmeventd on this node: whether it serves, the VMs by state, those in
trouble, the ends of the last 24 hours by class, and the latest of them. If it
asks several nodes or a fleet, it prints a row for each node. With NAME it does
what `vmevents why NAME` does.

Examples:
  vmevents status
  vmevents status web1)"},
    {"top",
     R"(It shows the VMs by state, the ends by class, the latest ends, the streams, and
how late events are, until q is typed. Without a terminal it prints one frame,
as with --once.

Examples:
  vmevents top --window 1h
  vmevents top --once)"},
    {"intent",
     R"(An intent declares who is about to stop, migrate or kill a VM, and why: the stop
that follows is then an admin's, however it happens. It ends with the run, when
it expires, or when it is withdrawn.

Examples:
  vmevents intent declare web1 --actor alice --reason 'node is emptied'
  vmevents intent list
  vmevents intent withdraw INTENT_ID)"},
    {"fleet",
     R"(LAG is how many sequences the fleet's stream is behind the node's journal.
A node is silent if three of its heartbeats are missing: it is down, or cannot
reach the servers. "push stopped": its push was stopped on purpose, and its VMs
may still be running.

Examples:
  vmevents --server nats://nats1,nats2 fleet
  vmevents --context fleet -o json fleet --node 'rack7-*')"},
    {"create",
     R"(It creates the stream VMEVENTS and the buckets VMEVENTS_VMS and VMEVENTS_NODES
where they are missing, as docs/many-nodes.md describes them, and turns off the
rollups of buckets that permit them. It needs an account that may create
streams.

Example:
  vmevents --server tls://nats1 --credentials admin.creds fleet create \
      --replicas 3)"},
    {"health",
     R"(It prints SERVING or NOT_SERVING. SERVICE is one of
  journal                   new events are saved durably
  watch                     each directory of --watch exists
  sources                   there is a directory or a libvirt to find VMs in
  libvirt                   each libvirt can be connected to
  listen                    each address of --listen is open
  vmeventd.v1.VmEventService   the gRPC service
It exits with 0 if it is SERVING, 1 if it is not, 3 if there is no such service,
and 4 if vmeventd cannot be reached in time.

Examples:
  vmevents health
  vmevents health --all
  vmevents health --timeout 1s --server node1 --tls-ca ca.pem)"},
    {"doctor",
     R"(It looks for what prevents vmeventd from following a VM of this node, and prints
a line to paste with each finding. It connects to no monitor and changes
nothing. Run it as root. If --server names another node, it asks only the
vmeventd there, and if the connection or its TLS fails, it explains why. It
exits with 0 if it finds nothing, else with 1.

Examples:
  vmevents doctor
  vmevents --server node1 --tls-ca ca.pem doctor
  vmevents -o json doctor | jq -r .steps[].line)"},
    {"completion",
     R"(Packages install it. Without them:
  source <(vmevents completion bash)      in ~/.bashrc, or zsh in ~/.zshrc
  vmevents completion fish | source       in ~/.config/fish/config.fish)"},
    {"declare",
     "Example:\n  vmevents intent declare web1 --actor mover --reason 'to node7' --ttl 5m"},
    {"list", "Example:\n  vmevents intent list"},
    {"withdraw", "Example:\n  vmevents intent withdraw 6a6f7572-6e61-4c00-8000-000000000001"},
    {"info", "Example:\n  vmevents -o json info"},
    {"streams",
     "It shows who each client is, since when it follows events, the position of its\n"
     "stream, how many sequences it lags, and its filter. Only operators of vmeventd\n"
     "may list the streams.\n\nExample:\n  vmevents -o json streams"},
    {"help", "Example:\n  vmevents help intent declare"},
    {"version", "Example:\n  vmevents version"},
    {"proxy", "`--server ssh://HOST` runs it on HOST.\n\nExample:\n  ssh node1 vmevents proxy"},
    {"events",
     R"(TIME is 2026-07-01T12:00:00Z, "2026-07-01 12:00:00" (local time), 2026-07-01,
12:00, 8pm, noon, today, yesterday, monday, "last monday 14:00", boot, @SECONDS,
or how long ago: 10m, 2d, "half an hour ago". On a terminal the list goes
through a pager: $VMEVENTS_PAGER, else $PAGER, else less. A GAP of the whole
node passes every filter, as the missing events may have matched. A list in JSON
includes it only if there is no filter, or with --type gap or -f.

Examples:
  vmevents events --since today --type stopped
  vmevents events -n 20                   the newest 20, oldest first
  vmevents events -f                      the newest 10, and then what happens
  vmevents tail                           the newest 10
  vmevents crashes --since 'last week'    the ends of class crash, newest first
  vmevents -o json events --vm web1 --since 2026-07-01T00:00:00Z --until 1d)"}};

// The paragraphs of the sinks of one kind.
template <typename Kind>
std::string OfSinks(const std::vector<const Kind*>& sinks) {
  std::string out;
  for (const Kind* const sink : sinks) {
    if (!sink->help.empty()) absl::StrAppend(&out, sink->help, "\n\n");
  }
  return out;
}

// Breaks lines, which CLI11 does not, and leaves out the options that one excludes: the complaint
// names them.
class HelpFormatter : public CLI::Formatter {
 public:
  explicit HelpFormatter(const SinkTable& sinks)
      : of_sinks_({{"watch", OfSinks(sinks.of_watch)}, {"push", OfSinks(sinks.of_push)}}) {}

  std::string make_option_desc(const CLI::Option* option) const override {
    constexpr size_t kWidth = 50;  // of 80 columns, of which CLI11 uses 30 for the names
    return absl::StrJoin(WrapText(option->get_description(), kWidth), "\n");
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text;
    if (!option->get_type_name().empty()) text = absl::StrCat(" ", option->get_type_name());
    if (option->get_expected_max() == CLI::detail::expected_max_vector_size) text += " ...";
    if (option->get_required()) absl::StrAppend(&text, " ", get_label("REQUIRED"));
    for (const CLI::Option* needed : option->get_needs()) {
      absl::StrAppend(&text, " ", get_label("Needs"), ": ", needed->get_name());
    }
    return text;
  }
  std::string make_footer(const CLI::App* app) const override {
    if (app->get_parent() == nullptr) return absl::StrCat(kProgram, "\n");
    const auto find = [](absl::string_view name) {
      return absl::c_find_if(kFooters, [name](const Footer& one) { return one.command == name; });
    };
    const Footer* footer = find(app->get_name());
    if (footer == std::end(kFooters)) footer = find("events");  // crashes, tail
    std::string below = absl::StrCat(
        "The options of vmevents itself, such as --server and -o, go before or after\n"
        "the command: see vmevents --help.\n\n",
        footer->text, "\n");
    if (footer->examples.empty()) return below;
    const auto sinks = of_sinks_.find(footer->command);
    absl::StrAppend(&below, "\n", sinks == of_sinks_.end() ? "" : sinks->second, footer->examples,
                    "\n");
    return below;
  }

 private:
  std::map<absl::string_view, std::string> of_sinks_;  // by the command
};

}  // namespace

std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter(const SinkTable& sinks) {
  return std::make_shared<HelpFormatter>(sinks);
}

}  // namespace vmeventd::client
