#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/tls_options.h"
#include "google/protobuf/descriptor.h"

// Adds options and arguments to a command of CLI11. A wrong value throws an OptionError, which
// ParseCommandLine() and ParseQuery() catch. The objects behind pointers must outlive the CLI::App.

namespace vmeventd::client {

// A wrong value, or options that do not fit each other.
struct OptionError : CLI::ParseError {
  OptionError(std::string of_option, const std::string& why)
      : CLI::ParseError("OptionError", why, CLI::ExitCodes::ValidationError),
        option(std::move(of_option)),
        sentence(why) {}

  // Name of the faulty part: the option "--since", the argument "NAME", the command "push", or the
  // origin of the value, such as "$VMEVENTS_SERVER". Empty: `sentence` names it.
  std::string option;
  std::string sentence;  // the fault and the correct form
};

// Throws an OptionError. While an option parses its value, `option` may be left out.
[[noreturn]] inline void Wrong(const std::string& sentence, const std::string& option = "") {
  throw OptionError(option, sentence);
}

// Returns the value. An error is thrown with its sentence; `option`: see Wrong().
template <typename T>
T Need(absl::StatusOr<T> value, const std::string& option = "") {
  if (value.ok()) return *std::move(value);
  Wrong(std::string(value.status().message()), option);
}

// Checks that a text is not empty, and is UTF-8, as the protocol requires. Returns it.
const std::string& CheckText(const std::string& text);

// Parse a text as: text that is not empty; a number of events, at least 1; a duration.
void ReadText(const std::string& text, std::string* value);
void ReadText(const std::string& text, uint64_t* value);
void ReadText(const std::string& text, absl::Duration* value);
template <typename T>
void ReadText(const std::string& text, std::optional<T>* value) {
  ReadText(text, &value->emplace());
}

// Parses a whole number from 1 to `max`.
uint64_t ReadNumber(const std::string& text, uint64_t max);

// Returns the index of a text in ValuesOf(value_name).
int ReadChoice(const char* value_name, absl::string_view text);

using TakeText = std::function<void(const std::string& text)>;

// Adds an option, or an argument if `names` does not begin with "-". `take` gets the option's text;
// if the option is repeated, the last text counts.
CLI::Option* AddOption(CLI::App* app, const std::string& names, const std::string& value_name,
                       const char* help, const TakeText& take);

// Like AddOption(), but all texts of a repeated option count.
CLI::Option* AddList(CLI::App* app, const std::string& names, const std::string& value_name,
                     const char* help, const TakeText& take);

template <typename T>
CLI::Option* AddValue(CLI::App* app, const char* names, const char* value_name, const char* help,
                      T* value) {
  return AddOption(app, names, value_name, help,
                   [=](const std::string& text) { ReadText(text, value); });
}

// Adds an option with a whole number from 1 to `max`.
template <typename T>
CLI::Option* AddNumber(CLI::App* app, const char* names, const char* help, uint64_t max, T* value) {
  return AddOption(app, names, "N", help,
                   [=](const std::string& text) { *value = ReadNumber(text, max); });
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

// Adds an option with a text that `check` must accept. Its error completes "TEXT ...".
CLI::Option* AddChecked(CLI::App* app, const char* names, const char* value_name, const char* help,
                        const std::function<absl::Status(absl::string_view)>& check,
                        std::string* value);

// Adds the options of a certificate and its private key. Each requires the other.
void AddPair(CLI::App* app, const char* cert_name, const char* cert_help, const char* key_name,
             TlsOptions* tls);

// Adds an option that is a comma-separated list of the enum's values, and may be repeated. `name`
// is the name of the option and of its value.
void AddNamesOf(CLI::App* app, const std::string& name, const char* help,
                const google::protobuf::EnumDescriptor* names,
                const std::function<void(int value)>& add);

}  // namespace vmeventd::client
