#include "client/options/contexts.h"

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/spelling.h"

// toml++ returns errors as values.
#define TOML_EXCEPTIONS 0
#include "client/cli/option_error.h"
#include "client/options/access.h"
#include "client/options/option_context.h"
#include "toml++/toml.h"

namespace vmeventd::client {
namespace {

std::string SettingText(absl::string_view key, const toml::node& value) {
  std::string text = value.value_or(std::string());
  if (!value.is_string() || text.empty()) {
    Wrong(absl::StrCat("\"", key, "\" needs one text in quotes"));
  }
  return text;
}

// "; did you mean tls-ca?"; empty: no setting is near.
std::string NearestSetting(const std::string& typed, const std::vector<std::string>& known) {
  const bool is_server = typed == "server" || typed == "host" || typed == "hosts";
  const std::string nearest = is_server && known.size() > 2 ? "servers" : NearestName(typed, known);
  return DidYouMean({nearest});
}

// `directory` is that of the file.
Settings ReadContext(const CLI::App& app, const std::string& name, const toml::table& table,
                     absl::string_view directory) {
  Settings context;
  for (const auto& [key, value] : table) {
    const std::string setting(key.str());
    const std::string option = setting == "servers" ? "--server" : absl::StrCat("--", setting);
    if (!absl::c_linear_search(kAccessOptions, option)) {
      Wrong(absl::StrCat("\"", setting, "\" of the context \"", name, "\" is not known",
                         NearestSetting(setting, {"servers", "tls-ca", "tls-cert", "tls-key",
                                                  "tls-server-name", "credentials", "nats-domain"}),
                         "; the keys are servers, tls-ca, tls-cert, tls-key, "
                         "tls-server-name, credentials and nats-domain; a name with a dot needs "
                         "quotation marks, as [contexts.\"node1.example\"]"));
    }
    if (option == "--server" && value.is_array()) {
      for (const toml::node& one : *value.as_array()) {
        context[option].push_back(SettingText(setting, one));
      }
      continue;
    }
    const std::string text = SettingText(setting, value);
    const bool relative =
        app.get_option(option)->get_type_name() == "FILE" && !absl::StartsWith(text, "/");
    context[option] = {absl::StrCat(relative ? directory : "", text)};
  }
  return context;
}

Contexts ReadFile(const CLI::App& app, const std::string& path, const std::string& content) {
  Contexts contexts = {path};
  const toml::parse_result file = toml::parse(content);
  if (!file) {
    Wrong(absl::StrCat("line ", file.error().source().begin.line,
                       ": not TOML: ", std::string(file.error().description())));
  }
  const absl::string_view directory = absl::string_view(path).substr(0, path.rfind('/') + 1);
  for (const auto& [key, value] : file.table()) {
    if (key.str() == "current") {
      contexts.current = SettingText("current", value);
    } else if (key.str() == "contexts" && value.is_table()) {
      for (const auto& [name, context] : *value.as_table()) {
        const std::string text(name.str());
        if (!context.is_table()) {
          Wrong(absl::StrCat("\"", text, "\" is not a section; use [contexts.NAME]"));
        }
        try {
          contexts.named[text] = ReadContext(app, text, *context.as_table(), directory);
        } catch (const OptionError& error) {
          contexts.named[text] = absl::InvalidArgumentError(error.sentence);
        }
      }
    } else {
      Wrong(absl::StrCat("\"", std::string(key.str()), "\" is not a known setting",
                         NearestSetting(std::string(key.str()), {"current", "contexts"}),
                         "; use current = \"NAME\" and sections "
                         "[contexts.NAME]"));
    }
  }
  return contexts;
}

}  // namespace

Contexts ReadContexts(const CLI::App& app, const OptionContext& context) {
  const std::string named = context.variable("VMEVENTS_CONFIG");
  std::string directory = context.variable("XDG_CONFIG_HOME");
  if (const std::string home = context.variable("HOME"); directory.empty() && !home.empty()) {
    directory = absl::StrCat(home, "/.config");
  }
  if (named.empty() && directory.empty()) return {"no configuration file"};
  const std::string path = named.empty() ? absl::StrCat(directory, "/vmevents/config.toml") : named;
  const absl::StatusOr<std::string> content = context.read_config(path);
  // It must exist and be readable only if the user named it: $HOME may be another user's, or
  // /dev/null (FAILED_PRECONDITION).
  const absl::Status& fault = content.status();
  const bool missing = absl::IsNotFound(fault) || absl::IsPermissionDenied(fault) ||
                       absl::IsFailedPrecondition(fault);
  if (missing && named.empty()) return {path};
  if (!fault.ok()) {
    if (named.empty()) Wrong(std::string(fault.message()));
    Wrong(absl::StrCat(fault.message(), "; name an existing file, or unset it"),
          "$VMEVENTS_CONFIG");
  }
  try {
    return ReadFile(app, path, *content);
  } catch (const OptionError& error) {
    Wrong(error.sentence, path);
  }
}

}  // namespace vmeventd::client
