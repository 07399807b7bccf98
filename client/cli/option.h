#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/cli/option_text.h"
#include "client/connect/tls_options.h"
#include "google/protobuf/descriptor.h"

// Adds options and arguments to a command of CLI11. A wrong value throws an OptionError. The
// objects behind pointers must outlive the CLI::App.

namespace vmeventd::client {

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
