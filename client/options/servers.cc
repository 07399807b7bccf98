#include "client/options/servers.h"

#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/cli/option_error.h"
#include "client/nats/options.h"
#include "client/nats/url.h"
#include "client/options/access.h"
#include "client/options/contexts.h"
#include "client/options/option_context.h"
#include "client/options/reading.h"
#include "client/output/shell_quote.h"
#include "client/sinks/push_sink.h"

namespace vmeventd::client {
namespace {

// Returns the settings of --context, or else of the environment, or else of the current context. If
// --server is the only option given, the environment's settings still apply.
Settings SettingsBesideOptions(const CLI::App& app, Reading* reading) {
  Settings settings;
  for (const absl::string_view option : kAccessOptions) {
    const std::string name =
        absl::AsciiStrToUpper(absl::StrReplaceAll(option, {{"--", "VMEVENTS_"}, {"-", "_"}}));
    const std::string text = reading->context.variable(name.c_str());
    if (!text.empty()) settings[std::string(option)] = {text};
  }
  std::string* origin = &reading->line.origin;
  if (settings.contains("--server")) *origin = "$VMEVENTS_SERVER";
  const bool named = !reading->access.servers.empty() || settings.contains("--server");
  if (named && reading->context_name.empty()) return settings;
  const Contexts contexts = ReadContexts(app, reading->context);
  const std::string& name =
      reading->context_name.empty() ? contexts.current : reading->context_name;
  if (name.empty()) return settings;
  const auto found = contexts.named.find(name);
  *origin = absl::StrCat("context \"", name, "\"");
  if (found != contexts.named.end()) {
    Settings context = Need(found->second, contexts.path);
    if (named || context.contains("--server")) return context;
    Wrong(absl::StrCat(contexts.path, ": the context \"", name, "\" has no servers"));
  }
  std::string known = contexts.named.empty() ? " none" : "";
  for (const auto& [one, access] : contexts.named) absl::StrAppend(&known, " ", one);
  Wrong(absl::StrCat("there is no context \"", name, "\"; ", contexts.path, " has", known));
}

// An option replaces the same setting from elsewhere; the TLS options together replace all TLS
// settings.
void ReadAccess(CLI::App* app, Reading* reading) {
  const bool tls_given = reading->access.tls != TlsOptions();
  const bool servers_given = !reading->access.servers.empty();
  for (const auto& [name, texts] : SettingsBesideOptions(*app, reading)) {
    CLI::Option* option = app->get_option(name);
    if (!option->empty() || (tls_given && absl::StartsWith(name, "--tls-"))) continue;
    for (const std::string& text : texts) option->add_result(text);
    option->run_callback();
  }
  if (servers_given) reading->line.origin = "";
}

// The NATS servers of a fleet: each text may name several.
void SetFleet(const Access& access, const std::string& origin, Servers* servers) {
  servers->fleet = NatsOptions{.credentials = access.credentials, .domain = access.nats_domain};
  for (const std::string& text : access.servers) {
    if (IsNatsUrl(text)) continue;
    Wrong(absl::StrCat(text, " is not a NATS server, but the others are; name servers of one kind"),
          origin);
  }
  for (const ServerAddress& server :
       Need(ParseNatsServers(absl::StrJoin(access.servers, ",")), origin)) {
    servers->fleet->servers.push_back(NatsUrl(server));
  }
}

void SetServers(const Access& access, const std::string& origin, const OptionContext& context,
                Servers* servers) {
  if (absl::c_any_of(access.servers, IsNatsUrl)) return SetFleet(access, origin, servers);
  if (access.servers.empty()) {
    servers->addresses = {
        DefaultServerAddress(context.uid, context.variable("XDG_RUNTIME_DIR"), context.may_exist)};
    return;
  }
  std::set<std::string> seen;
  const std::vector<std::string> texts = absl::StrSplit(absl::StrJoin(access.servers, ","), ',');
  for (const std::string& text : texts) {
    const ServerAddress address = Need(ParseServerAddress(text), origin);
    if (seen.insert(ToText(address)).second) servers->addresses.push_back(address);
  }
}

// A Unix socket needs no TLS files: those from the environment or a context are ignored, because
// they may be for other servers; those given as options are an error.
void SetTls(const TlsOptions& tls, bool given, Servers* servers) {
  if (tls == TlsOptions()) return;
  bool used = servers->fleet.has_value();
  if (used) servers->fleet->tls = tls;
  for (ServerAddress& server : servers->addresses) {
    if (server.is_ssh() && given) {
      Wrong(absl::StrCat(ToText(server),
                         " is reached through SSH, not TLS; leave out the --tls options"),
            "--tls-*");
    }
    if (server.is_unix() && given) {
      Wrong(absl::StrCat("a Unix socket (", ToText(server),
                         ") has no TLS; name a server with --server HOST:PORT"),
            "--tls-*");
    }
    if (server.is_unix() || server.is_ssh()) continue;
    server.tls = tls;
    used = true;
  }
  // The servers of a fleet may have certificates of the system's authorities.
  if (used && tls.ca_file.empty() && !servers->fleet) {
    Wrong(
        "TLS needs the CA of the server's certificate: give --tls-ca FILE, $VMEVENTS_TLS_CA or the "
        "context's tls-ca");
  }
  if (used && tls.cert_file.empty() != tls.key_file.empty()) {
    if (tls.key_file.empty())
      Wrong("its private key is missing: give --tls-key FILE", "--tls-cert");
    Wrong("its certificate is missing: give --tls-cert FILE", "--tls-key");
  }
}

}  // namespace

void CheckServers(const CLI::App& command, const CommandLine& line, const std::string& origin) {
  const std::string& name = command.get_name();
  const CLI::App* last = &command;  // in "intent list": list
  bool asks_fleets = command.get_option_no_throw("--node") != nullptr;
  while (!last->get_subcommands().empty()) {
    last = last->get_subcommands().front();
    asks_fleets = asks_fleets || last->get_option_no_throw("--node") != nullptr;
  }
  if (!line.servers.fleet && (name == "fleet" || !line.servers.nodes.empty())) {
    Wrong("asks NATS servers; name them with --server nats://HOST[,HOST...]",
          name == "fleet" ? name : "--node");
  }
  if (line.servers.fleet && !asks_fleets) {
    Wrong(absl::StrCat(name,
                       " asks vmeventd itself, and these are NATS servers; name its nodes with "
                       "--server HOST[,HOST...]"),
          origin);
  }
  if (line.servers.addresses.size() == 1) return;
  const auto* push = std::get_if<PushCommand>(&line.command);
  const auto* follow = push ? &push->follow : std::get_if<FollowCommand>(&line.command);
  if (follow != nullptr && std::holds_alternative<FromSequence>(follow->watch.start)) {
    Wrong(
        "a sequence number belongs to one node's journal; for several nodes give oldest or a time",
        "--from");
  }
}

void ReadServers(CLI::App* app, Reading* reading) {
  CommandLine* line = &reading->line;
  const auto paste = [&](absl::string_view option) {
    for (const std::string& text : app->get_option(std::string(option))->results()) {
      absl::StrAppend(&line->servers.client, " ", option, " ", QuoteForShell(text));
    }
  };
  paste("--context");
  line->servers.by_option = app->count("--server") > 0;
  absl::c_for_each(kAccessOptions, paste);
  const auto* push = std::get_if<PushCommand>(&line->command);
  if (push != nullptr && push->status) return;  // it asks no server
  const Access given = reading->access;
  ReadAccess(app, reading);
  const std::string origin = line->origin.empty() ? "--server" : line->origin;
  SetServers(reading->access, origin, reading->context, &line->servers);
  if (!line->servers.fleet && !(given.credentials.empty() && given.nats_domain.empty())) {
    Wrong("only NATS servers take it; name some with --server nats://HOST",
          given.credentials.empty() ? "--nats-domain" : "--credentials");
  }
  SetTls(reading->access.tls, given.tls != TlsOptions(), &line->servers);
  CheckServers(*app->get_subcommands().front(), *line, origin);
  if (push != nullptr && push->follow.watch.durable_only &&
      (line->servers.fleet || line->servers.addresses.size() != 1)) {
    Wrong(absl::StrCat(push->sink->what,
                       " gets the events of one node; name its vmeventd with --server"),
          "push");
  }
}

}  // namespace vmeventd::client
