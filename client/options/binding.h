#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/options/options.h"
#include "client/output/event_text.h"
#include "google/protobuf/generated_enum_reflection.h"

// Binds options to values with CLI11. A value that is wrong throws CLI11's error, with a sentence
// that names the option, the fault and the correct form; ParseCommandLine() catches it.

namespace vmeventd::client {

// Completes a time that has no date or no zone.
struct TimeBase {
  absl::Time now;
  absl::TimeZone zone;
};

// Receives the values of a command line. CLI11 takes the options of the program itself before those
// of its command, wherever they stand: --utc counts for a time before it.
struct Reading {
  OptionContext context;
  TimeBase times;  // with the zone of --utc
  CommandLine line;
  TlsOptions tls;
  std::string credentials;
  std::string nats_domain;
  int shell = 0;  // of `completion`: an index of ValuesOf("SHELL")
};

// Defines all commands and options, with their help, for `reading`, which must outlive `app`.
void Define(CLI::App* app, Reading* reading);

// Sets the servers or the fleet of the line: from the options, the environment and the contexts.
// Checks whether they fit the command. `app` was parsed.
void ReadServers(const CLI::App& app, Reading* reading);

// A named server or several, with their TLS files.
struct Context {
  std::string name;
  std::vector<std::string> servers;  // form of --server; at least one
  TlsOptions tls;                    // all empty: none
  std::string credentials;           // a file, for the NATS servers of a fleet; empty: none
  std::string nats_domain;           // domain of their JetStream; empty: their own
};
// The configuration file, whose files are relative to its directory:
//   current = "prod"
//   [contexts.prod]
//   servers = ["node1", "node2:9555"]    # or one text
//   tls-ca = "ca.pem"                    # and so on, with the names of the options
struct Contexts {
  std::string path;     // or that there is none
  std::string current;  // empty: none
  std::vector<Context> list;
};
// Reads the file of the context; nothing if there is no file.
Contexts ReadContexts(const OptionContext& context);

[[noreturn]] inline void Wrong(const std::string& sentence) {
  throw CLI::ValidationError(sentence);
}
inline void Check(const absl::Status& status) {
  if (!status.ok()) Wrong(std::string(status.message()));
}

// Digits alone, at least one.
bool IsNumber(absl::string_view text);

// The texts of an option or argument of a command, as typed; empty: it was not given.
std::vector<std::string> TextsOf(const CLI::App& app, const std::string& name);
std::string TextOf(const CLI::App& app, const std::string& name);
inline bool IsGiven(const CLI::App& app, const std::string& name) {
  return !TextsOf(app, name).empty();
}

// "a, b and c", of at least one word.
std::string JoinWords(const std::vector<std::string>& words, absl::string_view before_last);

// Checks a text for the server: not empty, and UTF-8, as the protocol requires.
const std::string& CheckWord(absl::string_view option, const std::string& text);

using Take = std::function<void(const std::string& text)>;

// Takes the last text of the option.
CLI::Option* AddOption(CLI::App* app, const char* names, const char* value_name, const char* help,
                       const Take& take);
// Takes each text of the option.
CLI::Option* AddList(CLI::App* app, const char* names, const char* value_name, const char* help,
                     const Take& take);
// Sets `word`, a text for the server as of CheckWord().
CLI::Option* AddWord(CLI::App* app, const char* names, const char* value_name, const char* help,
                     std::string* word);
// Adds a value that stands without an option's name.
CLI::Option* AddArgument(CLI::App* app, const char* name, const char* help, const Take& take);
// The same for one argument or several.
CLI::Option* AddArguments(CLI::App* app, const char* name, const char* help, const Take& take);
// Sets `value`.
CLI::Option* AddFlag(CLI::App* app, const char* names, const char* help, bool* flag,
                     bool value = true);
// Read the text of an option, whose names are `names`.
// Any text but the empty one.
void Read(absl::string_view names, const std::string& text, std::string* value);
// A whole number from 1 on.
void Read(absl::string_view names, const std::string& text, uint64_t* value);
// A duration.
void Read(absl::string_view names, const std::string& text, absl::Duration* value);
// The index of the text in ValuesOf() the option.
void Read(absl::string_view names, const std::string& text, int* index);
template <typename T>
void Read(absl::string_view names, const std::string& text, std::optional<T>* value) {
  Read(names, text, &value->emplace());
}
template <typename Enum>
void Read(absl::string_view names, const std::string& text, Enum* value) {
  int index = 0;
  Read(names, text, &index);
  *value = static_cast<Enum>(index);
}
template <typename T>
CLI::Option* AddValue(CLI::App* app, const char* names, const char* value_name, const char* help,
                      T* value) {
  return AddOption(app, names, value_name, help,
                   [=](const std::string& text) { Read(names, text, value); });
}
template <typename T>
CLI::Option* AddDuration(CLI::App* app, const char* names, const char* help, T* duration) {
  return AddValue(app, names, "DURATION", help, duration);
}
inline CLI::Option* AddFile(CLI::App* app, const char* names, const char* help, std::string* file) {
  return AddValue(app, names, "FILE", help, file);
}
// A certificate and its private key, which need each other.
void AddPair(CLI::App* app, const char* cert_name, const char* cert_help, const char* key_name,
             TlsOptions* tls);
CLI::Option* AddTime(CLI::App* app, const char* names, const char* help, const TimeBase* base,
                     std::optional<absl::Time>* time);
// The number of one of the enum's names; see ParseEnumName().
int ParseName(const google::protobuf::EnumDescriptor& names, const std::string& option,
              const std::string& word);
// Takes the parts between the commas of all texts, as values of the enum.
template <typename Enum>
void AddNamesOf(CLI::App* app, const char* option, const char* value_name, const char* help,
                const std::function<void(Enum)>& add) {
  AddList(app, option, value_name, help, [=](const std::string& text) {
    for (const std::string& word : std::vector<std::string>(absl::StrSplit(text, ','))) {
      add(static_cast<Enum>(ParseName(*google::protobuf::GetEnumDescriptor<Enum>(), option, word)));
    }
  });
}

// Options that select VMs or events, bound to a filter. A name may have commas: a text with some is
// a name and a list.
void AddVmName(std::string text, v1::EventFilter* filter);
void AddVm(CLI::App* app, v1::EventFilter* filter);
// Adds NAME as well.
void AddNames(CLI::App* app, v1::EventFilter* filter);
void AddRun(CLI::App* app, const char* help, v1::EventFilter* filter);
// Selects VMs by their sources, and by their runs and ends.
void AddEnds(CLI::App* app, v1::EventFilter* filter);
// Adds all of the filter but the names.
void AddFilter(CLI::App* app, v1::EventFilter* filter);

// --from, --journal and --since.
void AddStart(CLI::App* app, const char* from_help);
WatchStart ReadStart(const CLI::App& app, const TimeBase& base);

// The subcommand of that name or alias; null: there is none.
const CLI::App* FindCommand(const CLI::App& app, const std::string& word);

// The command that the shells' scripts run: its arguments are the words before the cursor, of which
// the last may be incomplete or empty.
inline constexpr char kCompleteCommand[] = "__complete";

// The option of the command, or else of the program; null: there is none.
const CLI::Option* FindOption(const CLI::App& app, const CLI::App& command,
                              const std::string& name);

// The arguments in this program's own words: "crashes" of the table of aliases becomes
// "events --type stopped --class crash --newest-first".
struct OwnWords {
  std::vector<std::string> words;
  const CLI::App* command;              // that they name; the program: none yet
  const CLI::Option* awaits = nullptr;  // the last of them, if its value is missing
};
OwnWords WithoutAliases(const CLI::App& app, const std::vector<std::string>& arguments);

// The script of a shell, which asks `vmevents __complete`; `shell` as of Reading.
const char* CompletionScript(int shell);

// The values of an option or an argument, as typed: "guest-down". `name` is that of the option, or
// the name that the help gives its value. Empty: any text.
std::vector<std::string> ValuesOf(const std::string& name);

// Candidates for the word at the cursor.
struct Completions {
  std::string lines;  // one candidate a line, a tab and its description after it
  // The command whose output lists them, such as the names of VMs; empty: `lines` has them.
  std::vector<std::string> command;
  bool contexts = false;  // the names of the configuration file's contexts
};

// Completes the last of the words. `app` has parsed nothing.
Completions Complete(const CLI::App& app, std::vector<std::string> words);

// Complete a complaint, as "; did you mean --since?" does: with this program's name for what
// kubectl, journalctl, virsh and docker call so, or with one that is spelled alike. Empty: nothing
// comes close. The first is for a word that `command` does not know, the second for a value that
// the option does not take.
std::string HintFor(const CLI::App& command, absl::string_view typed);
std::string HintForValue(const std::string& option, absl::string_view typed);

}  // namespace vmeventd::client
