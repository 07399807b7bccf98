#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/nats/nats.h"
#include "client/options/binding.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxServers = 64;

// Origin of the servers, and their texts.
struct ServerChoice {
  std::string origin;              // completes "ORIGIN: ...", and "... from ORIGIN"
  std::vector<std::string> texts;  // empty: the default address
  std::optional<Context> context;
};

std::string NoSuchContext(absl::string_view name, const Contexts& contexts) {
  const std::string known =
      absl::StrJoin(contexts.list, ", ",
                    [](std::string* out, const Context& one) { absl::StrAppend(out, one.name); });
  return absl::StrCat("there is no context \"", name, "\"; ",
                      known.empty() ? absl::StrCat(contexts.path, " has none")
                                    : absl::StrCat("the contexts are ", known));
}

ServerChoice ChooseServers(const CLI::App& app, const OptionContext& context) {
  ServerChoice choice;
  const bool named = IsGiven(app, "--context");
  const bool given = IsGiven(app, "--server");
  if (given) {
    choice = {"--server", TextsOf(app, "--server"), std::nullopt};
    if (!named) return choice;
  } else if (std::string text = context.variable("VMEVENTS_SERVER"); !named && !text.empty()) {
    return {"$VMEVENTS_SERVER", {std::move(text)}, std::nullopt};
  }
  const Contexts contexts = ReadContexts(context);
  const std::string name = named ? TextOf(app, "--context") : contexts.current;
  if (name.empty() && !named) return choice;
  for (const Context& one : contexts.list) {
    if (one.name == name) choice.context = one;
  }
  if (!choice.context) Wrong(NoSuchContext(name, contexts));
  // The option chooses among servers that have the context's TLS files, if both are given.
  if (given) return choice;
  choice.origin = absl::StrCat("context \"", name, "\"");
  choice.texts = choice.context->servers;
  return choice;
}

// The NATS servers of a fleet: each text may name several.
void SetFleet(const ServerChoice& choice, CommandLine* line) {
  line->fleet.emplace();
  for (const std::string& text : choice.texts) {
    if (IsNatsUrl(text)) continue;
    Wrong(absl::StrCat(choice.origin, ": ", text,
                       " is not a NATS server, but the others are; name servers of one kind"));
  }
  const auto servers = ParseNatsServers(absl::StrJoin(choice.texts, ","));
  if (!servers.ok()) Wrong(absl::StrCat(choice.origin, ": ", servers.status().message()));
  for (const ServerAddress& server : *servers) line->fleet->servers.push_back(NatsUrl(server));
}

void SetServers(const ServerChoice& choice, const OptionContext& context, CommandLine* line) {
  if (std::any_of(choice.texts.begin(), choice.texts.end(), IsNatsUrl)) {
    return SetFleet(choice, line);
  }
  if (choice.texts.empty()) {
    line->servers = {
        DefaultServerAddress(context.uid, context.variable("XDG_RUNTIME_DIR"), context.may_exist)};
    return;
  }
  std::set<std::string> seen;
  const std::vector<std::string> texts = absl::StrSplit(absl::StrJoin(choice.texts, ","), ',');
  for (const std::string& text : texts) {
    const auto address = ParseServerAddress(text);
    if (!address.ok()) Wrong(absl::StrCat(choice.origin, ": ", address.status().message()));
    if (seen.insert(ToText(*address)).second) line->servers.push_back(*address);
  }
  if (line->servers.size() > kMaxServers) {
    Wrong(absl::StrCat(choice.origin, ": ", line->servers.size(),
                       " servers are too many; name at most ", kMaxServers));
  }
}

// Uses the options if any is given, else the context's files if there is a context, else the
// variables. A Unix socket ignores the latter two, which may be set for other servers.
void SetTls(const CLI::App& app, const ServerChoice& choice, const Reading& reading,
            CommandLine* line) {
  std::string given;
  for (const char* option : {"--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name"}) {
    if (given.empty() && IsGiven(app, option)) given = option;
  }
  for (const ServerAddress& server : line->servers) {
    if (given.empty() || !server.is_unix()) continue;
    Wrong(absl::StrCat(given, ": a Unix socket (", ToText(server),
                       ") has no TLS; name a server with --server HOST:PORT"));
  }
  const auto& variable = reading.context.variable;
  const TlsOptions tls =
      !given.empty() ? reading.tls
      : choice.context
          ? choice.context->tls
          : TlsOptions{variable("VMEVENTS_TLS_CA"), variable("VMEVENTS_TLS_CERT"),
                       variable("VMEVENTS_TLS_KEY"), variable("VMEVENTS_TLS_SERVER_NAME")};
  const bool any_tcp =
      line->fleet || std::any_of(line->servers.begin(), line->servers.end(),
                                 [](const ServerAddress& server) { return !server.is_unix(); });
  if (tls == TlsOptions() || !any_tcp) return;
  if (given.empty()) given = choice.context ? choice.origin : "$VMEVENTS_TLS_*";
  // The servers of a fleet may have certificates of the system's authorities.
  if (tls.ca_file.empty() && !line->fleet) {
    Wrong(absl::StrCat(given, ": TLS needs --tls-ca FILE, the CA of the server's certificate"));
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

// The options for NATS servers. --credentials, else the context's file if there is a context, else
// the variable; --nats-domain, else the context's.
void SetFleetAccess(const CLI::App& app, const ServerChoice& choice, const Reading& reading,
                    CommandLine* line) {
  for (const char* option : {"--credentials", "--nats-domain"}) {
    if (!IsGiven(app, option) || line->fleet) continue;
    Wrong(absl::StrCat(option, ": only NATS servers take it; name some with --server nats://HOST"));
  }
  if (!line->fleet) return;
  const auto& context = choice.context;
  line->fleet->credentials = !reading.credentials.empty() ? reading.credentials
                             : context                    ? context->credentials
                                       : reading.context.variable("VMEVENTS_CREDENTIALS");
  line->fleet->domain = !reading.nats_domain.empty() ? reading.nats_domain
                        : context                    ? context->nats_domain
                                                     : "";
  if (line->fleet->domain.empty()) return;
  const absl::Status domain = CheckDomain(line->fleet->domain);
  if (domain.ok()) return;
  Wrong(absl::StrCat("--nats-domain: \"", line->fleet->domain, "\" ", domain.message()));
}

void CheckNoSequence(const CLI::App& command, absl::string_view with) {
  if (!IsNumber(TextOf(command, "--from"))) return;
  Wrong(absl::StrCat("--from: a sequence is of one node's journal; with ", with,
                     " use oldest, snapshot, a time, or --cursor-file"));
}

// Checks whether the command and the kind of servers fit each other.
void CheckServers(const CLI::App& command, const ServerChoice& choice, const CommandLine& line) {
  const std::string& name = command.get_name();
  // Those that may ask a fleet may ask several servers, and so may `status NAME`.
  const bool asks_several = command.get_option_no_throw("--node") != nullptr ||
                            std::holds_alternative<WhyCommand>(line.command);
  if (!line.fleet) {
    if (name == "fleet") {
      Wrong("fleet: asks NATS servers; name them with --server nats://HOST[,HOST...]");
    }
    if (!line.nodes.empty()) {
      Wrong("--node: chooses nodes of a fleet; name its servers with --server nats://HOST");
    }
    if (line.servers.size() <= 1) return;
    // A context may name any number.
    if (!asks_several) {
      const std::string context =
          choice.context ? absl::StrCat("--context ", QuoteForShell(choice.context->name), " ")
                         : "";
      Wrong(absl::StrCat(choice.origin, ": ", name, " asks one server, and these are ",
                         line.servers.size(), "; name one, as with ", context, "--server ",
                         QuoteForShell(NodeName(line.servers[0]))));
    }
    return CheckNoSequence(command, "several servers");
  }
  if (!asks_several) {
    Wrong(absl::StrCat(name, " asks one vmeventd, and ", ToText(*line.fleet),
                       " has the stream of many; name one node with --server HOST"));
  }
  if (IsGiven(command, "--journal")) {
    Wrong("--journal: names the journal of one node; a fleet's stream has all of them");
  }
  CheckNoSequence(command, "a fleet");
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
  const ServerChoice choice = ChooseServers(app, reading->context);
  if (!IsGiven(app, "--server")) line->origin = choice.origin;
  SetServers(choice, reading->context, line);
  SetTls(app, choice, *reading, line);
  SetFleetAccess(app, choice, *reading, line);
  CheckServers(*app.get_subcommands().front(), choice, *line);
  if (push != nullptr && push->follow.watch.durable_only &&
      (line->fleet || line->servers.size() != 1)) {
    Wrong("push: nats:// gets the events of one node; name its vmeventd with --server");
  }
}

}  // namespace vmeventd::client
