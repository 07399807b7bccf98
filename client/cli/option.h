#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "google/protobuf/descriptor.h"

// Options and arguments of a command, by CLI11. A value that is wrong throws CLI11's error, with a
// sentence that names the option, the fault and the correct form; ParseCommandLine() catches it.
// The pointers outlive the CLI::App.

namespace vmeventd::client {

// As an option takes a value, CLI11 puts the option's name before the sentence.
[[noreturn]] inline void Wrong(const std::string& sentence) {
  throw CLI::ValidationError(sentence);
}

// The value, or else the error's sentence after "WHAT: ", or alone if `what` is empty.
template <typename T>
T Need(absl::StatusOr<T> value, absl::string_view what = "") {
  if (value.ok()) return *std::move(value);
  Wrong(absl::StrCat(what, what.empty() ? "" : ": ", value.status().message()));
}

// Checks a text: not empty, and UTF-8, as the protocol requires.
const std::string& CheckText(const std::string& text);

// Parse a text: one that is not empty, a number of events from 1 on, a duration.
void ReadText(const std::string& text, std::string* value);
void ReadText(const std::string& text, uint64_t* value);
void ReadText(const std::string& text, absl::Duration* value);
template <typename T>
void ReadText(const std::string& text, std::optional<T>* value) {
  ReadText(text, &value->emplace());
}

// The index of a text in ValuesOf(value_name).
int ReadChoice(const char* value_name, absl::string_view text);

using TakeText = std::function<void(const std::string& text)>;

// Adds an option, or an argument if `names` begins without "-". Takes each text, of which the last
// counts.
CLI::Option* AddOption(CLI::App* app, const std::string& names, const std::string& value_name,
                       const char* help, const TakeText& take);

// The same, where all texts count.
CLI::Option* AddList(CLI::App* app, const std::string& names, const std::string& value_name,
                     const char* help, const TakeText& take);

template <typename T>
CLI::Option* AddValue(CLI::App* app, const char* names, const char* value_name, const char* help,
                      T* value) {
  return AddOption(app, names, value_name, help,
                   [=](const std::string& text) { ReadText(text, value); });
}

CLI::Option* AddFile(CLI::App* app, const char* names, const char* help, std::string* file);

template <typename T>
CLI::Option* AddFlag(CLI::App* app, const char* names, const char* help, T* flag,
                     T value = T(true)) {
  return app->add_flag_callback(
      names, [=] { *flag = value; }, help);
}

template <typename Enum>
CLI::Option* AddChoice(CLI::App* app, const char* names, const char* value_name, const char* help,
                       Enum* choice) {
  return AddOption(app, names, value_name, help, [=](const std::string& text) {
    *choice = static_cast<Enum>(ReadChoice(value_name, text));
  });
}

// Adds a text, which `check` finds good: its error completes "TEXT ...".
CLI::Option* AddChecked(CLI::App* app, const char* names, const char* value_name, const char* help,
                        const std::function<absl::Status(absl::string_view)>& check,
                        std::string* value);

// A certificate and its private key, which need each other.
void AddPair(CLI::App* app, const char* cert_name, const char* cert_help, const char* key_name,
             TlsOptions* tls);

// Takes the parts between the commas of all texts, as values of the enum. `name` is that of the
// option and of its value.
void AddNamesOf(CLI::App* app, const std::string& name, const char* help,
                const google::protobuf::EnumDescriptor* names,
                const std::function<void(int value)>& add);

// A whole number from 1 on.
CLI::Validator UpTo(uint64_t max);

}  // namespace vmeventd::client
