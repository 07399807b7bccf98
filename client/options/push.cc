#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "client/cli/option.h"
#include "client/cli/option_error.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/follow_options.h"
#include "client/options/option_context.h"
#include "client/options/reading.h"
#include "client/sinks/push_command.h"
#include "client/sinks/sink_options.h"
#include "client/sinks/sink_table.h"

namespace vmeventd::client {
namespace {

// A part of each sink's row, joined for people.
std::string Joined(const SinkTable& sinks, const char* separator,
                   absl::string_view PushSinkKind::*part) {
  std::vector<absl::string_view> parts;
  for (const PushSinkKind* const kind : sinks.of_push) {
    if (!(kind->*part).empty()) parts.push_back(kind->*part);
  }
  return absl::StrJoin(parts, separator);
}

// The sink of the URL, or of an option that only one sink takes.
const PushSinkKind* ChooseSink(const SinkTable& sinks, const PushCommand& push) {
  for (const PushSinkKind* const kind : sinks.of_push) {
    if (!OptionOf(push.follow.sink_options, kind->flag).empty()) return kind;
  }
  return SinkOfUrl(sinks, push.url);
}

// The beginning of a URL up to its host: the rest may be a secret. Empty: the host has a password.
absl::string_view BeginOfUrl(absl::string_view url) {
  constexpr absl::string_view kEnd = "://";
  const size_t scheme = url.find(kEnd);
  const size_t host = scheme == absl::string_view::npos ? 0 : scheme + kEnd.size();
  const absl::string_view begin = url.substr(0, url.find_first_of("/?#", host));
  return absl::StrContains(begin, '@') ? "" : begin;
}

// The options that `add` adds to the command.
std::vector<CLI::Option*> Added(CLI::App* app, const std::function<void()>& add) {
  const size_t before = app->get_options().size();
  add();
  std::vector<CLI::Option*> all = app->get_options();
  return {all.begin() + static_cast<std::ptrdiff_t>(before), all.end()};
}

// Adds the options of each sink. The option that chooses a sink excludes the other sinks' options.
// If the sink takes all events unchanged, it also excludes the options of a filter.
void AddSinkOptions(CLI::App* app, const SinkTable& sinks,
                    const std::vector<CLI::Option*>& of_events, SinkOptions* options) {
  std::map<const PushSinkKind*, std::vector<CLI::Option*>> own;
  for (const PushSinkKind* const kind : sinks.of_push) {
    if (kind->options == nullptr) continue;
    own[kind] = Added(app, [&] { kind->options(app, options); });
  }
  for (const PushSinkKind* const kind : sinks.of_push) {
    if (kind->flag.empty()) continue;
    CLI::Option* const flag = app->get_option(std::string(kind->flag));
    for (const auto& [other, others] : own) {
      if (other == kind) continue;
      for (CLI::Option* const option : others) flag->excludes(option);
    }
    if (!kind->of_one_node) continue;
    for (CLI::Option* const option : of_events) flag->excludes(option);
  }
}

void CheckPush(const CLI::App& app, const OptionContext& context, const SinkTable& sinks,
               PushCommand* push) {
  WatchCommand& watch = push->follow.watch;
  watch.wait = watch.identify = true;
  push->state_home = context.variable("XDG_STATE_HOME");
  if (const std::string home = context.variable("HOME");
      push->state_home.empty() && !home.empty()) {
    push->state_home = absl::StrCat(home, "/.local/state");
  }
  if (std::holds_alternative<FromSnapshot>(watch.start)) {
    Wrong("a snapshot has VMs and no events; begin with oldest, or with a time", "--from");
  }
  if (!push->template_file.empty()) push->format = PushFormat::kTemplate;
  if (push->url.empty() && push->url_file.empty() &&
      (!push->only_asks() || push->state_dir.empty())) {
    Wrong(absl::StrCat(push->only_asks() ? "which one?" : "where to?", " Write `vmevents push ",
                       Joined(sinks, "`, `vmevents push ", &PushSinkKind::example),
                       "`, or --url-file"),
          "push");
  }
  if (!push->url.empty() && SinkOfUrl(sinks, push->url) == nullptr) {
    Wrong(std::string(UnknownUrlError(sinks, BeginOfUrl(push->url)).message()));
  }
  push->sinks = &sinks;
  push->sink = ChooseSink(sinks, *push);
  watch.durable_only = !push->only_asks() && push->sink != nullptr && push->sink->of_one_node;
  if (watch.durable_only && app.count("--from") + app.count("--since") == 0) {
    watch.start = FromOldest{};
  }
}

}  // namespace

void AddPush(CLI::App* program, Reading* reading, const SinkTable& sinks) {
  const auto check = [program, reading, all = &sinks](PushCommand* push) {
    CheckPush(*program->get_subcommand("push"), reading->context, *all, push);
  };
  const auto [app, push] =
      Add<PushCommand>(program, reading, "push", "Deliver events to a URL as they happen", check);
  const std::string where =
      absl::StrCat("the receiver: ", Joined(sinks, ", or ", &PushSinkKind::url));
  CLI::Option* url = AddOption(app, "URL", "", where.c_str(),
                               [to = push](const std::string& text) { to->url = text; });
  AddFile(app, "--url-file", "the URL is the first line of this file", &push->url_file)
      ->excludes(url);
  CLI::Option* format = AddChoice(app, "--format", "KIND",
                                  "cloudevents or json (default cloudevents)", &push->format);
  CLI::Option* form = AddFile(app, "--template",
                              "send this JSON for each event instead; fields such as {{vm}} in its "
                              "strings are replaced",
                              &push->template_file)
                          ->excludes(format);
  AddStart(app,
           "where to start if no position is saved yet: a sequence number (the events after it), a "
           "time, oldest or now (default now; for a fleet oldest)",
           &reading->context, &push->follow.watch.start);
  std::vector<CLI::Option*> of_events =
      Added(app, [reading, command = app, filter = &push->follow.watch.filter] {
        AddNode(command, reading);
        AddVm(command, filter);
        AddFilter(command, filter);
      });
  of_events.push_back(form);
  of_events.push_back(app->get_option("--journal"));
  AddFile(
      app, "--push-ca",
      "the receiver's certificate must be issued by a CA in this PEM file (default the system's "
      "CAs)",
      &push->tls.ca_file);
  AddPair(app, "--push-cert", "the client certificate for a receiver that requires one, PEM",
          "--push-key", &push->tls);
  AddSinkOptions(app, sinks, of_events, &push->follow.sink_options);
  const std::string insecure =
      absl::StrCat("permit ", Joined(sinks, " and ", &PushSinkKind::plain_scheme),
                   " to other hosts: without TLS, anyone on the network path can read the events");
  AddFlag(app, "--insecure-http", insecure.c_str(), &push->insecure_http);
  AddValue(app, "--state-dir", "DIR",
           "the directory in which this push saves its position, its status and the events that "
           "were set aside (default vmevents/push/TARGET in $XDG_STATE_HOME or ~/.local/state)",
           &push->state_dir);
  AddFile(app, "--metrics-file",
          "after each request, write metrics to this file; call it NAME.prom for the node exporter",
          &push->metrics_file);
  CLI::Option* status =
      AddFlag(app, "--status",
              "show the saved position and status of this push, without connecting to any server",
              &push->status);
  CLI::Option* retry =
      AddFlag(app, "--retry-set-aside", "make this push resend the events that it set aside",
              &push->retry_set_aside)
          ->excludes(status);
  CLI::Option* test =
      AddFlag(app, "--test",
              "send one event that is marked as a test, and show the receiver's response",
              &push->test)
          ->excludes(status)
          ->excludes(retry);
  for (const PushSinkKind* const kind : sinks.of_push) {
    if (kind->send_test == nullptr && !kind->flag.empty()) {
      test->excludes(app->get_option(std::string(kind->flag)));
    }
  }
}

}  // namespace vmeventd::client
