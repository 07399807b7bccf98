#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/options/binding.h"

// The commands: their options, the help, and which options fit each other.

namespace vmeventd::client {
namespace {

// Limit of --last, whose events are in memory.
constexpr uint64_t kMaxLast = 100'000;
// Events that --follow begins with by default.
constexpr uint64_t kUsualLast = 10;
// Limit of --batch.
constexpr uint64_t kMaxBatch = 1000;

// Without the options that one excludes, which CLI11 names in the order of their addresses: the
// complaint names them.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string text = CLI::Formatter::make_option_opts(option);
    return text.substr(0, text.find(" Excludes: "));
  }
};

CLI::App* AddCommand(CLI::App* app, const char* name) {
  CLI::App* command = app->add_subcommand(name);
  const CommandText text = CommandTextOf(*command);
  command->description(text.about);
  command->fallthrough();  // --server and -o may also follow the command
  command->footer(
      absl::StrCat("The options of vmevents itself, as --server and -o, go before or after the\n"
                   "command: see vmevents --help.\n\n",
                   text.footer));
  return command;
}

// Takes a text that is read after the parse, by ReadServers() or ParseCommandLine().
void ReadLater(const std::string& /*text*/) {}

// A command and its values. `check`, which finds them good or completes them, is called once all
// are read; then they are those of the line.
template <typename Command>
struct Added {
  CLI::App* app;
  Command* command;
};
template <typename Command>
using CheckOf = std::function<void(const CLI::App& app, Command* command)>;
template <typename Command>
Added<Command> Add(CLI::App* parent, Reading* reading, const char* name,
                   const CheckOf<Command>& check = nullptr) {
  CLI::App* app = AddCommand(parent, name);
  const auto command = std::make_shared<Command>();
  app->callback([=] {
    if (check) check(*app, command.get());
    reading->line.command = std::move(*command);
  });
  return {app, command.get()};
}

void AddNode(CLI::App* app, Reading* reading) {
  AddList(app, "--node", [=](const std::string& text) {
    reading->line.nodes.push_back(CheckWord("--node", text));
  });
}

void CheckWatch(const CLI::App& app, const Reading& reading, FollowCommand* command) {
  command->watch.start = ReadStart(app, reading.times);
  // A GAP of the node passes every filter, and counts only where it was asked for.
  const v1::EventFilter& filter = command->watch.filter;
  command->gaps = absl::c_linear_search(filter.types(), v1::EVENT_TYPE_GAP) ||
                  (command->exec.empty() && filter.ByteSizeLong() == 0);
}

void AddWatch(CLI::App* program, Reading* reading) {
  const auto check = [=](const CLI::App& app, FollowCommand* one) {
    CheckWatch(app, *reading, one);
  };
  const auto [app, command] = Add<FollowCommand>(program, reading, "watch", check);
  WatchCommand& watch = command->watch;
  AddStart(app);
  AddNode(app, reading);
  AddNames(app, &watch.filter);
  AddFilter(app, &watch.filter);
  AddValue(app, "--count", &command->count);
  AddValue(app, "--timeout", &command->timeout);
  AddFlag(app, "--wait", &watch.wait);
  AddValue(app, "--cursor-file", &command->cursor_file);
  CLI::Option* const exec = AddValue(app, "--exec", &command->exec);
  AddValue(app, "--exec-on-failure", &command->on_failure)->needs(exec);
}

void CheckMax(absl::string_view option, uint64_t number, uint64_t max, absl::string_view fix) {
  if (number <= max) return;
  Wrong(absl::StrCat(option, ": ", number, " is too large; give at most ", max, fix));
}

void CheckRange(absl::string_view option, absl::Duration duration, absl::Duration least,
                absl::Duration most) {
  if (duration >= least && duration <= most) return;
  Wrong(absl::StrCat(option, ": ", PrintDuration(duration), " is not between ",
                     PrintDuration(least), " and ", PrintDuration(most)));
}

// Checks the destination of a push.
void CheckTarget(const PushCommand& command) {
  const bool named = !command.url.empty() || !command.url_file.empty();
  if (!named && !(command.only_asks() && !command.state_dir.empty())) {
    Wrong(command.only_asks()
              ? "push: which one? Give its URL, --url-file or --state-dir"
              : "push: where to? Write `vmevents push https://HOST/PATH`, `vmevents push "
                "nats://HOST`, or --url-file");
  }
  if (command.url.empty()) return;
  Check(ParsePushTarget(command.url, command.insecure_http || command.only_asks()).status());
}

// Refuses the options of the other kind of push, and checks those of one into a fleet's stream.
// --cluster marks a URL that is in a file as one of NATS servers.
void CheckFleetTarget(const CLI::App& app, PushCommand* command) {
  constexpr size_t kMaxCluster = 64;
  const bool fleet = IsNatsUrl(command->url) || !command->cluster.empty();
  if (command->only_asks()) return;
  const std::vector<const char*> of_others =
      fleet ? std::vector<const char*>{"--template", "--secret-file", "--header-file", "--timeout",
                                       "--batch",    "--batch-time",  "--journal",     "--node",
                                       "--vm",       "--uuid",        "--label",       "--source",
                                       "--type",     "--class",       "--cause",       "--run"}
            : std::vector<const char*>{"--push-credentials", "--push-domain"};
  for (const char* option : of_others) {
    if (!IsGiven(app, option)) continue;
    Wrong(absl::StrCat(option, fleet ? ": a fleet's stream gets every event of the node, "
                                       "as it is; remove this option"
                                     : ": only NATS servers take it; name some as "
                                       "nats://HOST, and --cluster"));
  }
  if (!fleet) return;
  if (!command->url.empty() && !IsNatsUrl(command->url)) {
    Wrong("--cluster: only a fleet's stream has it; write `vmevents push nats://HOST`");
  }
  if (command->cluster.empty()) {
    Wrong("push: nats:// needs --cluster NAME, the cluster of this node");
  }
  if (command->cluster.size() > kMaxCluster) {
    Wrong(absl::StrCat("--cluster: the name has more than ", kMaxCluster, " bytes"));
  }
  if (const absl::Status domain = CheckDomain(command->domain);
      !command->domain.empty() && !domain.ok()) {
    Wrong(absl::StrCat("--push-domain: \"", command->domain, "\" ", domain.message()));
  }
  if (!IsGiven(app, "--from") && !IsGiven(app, "--since")) {
    command->follow.watch.start = FromOldest{};
  }
  command->follow.watch.durable_only = true;
}

void CheckPush(const CLI::App& app, const Reading& reading, PushCommand* command) {
  CheckMax("--batch", command->batch.events, kMaxBatch, "");
  CheckRange("--batch-time", command->batch.time, absl::Milliseconds(1), absl::Minutes(1));
  CheckRange("--timeout", command->timeout, absl::Seconds(1), absl::Minutes(10));
  WatchCommand& watch = command->follow.watch;
  watch.start = ReadStart(app, reading.times);
  watch.wait = watch.identify = true;
  command->state_home = reading.context.variable("XDG_STATE_HOME");
  if (const std::string home = reading.context.variable("HOME");
      command->state_home.empty() && !home.empty()) {
    command->state_home = absl::StrCat(home, "/.local/state");
  }
  if (std::holds_alternative<FromSnapshot>(watch.start)) {
    Wrong("--from: a snapshot has VMs and no events; begin with oldest, or with a time");
  }
  if (!command->template_file.empty()) command->format = PushFormat::kTemplate;
  CheckTarget(*command);
  CheckFleetTarget(app, command);
}

void AddPush(CLI::App* program, Reading* reading) {
  const auto check = [=](const CLI::App& app, PushCommand* one) { CheckPush(app, *reading, one); };
  const auto [app, push] = Add<PushCommand>(program, reading, "push", check);
  push->batch.time = absl::Seconds(1);
  CLI::Option* const url =
      AddOption(app, "URL", [push = push](const std::string& text) { push->url = text; });
  AddValue(app, "--url-file", &push->url_file)->excludes(url);
  CLI::Option* const format = AddValue(app, "--format", &push->format);
  AddValue(app, "--template", &push->template_file)->excludes(format);
  AddStart(app);
  AddNode(app, reading);
  AddVm(app, &push->follow.watch.filter);
  AddFilter(app, &push->follow.watch.filter);
  AddValue(app, "--batch", &push->batch.events);
  AddValue(app, "--batch-time", &push->batch.time);
  AddValue(app, "--timeout", &push->timeout);
  AddValue(app, "--secret-file", &push->secret_file);
  AddValue(app, "--header-file", &push->header_file);
  AddValue(app, "--push-ca", &push->tls.ca_file);
  AddPair(app, "--push-cert", "--push-key", &push->tls);
  AddValue(app, "--cluster", &push->cluster);
  AddValue(app, "--push-credentials", &push->credentials);
  AddValue(app, "--push-domain", &push->domain);
  AddFlag(app, "--insecure-http", &push->insecure_http);
  AddValue(app, "--state-dir", &push->state_dir);
  AddValue(app, "--metrics-file", &push->metrics_file);
  CLI::Option* const status = AddFlag(app, "--status", &push->status);
  AddFlag(app, "--retry-set-aside", &push->retry_set_aside)->excludes(status);
}

void AddWeb(CLI::App* program, Reading* reading) {
  const auto [app, command] = Add<WebCommand>(program, reading, "web");
  command->listen = *ParseServerAddress("127.0.0.1:9557");
  AddOption(app, "--listen", [command = command](const std::string& text) {
    const auto address = ParseServerAddress(text);
    if (!address.ok() || address->is_unix() || !absl::EndsWith(text, ":" + address->port)) {
      Wrong(absl::StrCat("--listen: ", Quote(text),
                         " is no address to listen at; write HOST:PORT, as 127.0.0.1:9557"));
    }
    command->listen = *address;
  });
  AddPair(app, "--web-cert", "--web-key", &command->tls);
  AddValue(app, "--web-client-ca", &command->tls.ca_file)->needs(app->get_option("--web-cert"));
  AddValue(app, "--token-file", &command->token_file);
  AddNode(app, reading);
}

// `events -f`: the history that `events` has, and what follows.
void MakeFollow(const EventsCommand& events, FollowCommand* command) {
  command->watch.filter = events.filter;
  command->watch.start = events.since ? WatchStart(FromTime{*events.since}) : FromOldest{};
  command->last = events.last;
  if (!command->last && !events.since) command->last = kUsualLast;
}

void AddEvents(CLI::App* program, Reading* reading) {
  CLI::App* app = AddCommand(program, "events");
  app->alias("logs")->alias("history");
  struct Options {
    EventsCommand list;
    bool follows = false;
    FollowCommand follow;
  };
  const auto options = std::make_shared<Options>();
  EventsCommand* list = &options->list;
  AddTime(app, "--since", &reading->times, &list->since);
  CLI::Option* const until = AddTime(app, "--until", &reading->times, &list->until);
  AddNode(app, reading);
  AddNames(app, &list->filter);
  AddFilter(app, &list->filter);
  CLI::Option* const newest = AddFlag(app, "--newest-first", &list->newest_first);
  CLI::Option* const last = AddValue(app, "--last", &list->last);
  CLI::Option* const limit = AddValue(app, "--limit", &list->limit)->excludes(last);
  CLI::Option* const follow =
      AddFlag(app, "--follow", &options->follows)->excludes(until, newest, limit);
  AddValue(app, "--timeout", &options->follow.timeout)->needs(follow);
  AddValue(app, "--cursor-file", &options->follow.cursor_file)->needs(follow);
  app->callback([=] {
    CheckMax("--last", list->last.value_or(0), kMaxLast, ", or use --since");
    if (list->since && list->until && *list->since >= *list->until) {
      Wrong("--since is not before --until, so no event can match; swap the two");
    }
    if (options->follows) {
      MakeFollow(*list, &options->follow);
      reading->line.command = options->follow;
    } else {
      reading->line.command = *list;
    }
  });
}

// A VM that is named, and a request for stopped VMs, imply that they are listed.
void CheckVms(const CLI::App& /*app*/, VmsCommand* vms) {
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
  const auto [app, vms] = Add<VmsCommand>(program, reading, "vms", CheckVms);
  app->alias("ls")->alias("ps");
  AddNode(app, reading);
  AddNames(app, &vms->filter);
  AddEnds(app, &vms->filter);
  AddNamesOf<v1::VmState>(app, "--state",
                          [vms = vms](v1::VmState state) { vms->states.push_back(state); });
  AddFlag(app, "--all", &vms->include_stopped);
  AddFlag(app, "--runs", &vms->runs);
  AddValue(app, "--sort-by", &vms->order);
}

void AddWhy(CLI::App* program, Reading* reading) {
  const auto check = [](const CLI::App& /*app*/, WhyCommand* why) {
    if (why->filter.ByteSizeLong() == 0) Wrong("why: which VM? Write `vmevents why NAME`");
  };
  const auto [app, command] = Add<WhyCommand>(program, reading, "why", check);
  app->alias("vm")->alias("describe");
  AddNode(app, reading);
  AddNames(app, &command->filter);
  AddRun(app, &command->filter);
  AddFlag(app, "--markdown", &command->markdown);
}

void AddStatus(CLI::App* program, Reading* reading) {
  CLI::App* app = AddCommand(program, "status");
  const auto why = std::make_shared<WhyCommand>();
  AddArguments(app, "NAME", [=](const std::string& text) { AddVmName(text, &why->filter); });
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
  const auto [app, command] = Add<TopCommand>(program, reading, "top");
  AddValue(app, "--interval", &command->interval);
  AddValue(app, "--window", &command->window);
  AddFlag(app, "--once", &command->once);
}

void AddFleet(CLI::App* program, Reading* reading) {
  constexpr int kMaxReplicas = 5;  // JetStream's limit
  CLI::App* fleet = AddCommand(program, "fleet");
  fleet->require_subcommand(0, 1);
  AddNode(fleet, reading);
  const auto [app, create] = Add<FleetCreateCommand>(fleet, reading, "create");
  AddOption(app, "--replicas", [create = create](const std::string& text) {
    if (absl::SimpleAtoi(text, &create->replicas) && create->replicas >= 1 &&
        create->replicas <= kMaxReplicas) {
      return;
    }
    Wrong(absl::StrCat("--replicas: ", Quote(text), " is not a number from 1 to ", kMaxReplicas));
  });
  fleet->callback([=] {
    if (fleet->get_subcommands().empty()) reading->line.command = FleetCommand{};
  });
}

void AddDeclare(CLI::App* intent, Reading* reading) {
  const auto check = [=](const CLI::App& /*app*/, DeclareIntentCommand* one) {
    if (one->actor.empty()) one->actor = reading->context.user;
    if (one->actor.empty()) Wrong("--actor: name who is about to act");
    CheckWord("--actor", one->actor);
    if (one->reason.empty()) Wrong("--reason: give the reason");
  };
  const auto [app, declare] = Add<DeclareIntentCommand>(intent, reading, "declare", check);
  app->alias("create")->alias("add");
  AddWord(app, "NAME", &declare->name)->required();
  AddWord(app, "--actor", &declare->actor);
  AddWord(app, "--reason", &declare->reason);
  AddValue(app, "--ttl", &declare->ttl);
  AddWord(app, "--run", &declare->run_id);
}

void AddIntent(CLI::App* program, Reading* reading) {
  CLI::App* intent = AddCommand(program, "intent");
  intent->require_subcommand(0, 1);
  AddDeclare(intent, reading);
  Add<IntentsCommand>(intent, reading, "list").app->alias("ls")->alias("get");
  const auto [app, withdraw] = Add<WithdrawIntentCommand>(intent, reading, "withdraw");
  app->alias("delete")->alias("rm");
  AddWord(app, "INTENT_ID", &withdraw->intent_id)->required();
  intent->callback([=] {
    if (!intent->get_subcommands().empty()) return;
    Wrong(
        "intent: no action is given; the actions are intent declare, intent list and intent "
        "withdraw");
  });
}

void AddHealth(CLI::App* program, Reading* reading) {
  const auto [app, health] = Add<HealthCommand>(program, reading, "health");
  CLI::Option* const service =
      AddOption(app, "SERVICE", [health = health](const std::string& text) {
        if (!text.empty()) health->service = CheckWord("SERVICE", text);
      });
  AddFlag(app, "--all", &health->all)->excludes(service);
  AddValue(app, "--timeout", &health->timeout);
}

void AddGeneral(CLI::App* app, Reading* reading) {
  CommandLine* const line = &reading->line;
  AddList(app, "--server", ReadLater);
  AddOption(app, "--context", ReadLater);
  AddValue(app, "--tls-ca", &reading->tls.ca_file);
  AddValue(app, "--tls-cert", &reading->tls.cert_file);
  AddValue(app, "--tls-key", &reading->tls.key_file);
  AddValue(app, "--tls-server-name", &reading->tls.server_name);
  AddValue(app, "--credentials", &reading->credentials);
  AddValue(app, "--nats-domain", &reading->nats_domain);
  AddValue(app, "--output", &line->format);
  AddValue(app, "--color", &line->color);
  AddFlag(app, "--utc", [=] { reading->times.zone = line->zone = absl::UTCTimeZone(); });
  AddFlag(app, "--no-headers", &line->headings, false);
  AddFlag(app, "--no-trunc", &line->cut, false);
  AddFlag(app, "--no-pager", &line->pager, false);
}

}  // namespace

void Define(CLI::App* app, Reading* reading) {
  app->formatter(std::make_shared<HelpFormatter>());
  const CommandText text = CommandTextOf(*app);
  app->description(text.about);
  app->footer(text.footer);
  app->set_version_flag("--version", absl::StrCat("vmevents ", VMEVENTD_VERSION));
  app->require_subcommand(0, 1);  // ParseCommandLine() reports a missing one
  AddGeneral(app, reading);
  AddWatch(app, reading);
  AddPush(app, reading);
  AddWeb(app, reading);
  AddEvents(app, reading);
  AddVms(app, reading);
  AddWhy(app, reading);
  AddStatus(app, reading);
  AddTop(app, reading);
  AddFleet(app, reading);
  AddIntent(app, reading);
  Add<InfoCommand>(app, reading, "info");
  Add<StreamsCommand>(app, reading, "streams");
  AddHealth(app, reading);
  Add<DoctorCommand>(app, reading, "doctor");
  AddArguments(AddCommand(app, "help"), "COMMAND", ReadLater);
  AddCommand(app, "version");
  AddValue(AddCommand(app, "completion"), "SHELL", &reading->shell)->required();
}

}  // namespace vmeventd::client
