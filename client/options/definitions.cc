#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/uuid.h"
#include "client/nats/nats.h"
#include "client/options/parser.h"
#include "client/output/event_text.h"
#include "client/output/time_text.h"
#include "google/protobuf/descriptor.h"

// The commands: their options, and which options fit each other.

namespace vmeventd::client {
namespace {

// Limit of --last, whose events are in memory.
constexpr uint64_t kMaxLast = 100'000;
// Events that --follow begins with by default.
constexpr uint64_t kUsualLast = 10;
// Limit of --batch.
constexpr uint64_t kMaxBatch = 1000;

// Checks a text: not empty, and UTF-8, as the protocol requires.
const std::string& CheckText(const std::string& text) {
  if (text.empty()) Wrong("the text is empty; give one");
  if (!IsValidUtf8(text)) {
    Wrong(absl::StrCat("\"", text,
                       "\" is not UTF-8; write a name as `vmevents vms -o json` shows it"));
  }
  return text;
}

// Completes a time that has no date or no zone by the context. `others` names what else the option
// takes.
absl::Time ReadTime(const OptionContext& context, const std::string& text,
                    absl::string_view others = "") {
  if (text == "boot" && context.boot > absl::InfinitePast()) return context.boot;
  const absl::StatusOr<absl::Time> time = ParseTimeText(text, context.now, context.zone);
  if (!time.ok()) Wrong(absl::StrCat(time.status().message(), others));
  return *time;
}

WatchStart ReadFrom(const OptionContext& context, const std::string& text) {
  if (absl::c_all_of(CheckText(text), absl::ascii_isdigit)) {
    FromSequence sequence;
    if (absl::SimpleAtoi(text, &sequence.sequence)) return sequence;
    Wrong(absl::StrCat("the sequence ", text, " is larger than any sequence"));
  }
  if (text == "now") return FromNow{};
  if (text == "oldest") return FromOldest{};
  if (text == "snapshot") return FromSnapshot{};
  return FromTime{ReadTime(context, text, "; or a sequence number, oldest or snapshot")};
}

void ReadText(const std::string& text, std::string* value) { *value = CheckText(text); }

void ReadText(const std::string& text, uint64_t* value) {
  if (absl::SimpleAtoi(text, value) && *value > 0) return;
  Wrong(absl::StrCat("\"", text, "\" is not a number of events; give one of at least 1"));
}

void ReadText(const std::string& text, absl::Duration* value) {
  *value = Need(ParseDurationText(text));
}

template <typename T>
void ReadText(const std::string& text, std::optional<T>* value) {
  ReadText(text, &value->emplace());
}

// The index of a text in ValuesOf(value_name).
int ReadChoice(const char* value_name, absl::string_view text) {
  absl::ConsumePrefix(&text, "=");  // "-o=json", as kubectl has it
  const std::vector<std::string> values = ValuesOf(value_name);
  const auto found = absl::c_find(values, absl::AsciiStrToLower(text));
  if (found == values.end()) {
    Wrong(absl::StrCat("\"", text, "\" is not one of its values: ", absl::StrJoin(values, ", "),
                       HintForValue(value_name, text)));
  }
  return static_cast<int>(found - values.begin());
}

using Take = std::function<void(const std::string& text)>;

// Adds an option, or an argument if `names` begins without "-". Takes each text, of which the last
// counts.
CLI::Option* AddOption(CLI::App* app, const std::string& names, const std::string& value_name,
                       const char* help, const Take& take) {
  const auto take_one = [take](std::string& text) {
    if (absl::EndsWith(text, absl::string_view("]\0", 2))) text.pop_back();  // see Parse()
    take(text);
    return std::string();
  };
  return app->add_option(names, CLI::callback_t(), help)
      ->transform(CLI::Validator(take_one, ""))
      ->type_name(names[0] == '-' ? value_name : "")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

// All texts count.
CLI::Option* AddList(CLI::App* app, const std::string& names, const std::string& value_name,
                     const char* help, const Take& take) {
  // One text follows each option: the help has no "..." of unlimited ones.
  constexpr int kUnlimited = CLI::detail::expected_max_vector_size;
  const bool is_option = names[0] == '-';
  return AddOption(app, names, value_name, help, take)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(1, is_option ? kUnlimited - 1 : kUnlimited)
      ->allow_extra_args(!is_option);
}

template <typename T>
CLI::Option* AddValue(CLI::App* app, const char* names, const char* value_name, const char* help,
                      T* value) {
  return AddOption(app, names, value_name, help,
                   [=](const std::string& text) { ReadText(text, value); });
}

CLI::Option* AddFile(CLI::App* app, const char* names, const char* help, std::string* file) {
  return AddValue(app, names, "FILE", help, file);
}

template <typename T>
CLI::Option* AddFlag(CLI::App* app, const char* names, const char* help, T* flag,
                     T value = T(true)) {
  return app->add_flag_callback(
      names, [=] { *flag = value; }, help);
}

template <typename Enum>
CLI::Option* AddChoice(CLI::App* app, const char* names, const char* value_name, const char* help,
                       Enum* choice) {
  return AddOption(app, names, value_name, help, [=](const std::string& text) {
    *choice = static_cast<Enum>(ReadChoice(value_name, text));
  });
}

// A certificate and its private key, which need each other.
void AddPair(CLI::App* app, const char* cert_name, const char* cert_help, const char* key_name,
             TlsOptions* tls) {
  CLI::Option* cert = AddFile(app, cert_name, cert_help, &tls->cert_file);
  cert->needs(
      AddFile(app, key_name, "that certificate's private key, PEM", &tls->key_file)->needs(cert));
}

// Takes the parts between the commas of all texts, as values of the enum. `name` is that of the
// option and of its value.
void AddNamesOf(CLI::App* app, const std::string& name, const char* help,
                const google::protobuf::EnumDescriptor* names,
                const std::function<void(int value)>& add) {
  const std::string value_name = absl::AsciiStrToUpper(name);
  const auto take = [=](const std::string& word) {
    const absl::StatusOr<int> value = ParseEnumName(*names, word);
    if (value.ok()) return add(*value);
    // A single name helps more than the list of all, which may be long.
    const std::string hint = HintForValue(value_name, word);
    const absl::string_view fault = value.status().message();
    Wrong(absl::StrCat(hint.empty() ? fault : fault.substr(0, fault.find("; use one of")), hint));
  };
  AddList(app, absl::StrCat("--", name), value_name, help, take)->delimiter(',');
}

// "vm/NAME", as for kubectl, is NAME.
std::string ReadVmName(std::string text) {
  CheckText(text);
  if (absl::StartsWith(text, "vm/") && text.size() > 3) text.erase(0, 3);
  return text;
}

void AddVmName(const std::string& text, v1::EventFilter* filter) {
  filter->add_vm_names(ReadVmName(text));
}

// Selects VMs. A name may have commas: a text of --vm with some is a name and a list.
void AddVm(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--vm", "GLOB", "only VMs of such names, separated by commas; may be repeated",
          [=](const std::string& text) {
            constexpr size_t kMaxName = 255;  // of a file, and so of a VM; longer texts are lists
            const bool list = absl::StrContains(CheckText(text), ',');
            if (!list || text.size() <= kMaxName) AddVmName(text, filter);
            if (!list) return;
            for (const absl::string_view one : absl::StrSplit(text, ',', absl::SkipEmpty())) {
              AddVmName(std::string(one), filter);
            }
          });
  AddList(app, "--uuid", "UUID", "only VMs of such UUIDs, separated by commas; may be repeated",
          [=](const std::string& uuid) {
            filter->add_uuids(CheckText(uuid));
            if (ParseUuid(uuid).has_value()) return;
            Wrong(absl::StrCat("\"", uuid,
                               "\" is not a UUID; write it as "
                               "550e8400-e29b-41d4-a716-446655440000"));
          })
      ->delimiter(',');
  AddList(app, "-l,--label", "SELECTOR",
          "only VMs with such labels, as app=web,tier!=db; may be repeated",
          [=](const std::string& text) {
            filter->add_labels(CheckText(text));
            const absl::Status selector = LabelSelector::Parse(text).status();
            if (!selector.ok()) Wrong(absl::StrCat("\"", text, "\" ", selector.message()));
          });
}

// Adds NAME as well.
void AddNames(CLI::App* app, v1::EventFilter* filter) {
  AddVm(app, filter);
  AddList(app, "NAME", "", "only VMs of such names or globs, or of a UUID",
          [=](const std::string& text) { AddVmName(text, filter); });
}

void AddRun(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--run", "RUN_ID", "only this run of a VM; may be repeated",
          [=](const std::string& run) { filter->add_run_ids(CheckText(run)); })
      ->delimiter(',');
}

// Selects VMs by their sources, and by their runs and ends.
void AddEnds(CLI::App* app, v1::EventFilter* filter) {
  AddList(app, "--source", "GLOB", "only VMs from such a source, as 'libvirt:*'; may be repeated",
          [=](const std::string& text) { filter->add_sources(CheckText(text)); });
  AddNamesOf(app, "class", "only ends by user, admin, crash or unknown; may be repeated",
             v1::ShutdownClass_descriptor(),
             [=](int value) { filter->mutable_classes()->Add(value); });
  AddNamesOf(app, "cause", "only ends of this cause, as guest-panic or host-kill; may be repeated",
             v1::ShutdownCause_descriptor(),
             [=](int value) { filter->mutable_causes()->Add(value); });
  AddRun(app, filter);
}

// Adds all of the filter but the names.
void AddFilter(CLI::App* app, v1::EventFilter* filter) {
  AddNamesOf(app, "type", "only events of this type, as started or stopped; may be repeated",
             v1::EventType_descriptor(), [=](int value) { filter->mutable_types()->Add(value); });
  AddEnds(app, filter);
}

// --from, --journal and --since.
void AddStart(CLI::App* app, const char* from_help, const OptionContext* context,
              WatchStart* start) {
  const auto read = [=](const std::string& text) { *start = ReadFrom(*context, text); };
  CLI::Option* from = AddOption(app, "--from", "START", from_help, read);
  // CLI11 takes the options in the order of their definitions: --from is read.
  CLI::Option* journal =
      AddOption(app, "--journal", "ID",
                "the journal of that sequence number; default the server's present one",
                [=](const std::string& text) {
                  auto* sequence = std::get_if<FromSequence>(start);
                  if (sequence == nullptr) Wrong("needs --from SEQUENCE, whose journal it names");
                  sequence->journal_id = CheckText(text);
                });
  AddOption(app, "--since", "TIME", "begin with the events at or after this time",
            [=](const std::string& text) { *start = FromTime{ReadTime(*context, text)}; })
      ->excludes(from)
      ->excludes(journal);
}

CLI::App* AddCommand(CLI::App* parent, const char* name, const char* help) {
  // --server and -o may also follow the command.
  return parent->add_subcommand(name, help)->fallthrough();
}

// Adds a command and its values. `check`, which finds them good or completes them, is called once
// all are read; then they are those of the line.
template <typename Command>
std::pair<CLI::App*, Command*> Add(CLI::App* parent, Reading* reading, const char* name,
                                   const char* help,
                                   const std::function<void(Command*)>& check = nullptr) {
  CLI::App* app = AddCommand(parent, name, help);
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

void AddWatch(CLI::App* program, Reading* reading) {
  const auto [app, command] =
      Add<FollowCommand>(program, reading, "watch", "Follow events as they happen");
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
  if (push->url.empty() && push->url_file.empty() &&
      (!push->only_asks() || push->state_dir.empty())) {
    Wrong(absl::StrCat("push: ", push->only_asks() ? "which one?" : "where to?",
                       " Write `vmevents push https://HOST/PATH`, `vmevents push nats://HOST`, or "
                       "--url-file"));
  }
  // --cluster marks a URL that is in a file as one of NATS servers.
  watch.durable_only = !push->only_asks() && (IsNatsUrl(push->url) || !push->cluster.empty());
  if (watch.durable_only && app.count("--from") + app.count("--since") == 0) {
    watch.start = FromOldest{};
  }
}

void AddPush(CLI::App* program, Reading* reading) {
  const auto check = [=](PushCommand* push) {
    CheckPush(*program->get_subcommand("push"), reading->context, push);
  };
  const auto [app, push] =
      Add<PushCommand>(program, reading, "push", "Deliver events to a URL as they happen", check);
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
  AddValue(app, "--timeout", "DURATION", "request timeout, 1s to 10m (default 30s)",
           &push->timeout);
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
      AddValue(app, "--cluster", "NAME", "nats://: the cluster of this node", &push->cluster)
          ->check([](const std::string& text) {
            constexpr size_t kMaxCluster = 64;
            return text.size() > kMaxCluster ? "the name has more than 64 bytes" : std::string();
          });
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
  CLI::Option* retry =
      AddFlag(app, "--retry-set-aside", "have this push send again what it set aside",
              &push->retry_set_aside)
          ->excludes(status);
  AddFlag(app, "--test", "send one event that is marked as a test, and show the answer",
          &push->test)
      ->excludes(status)
      ->excludes(retry)
      ->excludes(cluster);
}

void AddWeb(CLI::App* program, Reading* reading) {
  const auto [app, command] = Add<WebCommand>(program, reading, "web", "Serve a page for browsers");
  command->listen = {.host = "127.0.0.1", .port = "9557"};
  AddOption(app, "--listen", "HOST:PORT", "address to listen on (default 127.0.0.1:9557)",
            [command = command](const std::string& text) {
              command->listen = Need(ParseServerAddress(text, "9557"));
              if (command->listen.host.empty()) Wrong("a page needs HOST:PORT, as 127.0.0.1:9557");
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

void CheckTimes(std::optional<absl::Time> since, std::optional<absl::Time> until) {
  if (!since || !until || *since < *until) return;
  Wrong(
      "--since is not before --until, so no event can match; a time without a date is one of "
      "today");
}

// `events` and what begins as `list` does.
CLI::App* AddEvents(CLI::App* program, Reading* reading, const char* name, const char* help,
                    const EventsCommand& begin = {}) {
  CLI::App* app = AddCommand(program, name, help);
  struct Options {
    EventsCommand list;
    FollowCommand follow;
  };
  const auto options = std::make_shared<Options>(Options{begin});
  EventsCommand* list = &options->list;
  AddOption(app, "--since", "TIME", "only events at or after this time",
            [=](const std::string& text) { list->since = ReadTime(reading->context, text); });
  CLI::Option* until =
      AddOption(app, "--until", "TIME", "only events before this time",
                [=](const std::string& text) { list->until = ReadTime(reading->context, text); });
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
  CLI::Option* follow = app->add_flag("-f,-w,--follow,--watch")
                            ->description("then follow events as they happen, as watch does")
                            ->excludes(until, newest, limit);
  for (CLI::Option* one : AddFollow(app, &options->follow)) one->needs(follow);
  app->callback([=] {
    CheckTimes(list->since, list->until);
    if (follow->empty()) {
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

// A VM that is named, and a request for stopped VMs, imply that they are listed.
void CheckVms(VmsCommand* vms) {
  const v1::EventFilter& filter = vms->filter;
  const bool names_one = !absl::c_all_of(filter.vm_names(), IsGlob);
  const int of_ends = filter.classes_size() + filter.causes_size() + filter.run_ids_size();
  if (vms->runs || vms->trouble || of_ends > 0 || names_one ||
      absl::c_linear_search(vms->states, v1::VM_STATE_STOPPED)) {
    vms->include_stopped = true;
  }
}

void AddVms(CLI::App* program, Reading* reading) {
  const auto [app, vms] = Add<VmsCommand>(program, reading, "vms", "List the VMs", CheckVms);
  app->alias("ls")->alias("ps");
  AddNode(app, reading);
  AddNames(app, &vms->filter);
  AddEnds(app, &vms->filter);
  AddNamesOf(app, "state", "only VMs in this state, as running or stopped; may be repeated",
             v1::VmState_descriptor(),
             [vms = vms](int state) { vms->states.push_back(static_cast<v1::VmState>(state)); });
  AddFlag(app, "-a,-A,--all", "include stopped VMs", &vms->include_stopped);
  AddFlag(app, "--runs", "each run of the VMs, the newest first", &vms->runs);
  AddFlag(app, "--trouble",
          "only VMs with a problem or a late intent, that stand, or crashed within 24 hours",
          &vms->trouble);
  AddOption(app, "--sort-by", "ORDER",
            "state, name, age, ends, class or trouble; default state, on a terminal trouble",
            [vms = vms](const std::string& text) {
              vms->order = static_cast<VmOrder>(ReadChoice("ORDER", text));
            });
}

void AddWhy(CLI::App* program, Reading* reading) {
  const auto check = [](WhyCommand* why) {
    if (why->filter.ByteSizeLong() == 0 && !why->is_of_ends()) {
      Wrong("why: which VM? Write `vmevents why NAME`");
    }
    CheckTimes(why->since, why->until);
  };
  const auto [app, command] =
      Add<WhyCommand>(program, reading, "why", "Show why VMs ended, and what they do now", check);
  app->alias("vm")->alias("describe");
  AddNode(app, reading);
  AddNames(app, &command->filter);
  AddEnds(app, &command->filter);
  AddOption(app, "--since", "TIME", "each end at or after this time",
            [reading, why = command](const std::string& text) {
              why->since = ReadTime(reading->context, text);
            });
  AddOption(app, "--until", "TIME", "each end before this time",
            [reading, why = command](const std::string& text) {
              why->until = ReadTime(reading->context, text);
            });
  AddFlag(app, "--markdown", "Markdown, for a ticket", &command->markdown);
}

void AddStatus(CLI::App* program, Reading* reading) {
  CLI::App* app = AddCommand(program, "status", "Show vmeventd's state, or why a VM ended");
  const auto why = std::make_shared<WhyCommand>();
  AddNode(app, reading);
  AddList(app, "NAME", "", "a VM, for `why`",
          [=](const std::string& text) { AddVmName(text, &why->filter); });
  app->callback([=] {
    if (why->filter.vm_names_size() > 0) {
      reading->line.command = *why;
    } else if (reading->line.for_people()) {
      reading->line.command = TopCommand{.window = absl::Hours(24), .once = true};
    } else {
      reading->line.command = StatusCommand{};
    }
  });
}

void AddStats(CLI::App* program, Reading* reading) {
  const auto check = [=](StatsCommand* stats) {
    EventsCommand& events = stats->events;
    if (events.filter.types().empty()) events.filter.add_types(v1::EVENT_TYPE_STOPPED);
    stats->csv = reading->line.format == OutputFormat::kCsv;
  };
  const auto [app, stats] =
      Add<StatsCommand>(program, reading, "stats", "Count the ends of VMs", check);
  EventsCommand* const events = &stats->events;
  AddOption(app, "--since", "TIME", "only events at or after this time",
            [=](const std::string& text) { events->since = ReadTime(reading->context, text); });
  AddOption(app, "--until", "TIME", "only events before this time",
            [=](const std::string& text) { events->until = ReadTime(reading->context, text); });
  AddOption(app, "--by", "KEY",
            "who, vm, class, cause, type, day, hour, minute or node; default who",
            [stats = stats](const std::string& text) {
              // The values before "node" are those of CountKey.
              const int key = ReadChoice("KEY", text) + 1;
              stats->by_node = !v1::CountKey_IsValid(key);
              if (!stats->by_node) stats->by = static_cast<v1::CountKey>(key);
            });
  AddNames(app, &events->filter);
  AddFilter(app, &events->filter);
}

void AddTop(CLI::App* program, Reading* reading) {
  const auto check = [=](TopCommand* /*top*/) {
    if (!reading->line.for_people()) Wrong("--output: top is for people; use info, vms or events");
  };
  const auto [app, command] =
      Add<TopCommand>(program, reading, "top", "Watch the VMs of a node on a terminal", check);
  AddNode(app, reading);
  AddValue(app, "--interval", "DURATION", "interval between frames; default 2s",
           &command->interval);
  AddValue(app, "--window", "DURATION", "time over which ends are counted; default 15m",
           &command->window);
  AddFlag(app, "--once", "print one frame", &command->once);
}

void AddFleet(CLI::App* program, Reading* reading) {
  constexpr int kMaxReplicas = 5;  // JetStream's limit
  CLI::App* fleet = AddCommand(program, "fleet", "Show the nodes of a fleet");
  fleet->require_subcommand(0, 1);
  AddNode(fleet, reading);
  const auto [app, create] =
      Add<FleetCreateCommand>(fleet, reading, "create", "Make the streams of a fleet");
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
  CLI::App* intent = AddCommand(program, "intent", "Declare who is about to stop a VM, and why");
  intent->require_subcommand(1);
  const auto check = [=](DeclareIntentCommand* one) {
    if (one->actor.empty()) one->actor = reading->context.user;
    if (one->actor.empty()) Wrong("--actor: name who is about to act");
    if (!IsValidUtf8(one->actor)) Wrong("--actor: the user's name is not UTF-8; give another");
    if (one->reason.empty()) Wrong("--reason: give the reason");
  };
  const auto [app, declare] =
      Add<DeclareIntentCommand>(intent, reading, "declare", "Declare an intent for a VM", check);
  app->alias("create")->alias("add");
  AddOption(app, "NAME", "", "the VM's name", [declare = declare](const std::string& text) {
    declare->name = ReadVmName(text);
  })->required();
  AddValue(app, "--actor", "WHO",
           "the person or the system that acts; default $SUDO_USER, $USER or the user's name",
           &declare->actor);
  AddValue(app, "--reason", "WHY", "one sentence for people", &declare->reason);
  AddValue(app, "--ttl", "DURATION", "how long it is valid, such as 5m; default 10m, at most 24h",
           &declare->ttl);
  AddValue(app, "--run", "RUN_ID", "the run, if a name has several", &declare->run_id);
  AddOption(app, "--started-before", "TIME",
            "only for a run that started before: for hooks that may be late",
            [=, declare = declare](const std::string& text) {
              declare->started_before = ReadTime(reading->context, text);
            });
  AddValue(app, "--request-id", "ID",
           "a retry with it is the same intent, and `intent list -o json` shows it",
           &declare->request_id);
  CLI::App* list = Add<IntentsCommand>(intent, reading, "list", "List the open intents").first;
  list->alias("ls")->alias("get");
  AddNode(list, reading);
  const auto [withdraw, withdrawn] =
      Add<WithdrawIntentCommand>(intent, reading, "withdraw", "Withdraw a declared intent");
  withdraw->alias("delete")->alias("rm");
  AddValue(withdraw, "INTENT_ID", "", "as printed by declare", &withdrawn->intent_id)->required();
}

void AddHealth(CLI::App* program, Reading* reading) {
  const auto [app, health] =
      Add<HealthCommand>(program, reading, "health", "Ask whether vmeventd serves");
  AddNode(app, reading);
  CLI::Option* service = AddValue(app, "SERVICE", "", "one of its services", &health->service);
  AddFlag(app, "--all", "each of its services, a line each", &health->all)->excludes(service);
  AddValue(app, "--timeout", "DURATION", "how long to wait for the answer, such as 1s; default 5s",
           &health->timeout);
}

void AddGeneral(CLI::App* app, Reading* reading) {
  CommandLine* line = &reading->line;
  Access* access = &reading->access;
  AddList(app, "--server", "ADDR",
          "where vmeventd listens, or nats://, see below; several, separated by commas, are asked "
          "at once; may be repeated",
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
            "table or wide for people; json, jsonl (the same), name, or csv of stats for programs; "
            "default table",
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
  app->formatter(MakeHelpFormatter());
  app->description("Shows who ended the virtual machines of a node, and how vmeventd knows.");
  app->set_version_flag("--version", absl::StrCat("vmevents ", VMEVENTD_VERSION));
  app->require_subcommand(1);
  AddGeneral(app, reading);
  AddWatch(app, reading);
  AddPush(app, reading);
  AddWeb(app, reading);
  AddEvents(app, reading, "events", "List events of the past")->alias("logs")->alias("history");
  AddEvents(app, reading, "tail", "List the newest events", {.last = kUsualLast})->group("");
  EventsCommand crashes = {.newest_first = true};
  crashes.filter.add_types(v1::EVENT_TYPE_STOPPED);
  crashes.filter.add_classes(v1::SHUTDOWN_CLASS_CRASH);
  AddEvents(app, reading, "crashes", "List the VMs that crashed", crashes)->group("");
  AddVms(app, reading);
  AddWhy(app, reading);
  AddStats(app, reading);
  AddStatus(app, reading);
  AddTop(app, reading);
  AddFleet(app, reading);
  AddIntent(app, reading);
  AddNode(Add<InfoCommand>(app, reading, "info", "Show vmeventd's own state").first, reading);
  Add<StreamsCommand>(app, reading, "streams", "Show who watches events, and how far each is");
  AddHealth(app, reading);
  Add<DoctorCommand>(app, reading, "doctor", "Find what prevents vmeventd from following VMs");
  Add<ProxyCommand>(app, reading, "proxy", "Connect standard input and output to vmeventd's socket")
      .first->group("");
  CLI::App* help = AddCommand(app, "help", "Explain a command");
  AddList(help, "COMMAND", "", "the command", [](const std::string& /*text*/) {});
  AddCommand(app, "version", "Print the version");
  CLI::App* completion = AddCommand(app, "completion", "Print the completion script of a shell");
  CLI::Option* shell =
      AddChoice(completion, "SHELL", "SHELL", "bash, zsh or fish; default $SHELL", &reading->shell);
  completion->callback([=] {
    if (!shell->empty()) return;
    const std::string named = reading->context.variable("SHELL");
    reading->shell = ReadChoice("SHELL", named.substr(named.rfind('/') + 1));
  });
}

}  // namespace vmeventd::client
