#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/text.h"
#include "client/cli/option.h"
#include "client/nats/connection.h"
#include "client/options/commands.h"
#include "client/options/common.h"
#include "client/options/filter.h"
#include "client/options/parser.h"
#include "client/output/time_text.h"
#include "client/sinks/push_command.h"
#include "client/sinks/sinks.h"

namespace vmeventd::client {
namespace {

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

}  // namespace

void AddPush(CLI::App* program, Reading* reading, const SinkTable& sinks) {
  const auto check = [=](PushCommand* push) {
    CheckPush(*program->get_subcommand("push"), reading->context, push);
  };
  const auto [app, push] =
      Add<PushCommand>(program, reading, "push", "Deliver events to a URL as they happen", check);
  CLI::Option* url = AddOption(app, "URL", "", "where to: https://, or nats:// into a fleet",
                               [to = push](const std::string& text) { to->url = text; });
  AddFile(app, "--url-file", "the URL is the first line of this file", &push->url_file)
      ->excludes(url);
  CLI::Option* format =
      AddChoice(app, "--format", "KIND", "cloudevents or json; default cloudevents", &push->format);
  AddFile(
      app, "--template",
      "send this JSON for each event instead; fields such as {{vm}} in its strings are replaced",
      &push->template_file)
      ->excludes(format);
  AddStart(app, "at first begin after a sequence number, or at oldest or a time; default now",
           &reading->context, &push->follow.watch.start);
  AddNode(app, reading);
  AddVm(app, &push->follow.watch.filter);
  AddFilter(app, &push->follow.watch.filter);
  for (const PushSinkKind* const kind : sinks.of_push) kind->options(app, push);
  AddFlag(app, "--insecure-http",
          "permit http:// and nats:// beyond this host: anyone on the path can read the events",
          &push->insecure_http);
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
  // Of a fleet's stream each event is one of its node.
  if (CLI::Option* cluster = app->get_option_no_throw("--cluster")) test->excludes(cluster);
}

}  // namespace vmeventd::client
