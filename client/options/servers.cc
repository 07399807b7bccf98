#include "client/options/servers.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/server_address.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMostServers = 64;

// Where the servers come from, and their texts.
struct ServerChoice {
  std::string origin;              // completes "ORIGIN: ...", and "... from ORIGIN"
  std::vector<std::string> texts;  // empty: the default address
  std::optional<Context> context;
};

absl::StatusOr<ServerChoice> ChooseServers(const CLI::App& app, const RawOptions& raw,
                                           const OptionContext& context) {
  const bool named = app.count("--context") > 0;
  const bool given = app.count("--server") > 0;
  if (!named && given) return ServerChoice{"--server", raw.servers, std::nullopt};
  if (!named && !context.server_variable.empty()) {
    return ServerChoice{"$VMEVENTS_SERVER", {context.server_variable}, std::nullopt};
  }
  const absl::StatusOr<Contexts> contexts = ReadContexts(context);
  if (!contexts.ok()) return contexts.status();
  const std::string name = named ? raw.context : contexts->current;
  if (name.empty() && !named) return ServerChoice{};
  const Context* found = contexts->Find(name);
  if (found == nullptr) return NoSuchContext(name, *contexts, context);
  // With both, the option chooses among servers that have the context's TLS files.
  if (given) return ServerChoice{"--server", raw.servers, *found};
  return ServerChoice{absl::StrCat("context \"", name, "\""), found->servers, *found};
}

// The NATS servers of a fleet: each text may name several.
absl::Status SetFleet(const ServerChoice& choice, CommandLine* line) {
  for (const std::string& text : choice.texts) {
    if (IsFleetText(text)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(choice.origin, ": ", text,
                     " is no NATS server, and the others are; name one kind of them"));
  }
  const auto servers = ParseNatsServers(absl::StrJoin(choice.texts, ","));
  if (!servers.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(choice.origin, ": ", servers.status().message()));
  }
  line->fleet.emplace();
  for (const NatsServerAddress& server : *servers) {
    line->fleet->servers.push_back(server.ToUrl());
  }
  return absl::OkStatus();
}

absl::Status SetServers(const ServerChoice& choice, const OptionContext& context,
                        CommandLine* line) {
  if (std::any_of(choice.texts.begin(), choice.texts.end(), IsFleetText)) {
    return SetFleet(choice, line);
  }
  if (choice.texts.empty()) {
    line->servers = {DefaultServerAddress(context.uid, context.xdg_runtime_dir, context.may_exist)};
    return absl::OkStatus();
  }
  std::set<std::string> seen;
  const std::vector<std::string> texts = absl::StrSplit(absl::StrJoin(choice.texts, ","), ',');
  for (const std::string& text : texts) {
    const auto address = ParseServerAddress(text);
    if (!address.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(choice.origin, ": ", address.status().message()));
    }
    if (seen.insert(ToText(*address)).second) line->servers.push_back(*address);
  }
  if (line->servers.size() > kMostServers) {
    return absl::InvalidArgumentError(absl::StrCat(choice.origin, ": ", line->servers.size(),
                                                   " servers are too many; name at most ",
                                                   kMostServers));
  }
  return absl::OkStatus();
}

absl::Status CheckTls(const TlsOptions& tls, const std::string& given, bool needs_ca) {
  if (tls.ca_file.empty() && needs_ca) {
    return absl::InvalidArgumentError(
        absl::StrCat(given, ": TLS needs --tls-ca FILE, the CA of the server's certificate"));
  }
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    return absl::InvalidArgumentError(
        tls.key_file.empty() ? "--tls-cert: its private key is missing: give --tls-key FILE"
                             : "--tls-key: its certificate is missing: give --tls-cert FILE");
  }
  return absl::OkStatus();
}

// Uses the options if any is given, else the context's files if there is a context, else the
// variables. A Unix socket ignores the latter two, which may be set for other servers.
absl::Status SetTls(const CLI::App& app, const RawOptions& raw, const OptionContext& context,
                    const ServerChoice& choice, CommandLine* line) {
  std::string given;
  for (const char* option : {"--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name"}) {
    if (app.count(option) == 0) continue;
    if (app.get_option(option)->as<std::string>().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(option, ": the text is empty"));
    }
    if (given.empty()) given = option;
  }
  for (ServerAddress& server : line->servers) {
    if (given.empty() || !server.is_unix()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(given, ": a Unix socket (", ToText(server),
                     ") has no TLS; name a server with --server HOST:PORT"));
  }
  const TlsOptions& tls = !given.empty()   ? raw.tls
                          : choice.context ? choice.context->tls
                                           : context.tls_variables;
  const bool any = !tls.ca_file.empty() || !tls.cert_file.empty() || !tls.key_file.empty() ||
                   !tls.server_name.empty();
  // The servers of a fleet may have certificates of the system's authorities.
  const bool any_tcp =
      line->fleet || std::any_of(line->servers.begin(), line->servers.end(),
                                 [](const ServerAddress& server) { return !server.is_unix(); });
  if (!any || !any_tcp) return absl::OkStatus();
  if (given.empty()) given = choice.context ? choice.origin : "$VMEVENTS_TLS_*";
  // The servers of a fleet may have certificates of the system's authorities.
  if (absl::Status status = CheckTls(tls, given, !line->fleet); !status.ok()) return status;
  if (line->fleet) line->fleet->tls = tls;
  for (ServerAddress& server : line->servers) {
    if (!server.is_unix()) server.tls = tls;
  }
  return absl::OkStatus();
}

// The options for NATS servers. --credentials, else the context's file if there is a context, else
// the variable; --nats-domain, else the context's.
absl::Status SetFleetOptions(const CLI::App& app, const RawOptions& raw,
                             const OptionContext& context, const ServerChoice& choice,
                             CommandLine* line) {
  const std::pair<const char*, const std::string&> options[] = {{"--credentials", raw.credentials},
                                                                {"--nats-domain", raw.nats_domain}};
  for (const auto& [option, text] : options) {
    if (app.count(option) == 0) continue;
    if (text.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(option, ": the text is empty"));
    }
    if (!line->fleet) {
      return absl::InvalidArgumentError(
          absl::StrCat(option, ": only NATS servers take it; name some with --server nats://HOST"));
    }
  }
  if (!line->fleet) return absl::OkStatus();
  line->fleet->credentials = !raw.credentials.empty() ? raw.credentials
                             : choice.context         ? choice.context->credentials
                                                      : context.credentials_variable;
  if (!raw.nats_domain.empty()) {
    line->fleet->domain = raw.nats_domain;
  } else if (choice.context) {
    line->fleet->domain = choice.context->nats_domain;
  }
  if (line->fleet->domain.empty()) return absl::OkStatus();
  absl::Status status = CheckDomain(line->fleet->domain);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(
      absl::StrCat("--nats-domain: \"", line->fleet->domain, "\" ", status.message()));
}

absl::Status CheckNoSequence(const RawOptions& raw, absl::string_view with) {
  const bool sequence =
      !raw.from.empty() && std::all_of(raw.from.begin(), raw.from.end(), absl::ascii_isdigit);
  if (!sequence) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--from: a sequence is of one node's journal; with ", with,
                   " use oldest, snapshot, a time, or --cursor-file"));
}

// Only these commands merge what several servers answer; a context may name any number.
absl::Status CheckServerCount(const CLI::App& command, const RawOptions& raw,
                              const ServerChoice& choice, const CommandLine& line) {
  const std::string& name = command.get_name();
  if (line.servers.size() <= 1 || name == "context") return absl::OkStatus();
  if (name == "watch" || name == "push" || name == "events" || name == "vms" || name == "vm") {
    return CheckNoSequence(raw, "several servers");
  }
  return absl::InvalidArgumentError(absl::StrCat(choice.origin, ": ", name,
                                                 " asks one server, and these are ",
                                                 line.servers.size(), "; name one with --server"));
}

}  // namespace

absl::StatusOr<Contexts> ReadContexts(const OptionContext& context) {
  if (context.config_path.empty() || context.read_config == nullptr) return Contexts{};
  const absl::StatusOr<std::string> content = context.read_config(context.config_path);
  const bool missing =
      absl::IsNotFound(content.status()) || absl::IsPermissionDenied(content.status());
  if (missing && !context.config_required) return Contexts{};
  if (!content.ok()) return content.status();
  return ParseContexts(*content, context.config_path);
}

absl::Status NoSuchContext(absl::string_view name, const Contexts& contexts,
                           const OptionContext& context) {
  const auto name_of = [](std::string* out, const Context& one) { absl::StrAppend(out, one.name); };
  const std::string known =
      contexts.list.empty()
          ? absl::StrCat(
                context.config_path.empty() ? "no configuration file" : context.config_path,
                " has none")
          : absl::StrCat("the contexts are ", absl::StrJoin(contexts.list, ", ", name_of));
  return absl::InvalidArgumentError(absl::StrCat("there is no context \"", name, "\"; ", known));
}

absl::Status ConvertServers(const CLI::App& app, const RawOptions& raw,
                            const OptionContext& context, CommandLine* line) {
  const absl::StatusOr<ServerChoice> choice = ChooseServers(app, raw, context);
  if (!choice.ok()) return choice.status();
  absl::Status status = SetServers(*choice, context, line);
  if (status.ok()) status = SetTls(app, raw, context, *choice, line);
  if (status.ok()) status = SetFleetOptions(app, raw, context, *choice, line);
  if (!status.ok()) return status;
  return CheckServerCount(*app.get_subcommands().front(), raw, *choice, *line);
}

absl::Status ConvertOwnServer(const CLI::App& app, const RawOptions& raw,
                              const OptionContext& context, CommandLine* line) {
  ServerChoice choice;
  if (app.count("--server") > 0) choice = {"--server", raw.servers, std::nullopt};
  absl::Status status = SetServers(choice, context, line);
  if (!status.ok()) return status;
  if (line->fleet || line->servers.size() > 1 || !line->server().is_unix()) {
    return absl::InvalidArgumentError(
        "--server: doctor looks at this node; leave it out, or name its unix:PATH");
  }
  return absl::OkStatus();
}

absl::Status CheckFleetOptions(const CLI::App& command, const RawOptions& raw, CommandLine* line) {
  static constexpr std::array kOfFleets = {"watch", "push", "events", "vms", "vm", "fleet"};
  const std::string& name = command.get_name();
  if (!line->fleet) {
    if (name == "fleet") {
      return absl::InvalidArgumentError(
          "fleet: asks NATS servers; name them with --server nats://HOST[,HOST...]");
    }
    if (raw.nodes.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "--node: chooses nodes of a fleet; name its servers with --server nats://HOST");
  }
  if (std::find(kOfFleets.begin(), kOfFleets.end(), name) == kOfFleets.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " asks one vmeventd, and ", ToText(*line->fleet),
                     " has the stream of many; name one node with --server HOST"));
  }
  for (const std::string& node : raw.nodes) {
    if (node.empty()) return absl::InvalidArgumentError("--node: the text is empty; give one");
  }
  line->nodes = raw.nodes;
  if ((name == "watch" || name == "push") && command.count("--journal") > 0) {
    return absl::InvalidArgumentError(
        "--journal: names the journal of one node; a fleet's stream has all of them");
  }
  return CheckNoSequence(raw, "a fleet");
}

}  // namespace vmeventd::client
