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

// The servers, and how to log in to them.
struct Access {
  std::vector<std::string> servers;  // each in the form of --server; empty: the default address
  TlsOptions tls;                    // all empty: none
  std::string credentials;  // credentials file for the NATS servers of a fleet; empty: none
  std::string nats_domain;  // domain of the servers' JetStream; empty: their own
};
// The options for Access. For each of them there is an environment variable, such as
// VMEVENTS_TLS_CA, and a setting of a context, with the same name.
inline constexpr absl::string_view kAccessOptions[] = {
    "--server",          "--tls-ca",      "--tls-cert",   "--tls-key",
    "--tls-server-name", "--credentials", "--nats-domain"};
// Values for options that are not given, keyed by the option.
using Settings = std::map<std::string, std::vector<std::string>>;

// Receives the values of a command line. CLI11 handles the options of the program itself before
// those of its command, wherever they stand, so that --utc also applies to a time that stands
// before it.
struct Reading {
  OptionContext context;  // its zone is UTC after --utc
  CommandLine line;
  Access access;
  std::string context_name;  // value of --context
  int shell = 0;             // argument of `completion`, as an index of ValuesOf("SHELL")
};

// Defines all commands and options, with their help. They write to `reading`, which must outlive
// `app`, as must `sinks`, whose options `watch` and `push` get.
void Define(CLI::App* app, Reading* reading, const SinkTable& sinks);

// Checks whether the command, the kind of its servers and their number fit each other. `origin` is
// the option, variable or context that named the servers.
void CheckServers(const CLI::App& command, const CommandLine& line, absl::string_view origin);

// Sets the servers or the fleet of the line, from the options, the environment and the contexts.
// Checks whether they fit the command. Call it after Parse().
void ReadServers(CLI::App* app, Reading* reading);

// The configuration file. Paths in it are relative to its directory:
//   current = "prod"
//   [contexts.prod]
//   servers = ["node1", "node2:9555"]    # or one text
//   tls-ca = "ca.pem"                    # and so on, as in kAccessOptions
struct Contexts {
  std::string path;     // path of the file, or a text that there is none
  std::string current;  // empty: none
  // By name; an error: what is wrong with the context.
  std::map<std::string, absl::StatusOr<Settings>> named;
};
// Reads the configuration file that `context` names; without a file the result is empty. Throws if
// $VMEVENTS_CONFIG names a missing file. A fault in one context does not affect the others.
Contexts ReadContexts(const CLI::App& app, const OptionContext& context);

// Parses the arguments; throws CLI11's errors and OptionErrors.
void Parse(CLI::App* app, std::vector<std::string> arguments);

// Formats the help, and the text below the options.
std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter();

// The completion script of a shell, which calls `vmevents __complete`; `shell`: see Reading.
const char* CompletionScript(int shell);

// The command that the scripts run. Its arguments are the words before the cursor; the last one may
// be incomplete or empty.
inline constexpr char kCompleteCommand[] = "__complete";

// Completes the last of the words. Returns one line for each candidate, with a tab and its
// description; or the command whose output lists the candidates, such as the names of VMs. `app`
// must not have parsed anything.
std::variant<CommandLine, Answered> Complete(CLI::App* app, Reading* reading,
                                             std::vector<std::string> words);

// The subcommands of a command, or of the program, that its help shows.
std::vector<const CLI::App*> CommandsOf(const CLI::App& app);
// The names of a command's options.
std::vector<std::string> OptionsOf(const CLI::App& app);

// Completes the error about a word that `command` does not know, such as "; did you mean --since?".
// Proposes this program's name for a word of kubectl, journalctl, virsh or docker, or a name with a
// similar spelling. Empty: no name is similar.
std::string HintFor(const CLI::App& command, absl::string_view typed);

}  // namespace vmeventd::client
