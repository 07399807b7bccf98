#include "client/options/servers.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxServers = 64;

// Origin of the servers, and their texts.
struct ServerChoice {
  std::string origin;              // completes "ORIGIN: ...", and "... from ORIGIN"
  std::vector<std::string> texts;  // empty: the default address
  std::optional<Context> context;
};

void ChooseServers(OptionReader* options, ServerChoice* choice) {
  const OptionContext& context = options->context();
  const bool named = options->Has("--context");
  const bool given = options->Has("--server");
  if (given) {
    *choice = {"--server", options->Texts("--server"), std::nullopt};
    if (!named) return;
  } else if (!named && !context.server_variable.empty()) {
    *choice = {"$VMEVENTS_SERVER", {context.server_variable}, std::nullopt};
    return;
  }
  const absl::StatusOr<Contexts> contexts = ReadContexts(context);
  if (!options->Check(contexts.status())) return;
  const std::string name = named ? options->Text("--context") : contexts->current;
  if (name.empty() && !named) return;
  const Context* found = contexts->Find(name);
  if (found == nullptr) {
    options->Check(NoSuchContext(name, *contexts, context));
    return;
  }
  // The option chooses among servers that have the context's TLS files, if both are given.
  choice->context = *found;
  if (given) return;
  choice->origin = absl::StrCat("context \"", name, "\"");
  choice->texts = found->servers;
}

// The NATS servers of a fleet: each text may name several.
void SetFleet(const ServerChoice& choice, OptionReader* options, CommandLine* line) {
  line->fleet.emplace();
  for (const std::string& text : choice.texts) {
    if (IsNatsUrl(text)) continue;
    options->Wrong(absl::StrCat(choice.origin, ": ", text,
                                " is no NATS server, and the others are; name one kind of them"));
  }
  const auto servers = ParseNatsServers(absl::StrJoin(choice.texts, ","));
  if (!servers.ok()) {
    return options->Wrong(absl::StrCat(choice.origin, ": ", servers.status().message()));
  }
  for (const NatsServerAddress& server : *servers) line->fleet->servers.push_back(server.ToUrl());
}

void SetServers(const ServerChoice& choice, OptionReader* options, CommandLine* line) {
  const OptionContext& context = options->context();
  if (std::any_of(choice.texts.begin(), choice.texts.end(), IsNatsUrl)) {
    return SetFleet(choice, options, line);
  }
  if (choice.texts.empty()) {
    line->servers = {DefaultServerAddress(context.uid, context.xdg_runtime_dir, context.may_exist)};
    return;
  }
  std::set<std::string> seen;
  const std::vector<std::string> texts = absl::StrSplit(absl::StrJoin(choice.texts, ","), ',');
  for (const std::string& text : texts) {
    const auto address = ParseServerAddress(text);
    if (!address.ok()) {
      options->Wrong(absl::StrCat(choice.origin, ": ", address.status().message()));
    } else if (seen.insert(ToText(*address)).second) {
      line->servers.push_back(*address);
    }
  }
  if (line->servers.size() > kMaxServers) {
    options->Wrong(absl::StrCat(choice.origin, ": ", line->servers.size(),
                                " servers are too many; name at most ", kMaxServers));
  }
}

void CheckTls(const TlsOptions& tls, const std::string& given, bool needs_ca,
              OptionReader* options) {
  if (tls.ca_file.empty() && needs_ca) {
    options->Wrong(
        absl::StrCat(given, ": TLS needs --tls-ca FILE, the CA of the server's certificate"));
  }
  if (tls.cert_file.empty() == tls.key_file.empty()) return;
  options->Wrong(tls.key_file.empty()
                     ? "--tls-cert: its private key is missing: give --tls-key FILE"
                     : "--tls-key: its certificate is missing: give --tls-cert FILE");
}

// Uses the options if any is given, else the context's files if there is a context, else the
// variables. A Unix socket ignores the latter two, which may be set for other servers.
void SetTls(const ServerChoice& choice, OptionReader* options, CommandLine* line) {
  std::string given;
  for (const char* option : {"--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name"}) {
    if (!options->TextWith(option, "").empty() && given.empty()) given = option;
  }
  for (const ServerAddress& server : line->servers) {
    if (given.empty() || !server.is_unix()) continue;
    options->Wrong(absl::StrCat(given, ": a Unix socket (", ToText(server),
                                ") has no TLS; name a server with --server HOST:PORT"));
  }
  const TlsOptions tls = !given.empty()   ? options->Tls()
                         : choice.context ? choice.context->tls
                                          : options->context().tls_variables;
  const bool any_tcp =
      line->fleet || std::any_of(line->servers.begin(), line->servers.end(),
                                 [](const ServerAddress& server) { return !server.is_unix(); });
  if (tls == TlsOptions() || !any_tcp) return;
  if (given.empty()) given = choice.context ? choice.origin : "$VMEVENTS_TLS_*";
  // The servers of a fleet may have certificates of the system's authorities.
  CheckTls(tls, given, !line->fleet, options);
  if (line->fleet) line->fleet->tls = tls;
  for (ServerAddress& server : line->servers) {
    if (!server.is_unix()) server.tls = tls;
  }
}

// The options for NATS servers. --credentials, else the context's file if there is a context, else
// the variable; --nats-domain, else the context's.
void SetFleetAccess(const ServerChoice& choice, OptionReader* options, CommandLine* line) {
  for (const char* option : {"--credentials", "--nats-domain"}) {
    options->TextWith(option, "");
    if (!options->Has(option) || line->fleet) continue;
    options->Wrong(
        absl::StrCat(option, ": only NATS servers take it; name some with --server nats://HOST"));
  }
  if (!line->fleet) return;
  const auto& context = choice.context;
  line->fleet->credentials = options->Has("--credentials") ? options->Text("--credentials")
                             : context                     ? context->credentials
                                       : options->context().credentials_variable;
  line->fleet->domain = options->Has("--nats-domain") ? options->Text("--nats-domain")
                        : context                     ? context->nats_domain
                                                      : "";
  if (line->fleet->domain.empty()) return;
  const absl::Status domain = CheckDomain(line->fleet->domain);
  if (domain.ok()) return;
  options->Wrong(absl::StrCat("--nats-domain: \"", line->fleet->domain, "\" ", domain.message()));
}

void CheckNoSequence(OptionReader* options, absl::string_view with) {
  const std::string from = options->Text("--from");
  if (from.empty() || !std::all_of(from.begin(), from.end(), absl::ascii_isdigit)) return;
  options->Wrong(absl::StrCat("--from: a sequence is of one node's journal; with ", with,
                              " use oldest, snapshot, a time, or --cursor-file"));
}

// Returns whether the command may ask several servers: those that may ask a fleet.
bool AsksSeveral(const OptionReader& options) { return options.Knows("--node"); }

// A context may name any number.
void CheckServerCount(const ServerChoice& choice, OptionReader* options, const CommandLine& line) {
  const std::string& name = options->command();
  if (line.servers.size() <= 1) return;
  if (AsksSeveral(*options)) return CheckNoSequence(options, "several servers");
  options->Wrong(absl::StrCat(choice.origin, ": ", name, " asks one server, and these are ",
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

void ReadServers(OptionReader* options, CommandLine* line) {
  ServerChoice choice;
  ChooseServers(options, &choice);
  SetServers(choice, options, line);
  SetTls(choice, options, line);
  SetFleetAccess(choice, options, line);
  CheckServerCount(choice, options, *line);
}

void ReadFleetOptions(OptionReader* options, CommandLine* line) {
  const std::string& name = options->command();
  if (!line->fleet) {
    if (name == "fleet") {
      options->Wrong("fleet: asks NATS servers; name them with --server nats://HOST[,HOST...]");
    } else if (options->Has("--node")) {
      options->Wrong(
          "--node: chooses nodes of a fleet; name its servers with --server nats://HOST");
    }
    return;
  }
  if (!AsksSeveral(*options)) {
    options->Wrong(absl::StrCat(name, " asks one vmeventd, and ", ToText(*line->fleet),
                                " has the stream of many; name one node with --server HOST"));
  }
  line->nodes = options->Texts("--node");
  if (std::find(line->nodes.begin(), line->nodes.end(), "") != line->nodes.end()) {
    options->Wrong("--node: the text is empty; give one");
  }
  if (options->Has("--journal")) {
    options->Wrong("--journal: names the journal of one node; a fleet's stream has all of them");
  }
  CheckNoSequence(options, "a fleet");
}

}  // namespace vmeventd::client
