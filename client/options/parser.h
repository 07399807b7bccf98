#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/options/options.h"
#include "client/sinks/sinks.h"

// The parser of the command line, by CLI11, and its parts.

namespace vmeventd::client {

// Servers and how to log in to them.
struct Access {
  std::vector<std::string> servers;  // form of --server; empty: the default address
  TlsOptions tls;                    // all empty: none
  std::string credentials;           // a file, for the NATS servers of a fleet; empty: none
  std::string nats_domain;           // domain of their JetStream; empty: their own
};
// Its options. A variable has the name of each, as VMEVENTS_TLS_CA, and a context's settings have.
inline constexpr absl::string_view kAccessOptions[] = {
    "--server",          "--tls-ca",      "--tls-cert",   "--tls-key",
    "--tls-server-name", "--credentials", "--nats-domain"};
// Texts that stand for options which are not given.
using Settings = std::map<std::string, std::vector<std::string>>;

// Receives the values of a command line. CLI11 takes the options of the program itself before those
// of its command, wherever they stand: --utc counts for a time before it.
struct Reading {
  OptionContext context;  // with the zone of --utc
  CommandLine line;
  Access access;
  std::string context_name;  // of --context
  int shell = 0;             // of `completion`: an index of ValuesOf("SHELL")
};

// Defines all commands and options, with their help, for `reading`, which must outlive `app`.
// `watch` and `push` have the options of these sinks: a program that parses alone needs none.
void Define(CLI::App* app, Reading* reading, const SinkTable& sinks);

// Sets the servers or the fleet of the line: from the options, the environment and the contexts.
// Checks whether they fit the command. `app` was parsed.
void ReadServers(CLI::App* app, Reading* reading);

// The configuration file, whose files are relative to its directory:
//   current = "prod"
//   [contexts.prod]
//   servers = ["node1", "node2:9555"]    # or one text
//   tls-ca = "ca.pem"                    # and so on, as in kAccessOptions
struct Contexts {
  std::string path;                                       // or that there is none
  std::string current;                                    // empty: none
  std::map<std::string, absl::StatusOr<Settings>> named;  // or what is wrong with the context
};
// Reads the file of the context; nothing if there is no file. What is wrong in one context is no
// fault of the others.
Contexts ReadContexts(const CLI::App& app, const OptionContext& context);

// Parses the arguments; throws CLI11's errors.
void Parse(CLI::App* app, std::vector<std::string> arguments);

// The form of the help, and what stands below the options.
std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter();

// The script of a shell, which asks `vmevents __complete`; `shell`: see Reading.
const char* CompletionScript(int shell);

// The command that the scripts run: its arguments are the words before the cursor, of which the
// last may be incomplete or empty.
inline constexpr char kCompleteCommand[] = "__complete";

// Completes the last of the words: a candidate a line, a tab and its description after it; or the
// command whose output lists the candidates, such as the names of VMs. `app` has parsed nothing.
std::variant<CommandLine, Answered> Complete(CLI::App* app, Reading* reading,
                                             std::vector<std::string> words);

// The commands of a command, or of the program, that its help shows.
std::vector<const CLI::App*> CommandsOf(const CLI::App& app);
// The names of its options.
std::vector<std::string> OptionsOf(const CLI::App& app);

// Completes a complaint about a word that `command` does not know, as "; did you mean --since?"
// does: with this program's name for what kubectl, journalctl, virsh and docker call so, or with
// one that is spelled alike. Empty: nothing comes close.
std::string HintFor(const CLI::App& command, absl::string_view typed);

}  // namespace vmeventd::client
