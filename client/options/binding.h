#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/options/options.h"
#include "client/output/event_text.h"
#include "google/protobuf/descriptor.h"

// Binds options to values with CLI11. A value that is wrong throws CLI11's error, with a sentence
// that names the option, the fault and the correct form; ParseCommandLine() catches it.

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
void Define(CLI::App* app, Reading* reading);

// Sets the servers or the fleet of the line: from the options, the environment and the contexts.
// Checks whether they fit the command. `app` was parsed.
void ReadServers(CLI::App* app, Reading* reading);

// The configuration file, whose files are relative to its directory:
//   current = "prod"
//   [contexts.prod]
//   servers = ["node1", "node2:9555"]    # or one text
//   tls-ca = "ca.pem"                    # and so on, as in kAccessOptions
struct Contexts {
  std::string path;     // or that there is none
  std::string current;  // empty: none
  std::map<std::string, Settings> named;
};
// Reads the file of the context; nothing if there is no file.
Contexts ReadContexts(const CLI::App& app, const OptionContext& context);

// Within a Take the sentence follows the option's name.
[[noreturn]] inline void Wrong(const std::string& sentence) {
  throw CLI::ValidationError(sentence);
}

// The value, or else the error's sentence after "WHAT: ", or alone if `what` is empty.
template <typename T>
T Need(absl::StatusOr<T> value, absl::string_view what = "") {
  if (value.ok()) return *std::move(value);
  Wrong(absl::StrCat(what, what.empty() ? "" : ": ", value.status().message()));
}

// Parses the arguments; throws CLI11's errors.
void Parse(CLI::App* app, std::vector<std::string> arguments);

// Checks a text: not empty, and UTF-8, as the protocol requires.
const std::string& CheckText(const std::string& text);

using Take = std::function<void(const std::string& text)>;

// Adds an option, or an argument if `names` begins without "-". Takes the last text.
CLI::Option* AddOption(CLI::App* app, const std::string& names, const char* value_name,
                       const char* help, const Take& take);
// Takes each text.
CLI::Option* AddList(CLI::App* app, const std::string& names, const char* value_name,
                     const char* help, const Take& take);
// Read a text as of CheckText(); a whole number from 1 on; a duration.
void ReadText(const std::string& text, std::string* value);
void ReadText(const std::string& text, uint64_t* value);
void ReadText(const std::string& text, absl::Duration* value);
template <typename T>
void ReadText(const std::string& text, std::optional<T>* value) {
  ReadText(text, &value->emplace());
}
template <typename T>
CLI::Option* AddValue(CLI::App* app, const std::string& names, const char* value_name,
                      const char* help, T* value) {
  return AddOption(app, names, value_name, help,
                   [=](const std::string& text) { ReadText(text, value); });
}
inline CLI::Option* AddFile(CLI::App* app, const char* names, const char* help, std::string* file) {
  return AddValue(app, names, "FILE", help, file);
}
template <typename T>
CLI::Option* AddFlag(CLI::App* app, const char* names, const char* help, T* flag,
                     T value = T(true)) {
  return app->add_flag_callback(
      names, [=] { *flag = value; }, help);
}
// The index of a text in ValuesOf(value_name).
int ReadChoice(const char* value_name, absl::string_view text);
template <typename Enum>
CLI::Option* AddChoice(CLI::App* app, const char* names, const char* value_name, const char* help,
                       Enum* choice) {
  return AddOption(app, names, value_name, help, [=](const std::string& text) {
    *choice = static_cast<Enum>(ReadChoice(value_name, text));
  });
}
// A certificate and its private key, which need each other.
void AddPair(CLI::App* app, const char* cert_name, const char* cert_help, const char* key_name,
             TlsOptions* tls);
// `context` completes a time that has no date or no zone.
CLI::Option* AddTime(CLI::App* app, const char* names, const char* help,
                     const OptionContext* context, std::optional<absl::Time>* time);
// Takes the parts between the commas of all texts, as values of the enum.
void AddNamesOf(CLI::App* app, const char* option, const char* value_name, const char* help,
                const google::protobuf::EnumDescriptor* names,
                const std::function<void(int value)>& add);

// Options that select VMs or events, bound to a filter. A name may have commas: a text of --vm with
// some is a name and a list.
void AddVmName(std::string text, v1::EventFilter* filter);
void AddVm(CLI::App* app, v1::EventFilter* filter);
// Adds NAME as well.
void AddNames(CLI::App* app, v1::EventFilter* filter);
void AddRun(CLI::App* app, v1::EventFilter* filter);
// Selects VMs by their sources, and by their runs and ends.
void AddEnds(CLI::App* app, v1::EventFilter* filter);
// Adds all of the filter but the names.
void AddFilter(CLI::App* app, v1::EventFilter* filter);
// --from, --journal and --since.
void AddStart(CLI::App* app, const char* from_help, const OptionContext* context,
              WatchStart* start);

// The values of an option or an argument, as typed: "guest-down". `value_name` is the name that the
// help gives the value. Empty: any text.
std::vector<std::string> ValuesOf(const std::string& value_name);

// The script of a shell, which asks `vmevents __complete`; `shell` as of Reading.
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

// Complete a complaint, as "; did you mean --since?" does: with this program's name for what
// kubectl, journalctl, virsh and docker call so, or with one that is spelled alike. Empty: nothing
// comes close. The first is for a word that `command` does not know, the second for a value that
// an option does not take.
std::string HintFor(const CLI::App& command, absl::string_view typed);
std::string HintForValue(const std::string& value_name, absl::string_view typed);

}  // namespace vmeventd::client
