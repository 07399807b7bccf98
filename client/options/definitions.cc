#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/text.h"
#include "client/nats/nats.h"
#include "client/options/binding.h"
#include "client/output/terminal_text.h"

// The commands: their options, the help, and which options fit each other.

namespace vmeventd::client {
namespace {

// Limit of --last, whose events are in memory.
constexpr uint64_t kMaxLast = 100'000;
// Events that --follow begins with by default.
constexpr uint64_t kUsualLast = 10;
// Limit of --batch.
constexpr uint64_t kMaxBatch = 1000;

constexpr char kProgramHelp[] =
    "Shows who ended the virtual machines of a node, and how vmeventd knows.";
constexpr char kProgramFooter[] =
    R"(ADDR is unix:PATH, HOST:PORT or HOST, whose port is 9555, or nats://HOST:PORT, a
NATS server of a fleet of nodes. Without --server it is that of --context, else
$VMEVENTS_SERVER, else that of the current context, else
unix:$XDG_RUNTIME_DIR/vmeventd/vmeventd.sock if that exists, else
unix:/run/vmeventd/vmeventd.sock. A HOST with --tls-ca speaks TLS. vmevents(1)
describes contexts, the variables of the environment and the output.

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
it prints GAP on standard error.

With --exec it runs COMMAND with /bin/sh for each event, one at a time: the
event's fields are in $VMEVENTS_TYPE, _VM, _CLASS, _CAUSE and so on, its JSON is
on standard input. With --cursor-file it continues after the last event that was
printed, or whose command ended with 0; after a crash the last ones come again.

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
    R"(It follows events as watch does, without end, and saves its position once the
receiver has answered 2xx: each event is delivered at least once, those of a
node in order. It retries; an answer of 410 ends it. An event that is answered
by 400, 413 or 422 goes into the file set-aside.jsonl of its state directory,
$XDG_STATE_HOME/vmevents/push/TARGET. docs/act.md has the formats and templates.

nats://HOST:PORT, or tls://, names a NATS server of a fleet: the events of the
one node go into its stream, from the oldest on, and with them the state of each
VM and a heartbeat (docs/many-nodes.md).

Examples:
  vmevents push https://events.example/vms --secret-file secret
  vmevents push --template slack.json --url-file slack.url --class crash
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
    R"(It shows how the VM ended last, even if it runs again: the verdict, a sentence
with the facts, the evidence, and the VM's present state. NAME may be a glob or
a UUID; `vm` is the same command.

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
how late events are, until q is typed. Without a terminal it prints one frame,
as with --once.

Examples:
  vmevents top --window 1h
  vmevents top --once)";
constexpr char kIntentFooter[] =
    R"(An intent declares who is about to stop, migrate or kill a VM, and why: the stop
that follows is then an admin's, however it happens. It ends with the run, when
it expires, or when it is withdrawn.

Examples:
  vmevents intent declare web1 --actor alice --reason 'node is emptied'
  vmevents intent list
  vmevents intent withdraw INTENT_ID)";

constexpr char kFleetFooter[] =
    R"(LAG is how many events of the node's journal are not in the fleet's stream yet.
A node is silent if nothing came from it for three of its intervals: it is down,
or cannot reach the servers. "push stopped": its push was stopped in order, and
its VMs may run.

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
    R"(SERVICE is journal: whether events are durable, watch: whether each directory of
--watch is there, sources: whether there is anything in which VMs can be found,
libvirt: whether each libvirt can be connected to, or listen: whether each
--listen is open. Without it, the server as a whole. Exits with 0 if it is
SERVING.

Examples:
  vmevents health
  vmevents health --all
  vmevents health --timeout 1s --server node1 --tls-ca ca.pem)";

constexpr char kDoctorFooter[] =
    R"(It looks for what prevents vmeventd from following a VM of this node, and prints
a line to paste with each finding. It connects to no monitor and changes
nothing. Run it as root. With the --server of another node it asks only that
vmeventd, and explains a connection, or TLS, that fails. Exits with 0 if it
finds nothing, else with 1.

Examples:
  vmevents doctor
  vmevents --server node1 --tls-ca ca.pem doctor
  vmevents -o json doctor | jq -r .line)";

constexpr char kCompletionFooter[] =
    R"(Packages install it. Without them:
  source <(vmevents completion bash)      in ~/.bashrc, or zsh in ~/.zshrc
  vmevents completion fish | source       in ~/.config/fish/config.fish)";

// Breaks lines, which CLI11 does not, and leaves out the options that one excludes, which CLI11
// names in the order of their addresses: the complaint names them.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_desc(const CLI::Option* option) const override {
    constexpr size_t kWidth = 50;  // of 80 columns, of which CLI11 uses 30 for the names
    return absl::StrJoin(WrapText(option->get_description(), kWidth), "\n");
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string text = CLI::Formatter::make_option_opts(option);
    return text.substr(0, text.find(" Excludes: "));
  }
};

CLI::App* AddCommand(CLI::App* parent, const char* name, const char* help, const char* footer) {
  CLI::App* command = parent->add_subcommand(name, help);
  command->fallthrough();  // --server and -o may also follow the command
  command->footer(
      absl::StrCat("The options of vmevents itself, as --server and -o, go before or after the\n"
                   "command: see vmevents --help.\n\n",
                   footer));
  return command;
}

// Adds a command and its values. `check`, which finds them good or completes them, is called once
// all are read; then they are those of the line.
template <typename Command>
std::pair<CLI::App*, Command*> Add(CLI::App* parent, Reading* reading, const char* name,
                                   const char* help, const char* footer,
                                   const std::function<void(Command*)>& check = nullptr) {
  CLI::App* app = AddCommand(parent, name, help, footer);
  const auto command = std::make_shared<Command>();
  app->callback([=] {
    if (check) check(command.get());
    reading->line.command = std::move(*command);
  });
  return {app, command.get()};
}

void AddNode(CLI::App* app, Reading* reading) {
  AddList(app, "--node", "GLOB", "only this node of a fleet, or CLUSTER/NODE; may be repeated",
          [=](const std::string& text) { reading->line.nodes.push_back(CheckText(text)); });
}

// Returns the options.
std::vector<CLI::Option*> AddFollow(CLI::App* app, FollowCommand* command) {
  return {
      AddValue(app, "--timeout", "DURATION", "end after so long, such as 5m", &command->timeout),
      AddFile(app, "--cursor-file",
              "save the position here, and continue from it; the first time, start as the "
              "other options specify",
              &command->cursor_file)};
}

CLI::Option* AddDomain(CLI::App* app, const char* name, const char* help, std::string* domain) {
  return AddOption(app, name, "NAME", help, [=](const std::string& text) {
    ReadText(text, domain);
    const absl::Status status = CheckDomain(text);
    if (!status.ok()) Wrong(absl::StrCat("\"", text, "\" ", status.message()));
  });
}

// A whole number from 1 on.
CLI::Validator UpTo(uint64_t max) { return CLI::Range(uint64_t{1}, max).description(""); }

// A GAP of the node passes every filter, and counts only where it was asked for.
void CheckWatch(FollowCommand* command) {
  const v1::EventFilter& filter = command->watch.filter;
  command->gaps = absl::c_linear_search(filter.types(), v1::EVENT_TYPE_GAP) ||
                  (command->exec.empty() && filter.ByteSizeLong() == 0);
}

void AddWatch(CLI::App* program, Reading* reading) {
  const auto [app, command] = Add<FollowCommand>(
      program, reading, "watch", "Follow events as they happen", kWatchFooter, CheckWatch);
  WatchCommand& watch = command->watch;
  AddStart(app, "begin after a sequence number, or at oldest, snapshot or a time; default now",
           &reading->context, &watch.start);
  AddNode(app, reading);
  AddNames(app, &watch.filter);
  AddFilter(app, &watch.filter);
  AddValue(app, "-n,--count", "N", "end after N matching events", &command->count);
  AddFollow(app, command);
  AddFlag(app, "--wait", "wait for a daemon that cannot be reached yet", &watch.wait);
  CLI::Option* exec = AddValue(app, "--exec", "COMMAND",
                               "run this for each event instead of printing it", &command->exec);
  AddChoice(app, "--exec-on-failure", "ACTION",
            "stop, retry (10 times, after 1s to 1m) or skip the event; default stop",
            &command->on_failure)
      ->needs(exec);
}

// Checks the destination of a push.
void CheckTarget(const PushCommand& push) {
  if (!push.url.empty()) {
    Need(ParsePushTarget(push.url, push.insecure_http || push.only_asks()));
  } else if (push.url_file.empty() && (!push.only_asks() || push.state_dir.empty())) {
    Wrong(absl::StrCat("push: ", push.only_asks() ? "which one?" : "where to?",
                       " Write `vmevents push https://HOST/PATH`, `vmevents push nats://HOST`, or "
                       "--url-file"));
  }
}

// Checks a push into a fleet's stream. --cluster marks a URL that is in a file as one of NATS
// servers.
void CheckFleetTarget(const CLI::App& app, PushCommand* push) {
  constexpr size_t kMaxCluster = 64;
  const bool fleet = IsNatsUrl(push->url) || !push->cluster.empty();
  if (!fleet || push->only_asks()) return;
  if (!push->url.empty() && !IsNatsUrl(push->url)) {
    Wrong("--cluster: only a fleet's stream has it; write `vmevents push nats://HOST`");
  }
  if (push->cluster.empty()) Wrong("push: nats:// needs --cluster NAME, the cluster of this node");
  if (push->cluster.size() > kMaxCluster) {
    Wrong(absl::StrCat("--cluster: the name has more than ", kMaxCluster, " bytes"));
  }
  if (app.count("--from") + app.count("--since") == 0) push->follow.watch.start = FromOldest{};
  push->follow.watch.durable_only = true;
}

void CheckPush(const CLI::App& app, const OptionContext& context, PushCommand* push) {
  if (push->timeout < absl::Seconds(1) || push->timeout > absl::Minutes(10)) {
    Wrong(absl::StrCat("--timeout: ", PrintDuration(push->timeout), " is not between 1s and 10m"));
  }
  WatchCommand& watch = push->follow.watch;
  watch.wait = watch.identify = true;
  push->state_home = context.variable("XDG_STATE_HOME");
  if (const std::string home = context.variable("HOME");
      push->state_home.empty() && !home.empty()) {
    push->state_home = absl::StrCat(home, "/.local/state");
  }
  if (std::holds_alternative<FromSnapshot>(watch.start)) {
    Wrong("--from: a snapshot has VMs and no events; begin with oldest, or with a time");
  }
  if (!push->template_file.empty()) push->format = PushFormat::kTemplate;
  CheckTarget(*push);
  CheckFleetTarget(app, push);
}

void AddPush(CLI::App* program, Reading* reading) {
  const auto check = [=](PushCommand* push) {
    CheckPush(*program->get_subcommand("push"), reading->context, push);
  };
  const auto [app, push] = Add<PushCommand>(
      program, reading, "push", "Deliver events to a URL as they happen", kPushFooter, check);
  CLI::Option* url = AddOption(app, "URL", "", "where to: https://, or nats:// into a fleet",
                               [push = push](const std::string& text) { push->url = text; });
  AddFile(app, "--url-file", "the URL is the first line of this file", &push->url_file)
      ->excludes(url);
  CLI::Option* format =
      AddChoice(app, "--format", "KIND", "cloudevents or json; default cloudevents", &push->format);
  AddFile(app, "--template",
          "instead send this JSON for each event, with its fields as {{vm}} in the texts",
          &push->template_file)
      ->excludes(format);
  AddStart(app, "at first begin after a sequence number, or at oldest or a time; default now",
           &reading->context, &push->follow.watch.start);
  AddNode(app, reading);
  AddVm(app, &push->follow.watch.filter);
  AddFilter(app, &push->follow.watch.filter);
  AddValue(app, "--batch", "N", "at most N events in a request; default 100", &push->batch)
      ->check(UpTo(kMaxBatch));
  AddValue(app, "--timeout", "DURATION", "of a request, 1s to 10m; default 30s", &push->timeout);
  AddFile(app, "--secret-file",
          "sign each request by the secret in this file; two lines while it is replaced",
          &push->secret_file);
  AddFile(app, "--header-file",
          "send these headers too, as \"Authorization: Bearer ...\", one a line",
          &push->header_file);
  AddFile(app, "--push-ca", "the CA of the receiver's certificate, PEM; default the system's",
          &push->tls.ca_file);
  AddPair(app, "--push-cert", "the certificate to show the receiver, PEM", "--push-key",
          &push->tls);
  CLI::Option* cluster =
      AddValue(app, "--cluster", "NAME", "nats://: the cluster of this node", &push->cluster);
  // A fleet's stream gets every event of the node, as it is.
  for (const char* other : {"--template", "--secret-file", "--header-file", "--timeout", "--batch",
                            "--journal", "--node", "--vm", "--uuid", "--label", "--source",
                            "--type", "--class", "--cause", "--run"}) {
    cluster->excludes(app->get_option(other));
  }
  AddFile(app, "--push-credentials", "nats://: log in by this file (NATS's .creds)",
          &push->credentials)
      ->needs(cluster);
  AddDomain(app, "--push-domain",
            "nats://: the domain of the JetStream, where the servers are leaf nodes of others",
            &push->domain)
      ->needs(cluster);
  AddFlag(app, "--insecure-http",
          "permit http:// and nats:// beyond this host: anyone on the way reads the events",
          &push->insecure_http);
  AddValue(app, "--state-dir", "DIR",
           "the directory of this push: its position, state and what was set aside",
           &push->state_dir);
  AddFile(app, "--metrics-file", "write metrics here, NAME.prom for the node exporter",
          &push->metrics_file);
  CLI::Option* status =
      AddFlag(app, "--status", "show what this push last did, without a network", &push->status);
  AddFlag(app, "--retry-set-aside", "have this push send again what it set aside",
          &push->retry_set_aside)
      ->excludes(status);
}

void AddWeb(CLI::App* program, Reading* reading) {
  const auto [app, command] =
      Add<WebCommand>(program, reading, "web", "Serve a page for browsers", kWebFooter);
  command->listen = {.host = "127.0.0.1", .port = "9557"};
  AddOption(app, "--listen", "HOST:PORT", "where it listens; default 127.0.0.1:9557",
            [command = command](const std::string& text) {
              command->listen = Need(ParseServerAddress(text, "9557"));
              if (command->listen.is_unix()) Wrong("a page needs HOST:PORT, as 127.0.0.1:9557");
            });
  AddPair(app, "--web-cert", "serve TLS with this certificate, PEM", "--web-key", &command->tls);
  AddFile(app, "--web-client-ca",
          "serve only browsers that show a certificate of a CA in this PEM file",
          &command->tls.ca_file)
      ->needs(app->get_option("--web-cert"));
  AddFile(app, "--token-file", "serve only browsers that send the token in this file",
          &command->token_file);
  AddNode(app, reading);
}

// `events` and what begins as `list` does.
CLI::App* AddEvents(CLI::App* program, Reading* reading, const char* name, const char* help,
                    const EventsCommand& begin = {}) {
  CLI::App* app = AddCommand(program, name, help, kEventsFooter);
  struct Options {
    EventsCommand list;
    bool follows = false;
    FollowCommand follow;
  };
  const auto options = std::make_shared<Options>(Options{begin});
  EventsCommand* list = &options->list;
  AddTime(app, "--since", "only events at or after this time", &reading->context, &list->since);
  CLI::Option* until =
      AddTime(app, "--until", "only events before this time", &reading->context, &list->until);
  AddNode(app, reading);
  AddNames(app, &list->filter);
  AddFilter(app, &list->filter);
  CLI::Option* newest =
      AddFlag(app, "-r,--newest-first", "the newest at the top", &list->newest_first);
  CLI::Option* last = AddValue(app, "-n,--last", "N", "only the newest N events", &list->last)
                          ->check(UpTo(kMaxLast));
  CLI::Option* limit =
      AddValue(app, "--limit", "N", "only the first N events of the list", &list->limit)
          ->excludes(last);
  CLI::Option* follow =
      AddFlag(app, "-f,-w,--follow,--watch", "then follow events as they happen, as watch does",
              &options->follows)
          ->excludes(until, newest, limit);
  for (CLI::Option* one : AddFollow(app, &options->follow)) one->needs(follow);
  app->callback([=] {
    if (list->since && list->until && *list->since >= *list->until) {
      Wrong(
          "--since is not before --until, so no event can match; a time without a date is one of "
          "today");
    }
    if (!options->follows) {
      reading->line.command = *list;
      return;
    }
    // The history that the list has, and what follows.
    FollowCommand& events = options->follow;
    events.watch.filter = list->filter;
    events.watch.start = list->since ? WatchStart(FromTime{*list->since}) : FromOldest{};
    events.last = list->last;
    if (!events.last && !list->since) events.last = kUsualLast;
    reading->line.command = events;
  });
  return app;
}

void AddEventsByOtherNames(CLI::App* program, Reading* reading) {
  AddEvents(program, reading, "tail", "List the newest events", {.last = kUsualLast})->group("");
  EventsCommand crashes = {.newest_first = true};
  crashes.filter.add_types(v1::EVENT_TYPE_STOPPED);
  crashes.filter.add_classes(v1::SHUTDOWN_CLASS_CRASH);
  AddEvents(program, reading, "crashes", "List the VMs that crashed", crashes)->group("");
}

// A VM that is named, and a request for stopped VMs, imply that they are listed.
void CheckVms(VmsCommand* vms) {
  const v1::EventFilter& filter = vms->filter;
  const bool names_one = absl::c_any_of(filter.vm_names(), [](const std::string& name) {
    return name.find_first_of("*?[") == std::string::npos;
  });
  const int of_ends = filter.classes_size() + filter.causes_size() + filter.run_ids_size();
  if (vms->runs || of_ends > 0 || names_one ||
      absl::c_linear_search(vms->states, v1::VM_STATE_STOPPED)) {
    vms->include_stopped = true;
  }
}

void AddVms(CLI::App* program, Reading* reading) {
  const auto [app, vms] =
      Add<VmsCommand>(program, reading, "vms", "List the VMs", kVmsFooter, CheckVms);
  app->alias("ls")->alias("ps");
  AddNode(app, reading);
  AddNames(app, &vms->filter);
  AddEnds(app, &vms->filter);
  AddNamesOf(app, "--state", "STATE",
             "only VMs in this state, as running or stopped; may be repeated",
             v1::VmState_descriptor(),
             [vms = vms](int state) { vms->states.push_back(static_cast<v1::VmState>(state)); });
  AddFlag(app, "-a,-A,--all", "include stopped VMs", &vms->include_stopped);
  AddFlag(app, "--runs", "each run of the VMs, the newest first", &vms->runs);
  AddChoice(app, "--sort-by", "ORDER", "state, name, age, ends or class; default state",
            &vms->order);
}

void AddWhy(CLI::App* program, Reading* reading) {
  const auto check = [](WhyCommand* why) {
    if (why->filter.ByteSizeLong() == 0) Wrong("why: which VM? Write `vmevents why NAME`");
  };
  const auto [app, command] = Add<WhyCommand>(
      program, reading, "why", "Show why VMs ended, and what they do now", kWhyFooter, check);
  app->alias("vm")->alias("describe");
  AddNode(app, reading);
  AddNames(app, &command->filter);
  AddRun(app, &command->filter);
  AddFlag(app, "--markdown", "Markdown, for a ticket", &command->markdown);
}

void AddStatus(CLI::App* program, Reading* reading) {
  CLI::App* app =
      AddCommand(program, "status", "Show vmeventd's state, or why a VM ended", kStatusFooter);
  const auto why = std::make_shared<WhyCommand>();
  AddList(app, "NAME", "", "a VM, for `why`",
          [=](const std::string& text) { AddVmName(text, &why->filter); });
  app->callback([=] {
    if (why->filter.vm_names_size() > 0) {
      reading->line.command = *why;
    } else if (reading->line.for_people()) {
      reading->line.command = TopCommand{.window = absl::Hours(24), .once = true};
    } else {
      reading->line.command = InfoCommand{};
    }
  });
}

void AddTop(CLI::App* program, Reading* reading) {
  const auto [app, command] =
      Add<TopCommand>(program, reading, "top", "Watch the VMs of a node on a terminal", kTopFooter);
  AddValue(app, "--interval", "DURATION", "interval between frames; default 2s",
           &command->interval);
  AddValue(app, "--window", "DURATION", "time over which ends are counted; default 15m",
           &command->window);
  AddFlag(app, "--once", "print one frame", &command->once);
}

void AddFleet(CLI::App* program, Reading* reading) {
  constexpr int kMaxReplicas = 5;  // JetStream's limit
  CLI::App* fleet = AddCommand(program, "fleet", "Show the nodes of a fleet", kFleetFooter);
  fleet->require_subcommand(0, 1);
  AddNode(fleet, reading);
  const auto [app, create] = Add<FleetCreateCommand>(
      fleet, reading, "create", "Make the streams of a fleet", kFleetCreateFooter);
  app->add_option(
         "--replicas", create->replicas,
         "how many servers store each stream, 1 to 5; default as they are, and 1 of new ones")
      ->type_name("N")
      ->check(UpTo(kMaxReplicas));
  fleet->callback([=] {
    if (fleet->get_subcommands().empty()) reading->line.command = FleetCommand{};
  });
}

void AddIntent(CLI::App* program, Reading* reading) {
  CLI::App* intent =
      AddCommand(program, "intent", "Declare who is about to stop a VM, and why", kIntentFooter);
  intent->require_subcommand(1);
  const auto check = [=](DeclareIntentCommand* one) {
    if (one->actor.empty()) one->actor = reading->context.user;
    if (one->actor.empty()) Wrong("--actor: name who is about to act");
    if (!IsValidUtf8(one->actor)) Wrong("--actor: the user's name is not UTF-8; give another");
    if (one->reason.empty()) Wrong("--reason: give the reason");
  };
  const auto [app, declare] = Add<DeclareIntentCommand>(
      intent, reading, "declare", "Declare an intent for a VM",
      "Example:\n  vmevents intent declare web1 --actor mover --reason 'to node7' --ttl 5m", check);
  app->alias("create")->alias("add");
  AddValue(app, "NAME", "", "the VM's name", &declare->name)->required();
  AddValue(app, "--actor", "WHO",
           "the person or the system that acts; default $SUDO_USER, $USER or the user's name",
           &declare->actor);
  AddValue(app, "--reason", "WHY", "one sentence for people", &declare->reason);
  AddValue(app, "--ttl", "DURATION", "how long it is valid, such as 5m; default 10m, at most 24h",
           &declare->ttl);
  AddValue(app, "--run", "RUN_ID", "the run, if a name has several", &declare->run_id);
  Add<IntentsCommand>(intent, reading, "list", "List the open intents",
                      "Example:\n  vmevents intent list")
      .first->alias("ls")
      ->alias("get");
  const auto [withdraw, withdrawn] = Add<WithdrawIntentCommand>(
      intent, reading, "withdraw", "Withdraw a declared intent",
      "Example:\n  vmevents intent withdraw 6a6f7572-6e61-4c00-8000-000000000001");
  withdraw->alias("delete")->alias("rm");
  AddValue(withdraw, "INTENT_ID", "", "as printed by declare", &withdrawn->intent_id)->required();
}

void AddHealth(CLI::App* program, Reading* reading) {
  const auto [app, health] =
      Add<HealthCommand>(program, reading, "health", "Ask whether vmeventd serves", kHealthFooter);
  CLI::Option* service = AddValue(app, "SERVICE", "", "one of its services", &health->service);
  AddFlag(app, "--all", "each of its services, a line each", &health->all)->excludes(service);
  AddValue(app, "--timeout", "DURATION", "how long to wait for the answer, such as 1s; default 5s",
           &health->timeout);
}

void AddGeneral(CLI::App* app, Reading* reading) {
  CommandLine* line = &reading->line;
  Access* access = &reading->access;
  AddList(app, "--server", "ADDR",
          "where vmeventd listens; watch, push, web, events, vms and why merge several of them. Or "
          "nats://, see below",
          [=](const std::string& text) { access->servers.push_back(text); });
  AddValue(app, "--context", "NAME",
           "the TLS files, and without --server the servers, of this context in the configuration "
           "file",
           &reading->context_name);
  AddFile(app, "--tls-ca", "speak TLS with a server whose certificate is of a CA in this PEM file",
          &access->tls.ca_file);
  AddFile(app, "--tls-cert", "the certificate to show the server, PEM", &access->tls.cert_file);
  AddFile(app, "--tls-key", "that certificate's private key, PEM", &access->tls.key_file);
  AddValue(app, "--tls-server-name", "NAME",
           "the name in the server's certificate; default the host of --server",
           &access->tls.server_name);
  AddFile(app, "--credentials",
          "log in to the NATS servers of a fleet by this file (NATS's .creds)",
          &access->credentials);
  AddDomain(app, "--nats-domain",
            "the domain of the JetStream that has the fleet's stream, where the NATS servers are "
            "leaf nodes of others",
            &access->nats_domain);
  AddChoice(app, "-o,--output", "FORMAT",
            "table or wide for people; json, jsonl (the same) or name for programs; default table",
            &line->format);
  AddChoice(app, "--color", "WHEN",
            "auto, always or never; auto: on a terminal, unless $NO_COLOR is set", &line->color);
  AddFlag(app, "--no-color", "the same as --color never", &line->color, ColorMode::kNever);
  AddFlag(app, "--utc", "times in UTC, not in the local time zone", &reading->context.zone,
          absl::UTCTimeZone());
  AddFlag(app, "--no-headers", "tables without their headings", &line->headings, false);
  AddFlag(app, "--no-trunc", "tables whose rows are not cut where the terminal ends", &line->cut,
          false);
  AddFlag(app, "--no-pager", "no pager for the lists of events and vms", &line->pager, false);
}

}  // namespace

void Define(CLI::App* app, Reading* reading) {
  app->formatter(std::make_shared<HelpFormatter>());
  app->description(kProgramHelp);
  app->footer(kProgramFooter);
  app->set_version_flag("--version", absl::StrCat("vmevents ", VMEVENTD_VERSION));
  app->require_subcommand(1);
  AddGeneral(app, reading);
  AddWatch(app, reading);
  AddPush(app, reading);
  AddWeb(app, reading);
  AddEvents(app, reading, "events", "List events of the past")->alias("logs")->alias("history");
  AddEventsByOtherNames(app, reading);
  AddVms(app, reading);
  AddWhy(app, reading);
  AddStatus(app, reading);
  AddTop(app, reading);
  AddFleet(app, reading);
  AddIntent(app, reading);
  Add<InfoCommand>(app, reading, "info", "Show vmeventd's own state",
                   "Example:\n  vmevents -o json info");
  Add<StreamsCommand>(app, reading, "streams", "Show who watches events, and how far each is",
                      "For operators of vmeventd.\n\nExample:\n  vmevents -o json streams");
  AddHealth(app, reading);
  Add<DoctorCommand>(app, reading, "doctor", "Find what prevents vmeventd from following VMs",
                     kDoctorFooter);
  CLI::App* help =
      AddCommand(app, "help", "Explain a command", "Example:\n  vmevents help intent declare");
  AddList(help, "COMMAND", "", "the command", [](const std::string& /*text*/) {});
  AddCommand(app, "version", "Print the version", "Example:\n  vmevents version");
  CLI::App* completion =
      AddCommand(app, "completion", "Print the completion script of a shell", kCompletionFooter);
  AddChoice(completion, "SHELL", "SHELL", "bash, zsh or fish", &reading->shell)->required();
}

}  // namespace vmeventd::client
