#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/duration_text.h"
#include "client/cli/option.h"
#include "client/options/commands.h"
#include "client/options/common.h"
#include "client/options/filter.h"
#include "client/options/parser.h"
#include "client/output/time_text.h"
#include "client/sinks/push_command.h"
#include "client/sinks/sinks.h"

namespace vmeventd::client {
namespace {

constexpr uint64_t kMaxBatch = 1000;  // limit of --batch

// A part of each sink's row, joined for people.
std::string Joined(const SinkTable& sinks, const char* separator,
                   absl::string_view PushSinkKind::*part) {
  const auto append = [part](std::string* out, const PushSinkKind* kind) {
    absl::StrAppend(out, kind->*part);
  };
  return absl::StrJoin(sinks.of_push, separator, append);
}

// The sink of the URL, or of an option that only one sink takes.
const PushSinkKind* ChooseSink(const SinkTable& sinks, const PushCommand& push) {
  for (const PushSinkKind* const kind : sinks.of_push) {
    if (!OptionOf(push.follow.sink_options, kind->flag).empty()) return kind;
  }
  return SinkOfUrl(sinks, push.url);
}

// With --timeout, --batch and the files of a request over HTTP; those of TLS are for any target.
void AddRequestOptions(CLI::App* app, PushCommand* push) {
  AddNumber(app, "--batch", "at most N events in a request (default 100)", kMaxBatch, &push->batch);
  AddValue(app, "--timeout", "DURATION", "request timeout, 1s to 10m (default 30s)",
           &push->timeout);
  AddFile(app, "--secret-file",
          "sign each request by the secret in this file; two lines while it is replaced",
          &push->secret_file);
  AddFile(app, "--header-file",
          "send these headers too, as \"Authorization: Bearer ...\", one a line",
          &push->header_file);
  AddFile(app, "--push-ca", "the CA of the receiver's certificate, PEM (default the system's)",
          &push->tls.ca_file);
  AddPair(app, "--push-cert", "the certificate to show the receiver, PEM", "--push-key",
          &push->tls);
}

void CheckPush(const CLI::App& app, const OptionContext& context, const SinkTable& sinks,
               PushCommand* push) {
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
    Wrong(absl::StrCat(
        "push: ", push->only_asks() ? "which one?" : "where to?", " Write `vmevents push ",
        Joined(sinks, "`, `vmevents push ", &PushSinkKind::example), "`, or --url-file"));
  }
  push->sink = ChooseSink(sinks, *push);
  watch.durable_only = !push->only_asks() && push->sink != nullptr && push->sink->of_one_node;
  if (watch.durable_only && app.count("--from") + app.count("--since") == 0) {
    watch.start = FromOldest{};
  }
}

}  // namespace

void AddPush(CLI::App* program, Reading* reading, const SinkTable& sinks) {
  const auto check = [program, reading, sinks](PushCommand* push) {
    CheckPush(*program->get_subcommand("push"), reading->context, sinks, push);
  };
  const auto [app, push] =
      Add<PushCommand>(program, reading, "push", "Deliver events to a URL as they happen", check);
  const std::string where = absl::StrCat("where to: ", Joined(sinks, ", or ", &PushSinkKind::url));
  CLI::Option* url = AddOption(app, "URL", "", where.c_str(),
                               [to = push](const std::string& text) { to->url = text; });
  AddFile(app, "--url-file", "the URL is the first line of this file", &push->url_file)
      ->excludes(url);
  CLI::Option* format = AddChoice(app, "--format", "KIND",
                                  "cloudevents or json (default cloudevents)", &push->format);
  AddFile(
      app, "--template",
      "send this JSON for each event instead; fields such as {{vm}} in its strings are replaced",
      &push->template_file)
      ->excludes(format);
  AddStart(app, "at first begin after a sequence number, or at oldest or a time (default now)",
           &reading->context, &push->follow.watch.start);
  AddNode(app, reading);
  AddVm(app, &push->follow.watch.filter);
  AddFilter(app, &push->follow.watch.filter);
  AddRequestOptions(app, push);
  for (const PushSinkKind* const kind : sinks.of_push) {
    if (kind->options != nullptr) kind->options(app, &push->follow.sink_options);
  }
  const std::string insecure =
      absl::StrCat("permit ", Joined(sinks, " and ", &PushSinkKind::plain_scheme),
                   " beyond this host: anyone on the path can read the events");
  AddFlag(app, "--insecure-http", insecure.c_str(), &push->insecure_http);
  AddValue(app, "--state-dir", "DIR",
           "the directory of this push: its position, state and what was set aside",
           &push->state_dir);
  AddFile(app, "--metrics-file", "write metrics here, NAME.prom for the node exporter",
          &push->metrics_file);
  CLI::Option* status =
      AddFlag(app, "--status", "show what this push last did, without a network", &push->status);
  CLI::Option* retry =
      AddFlag(app, "--retry-set-aside", "make this push resend the events that it set aside",
              &push->retry_set_aside)
          ->excludes(status);
  CLI::Option* test =
      AddFlag(app, "--test", "send one event that is marked as a test, and show the answer",
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
