#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cli/option.h"
#include "client/nats/nats.h"
#include "client/options/commands.h"
#include "client/options/common.h"
#include "client/options/filter.h"
#include "client/options/parser.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// Limit of --batch.
constexpr uint64_t kMaxBatch = 1000;

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
  AddChecked(app, "--push-domain", "NAME",
             "nats://: the domain of the JetStream, where the servers are leaf nodes of others",
             CheckDomain, &push->domain)
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

}  // namespace vmeventd::client
