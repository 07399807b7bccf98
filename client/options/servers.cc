#include <algorithm>
#include <cstddef>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/nats/nats.h"
#include "client/options/binding.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

Access ContextNamed(const std::string& name, const Contexts& contexts) {
  const auto found = contexts.named.find(name);
  if (found != contexts.named.end()) return found->second;
  std::string known = contexts.named.empty() ? " none" : "";
  for (const auto& [one, access] : contexts.named) absl::StrAppend(&known, " ", one);
  Wrong(absl::StrCat("there is no context \"", name, "\"; ", contexts.path, " has", known));
}

// Access beside the options: of --context, else the environment, else the current context.
Access AccessBesideOptions(const Reading& reading) {
  const auto& variable = reading.context.variable;
  Access access = {
      .tls = {variable("VMEVENTS_TLS_CA"), variable("VMEVENTS_TLS_CERT"),
              variable("VMEVENTS_TLS_KEY"), variable("VMEVENTS_TLS_SERVER_NAME")},
      .credentials = variable("VMEVENTS_CREDENTIALS"),
  };
  if (reading.context_name.empty()) {
    if (!reading.given.servers.empty()) return access;
    if (std::string server = variable("VMEVENTS_SERVER"); !server.empty()) {
      access.origin = "$VMEVENTS_SERVER";
      access.servers = {std::move(server)};
      return access;
    }
  }
  const Contexts contexts = ReadContexts(reading.context);
  const std::string& name = reading.context_name.empty() ? contexts.current : reading.context_name;
  return name.empty() ? access : ContextNamed(name, contexts);
}

// An option replaces what else names the same; the TLS options do so together.
Access AccessOf(const Reading& reading) {
  const Access& given = reading.given;
  Access access = AccessBesideOptions(reading);
  if (!given.servers.empty()) {
    access.origin = given.origin;
    access.servers = given.servers;
  }
  if (given.tls != TlsOptions()) access.tls = given.tls;
  if (!given.credentials.empty()) access.credentials = given.credentials;
  if (!given.nats_domain.empty()) access.nats_domain = given.nats_domain;
  return access;
}

// The NATS servers of a fleet: each text may name several.
void SetFleet(const Access& access, CommandLine* line) {
  line->fleet = NatsOptions{.credentials = access.credentials, .domain = access.nats_domain};
  for (const std::string& text : access.servers) {
    if (IsNatsUrl(text)) continue;
    Wrong(absl::StrCat(access.origin, ": ", text,
                       " is not a NATS server, but the others are; name servers of one kind"));
  }
  for (const ServerAddress& server :
       Need(ParseNatsServers(absl::StrJoin(access.servers, ",")), access.origin)) {
    line->fleet->servers.push_back(NatsUrl(server));
  }
  const absl::Status domain = CheckDomain(access.nats_domain);
  if (access.nats_domain.empty() || domain.ok()) return;
  Wrong(absl::StrCat("--nats-domain: \"", access.nats_domain, "\" ", domain.message()));
}

void SetServers(const Access& access, const OptionContext& context, CommandLine* line) {
  if (absl::c_any_of(access.servers, IsNatsUrl)) return SetFleet(access, line);
  if (access.servers.empty()) {
    line->servers = {
        DefaultServerAddress(context.uid, context.variable("XDG_RUNTIME_DIR"), context.may_exist)};
    return;
  }
  std::set<std::string> seen;
  const std::vector<std::string> texts = absl::StrSplit(absl::StrJoin(access.servers, ","), ',');
  for (const std::string& text : texts) {
    const ServerAddress address = Need(ParseServerAddress(text), access.origin);
    if (seen.insert(ToText(address)).second) line->servers.push_back(address);
  }
}

// Refuses options that these servers do not take. A Unix socket ignores the files of the
// environment and of a context, which may be for other servers.
void CheckGiven(const Access& given, const CommandLine& line) {
  for (const ServerAddress& server : line.servers) {
    if (given.tls == TlsOptions() || !server.is_unix()) continue;
    Wrong(absl::StrCat("--tls-*: a Unix socket (", ToText(server),
                       ") has no TLS; name a server with --server HOST:PORT"));
  }
  if (!line.fleet && !(given.credentials.empty() && given.nats_domain.empty())) {
    Wrong(absl::StrCat(given.credentials.empty() ? "--nats-domain" : "--credentials",
                       ": only NATS servers take it; name some with --server nats://HOST"));
  }
}

void SetTls(const TlsOptions& tls, CommandLine* line) {
  const auto is_unix = [](const ServerAddress& server) { return server.is_unix(); };
  if (tls == TlsOptions() || (!line->fleet && absl::c_all_of(line->servers, is_unix))) return;
  // The servers of a fleet may have certificates of the system's authorities.
  if (tls.ca_file.empty() && !line->fleet) {
    Wrong(
        "TLS needs the CA of the server's certificate: give --tls-ca FILE, $VMEVENTS_TLS_CA or the "
        "context's tls-ca");
  }
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    Wrong(tls.key_file.empty() ? "--tls-cert: its private key is missing: give --tls-key FILE"
                               : "--tls-key: its certificate is missing: give --tls-cert FILE");
  }
  if (line->fleet) line->fleet->tls = tls;
  for (ServerAddress& server : line->servers) {
    if (!server.is_unix()) server.tls = tls;
  }
}

// Checks whether the command and the kind of servers fit each other.
void CheckServers(const CLI::App& command, const CommandLine& line, const Access& access) {
  const std::string& name = command.get_name();
  // Those that may ask a fleet may ask several servers, and so may `status NAME`.
  const bool asks_several = command.get_option_no_throw("--node") != nullptr ||
                            std::holds_alternative<WhyCommand>(line.command);
  if (!line.fleet && (name == "fleet" || !line.nodes.empty())) {
    Wrong(absl::StrCat(name == "fleet" ? "fleet" : "--node",
                       ": asks NATS servers; name them with --server nats://HOST[,HOST...]"));
  }
  if (line.servers.size() == 1) return;
  if (!asks_several) {
    Wrong(absl::StrCat(access.origin, ": ", name,
                       " asks one vmeventd, and this names many; name one with --server HOST"));
  }
  const std::vector<std::string> from = TextsOf(command, "--from");
  if (from.empty() || !IsNumber(from.back())) return;
  Wrong(
      "--from: a sequence is of one node's journal; for several nodes use oldest, snapshot, a "
      "time, or --cursor-file");
}

}  // namespace

void ReadServers(const CLI::App& app, Reading* reading) {
  CommandLine* line = &reading->line;
  for (const char* option : {"--context", "--server", "--tls-ca", "--tls-cert", "--tls-key",
                             "--tls-server-name", "--credentials", "--nats-domain"}) {
    for (const std::string& text : TextsOf(app, option)) {
      absl::StrAppend(&line->client, " ", option, " ", EscapeForTerminal(QuoteForShell(text)));
    }
  }
  const auto* push = std::get_if<PushCommand>(&line->command);
  if (push != nullptr && push->status) return;  // it asks no server
  const Access access = AccessOf(*reading);
  if (reading->given.servers.empty()) line->origin = access.origin;
  SetServers(access, reading->context, line);
  CheckGiven(reading->given, *line);
  SetTls(access.tls, line);
  CheckServers(*app.get_subcommands().front(), *line, access);
  if (push != nullptr && push->follow.watch.durable_only &&
      (line->fleet || line->servers.size() != 1)) {
    Wrong("push: nats:// gets the events of one node; name its vmeventd with --server");
  }
}

}  // namespace vmeventd::client
