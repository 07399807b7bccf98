#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/options/binding.h"

// Errors are values.
#define TOML_EXCEPTIONS 0
#include "toml++/toml.h"

namespace vmeventd::client {
namespace {

// Reads one file.
class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), directory_(path.substr(0, path.rfind('/') + 1)) {}

  Contexts Read(const std::string& content) {
    const toml::parse_result file = toml::parse(content, path_);
    if (!file) {
      const toml::parse_error& error = file.error();
      Fail(absl::StrCat("line ", error.source().begin.line,
                        ": not TOML: ", std::string(error.description())));
    }
    for (const auto& [key, value] : file.table()) {
      if (key.str() == "current") {
        contexts_.current = Text("current", value);
      } else if (key.str() == "contexts" && value.is_table()) {
        TakeContext(*value.as_table(), "");
      } else {
        Fail(absl::StrCat("\"", std::string(key.str()),
                          "\" is not a known setting; use current = \"NAME\" "
                          "and sections [contexts.NAME]"));
      }
    }
    return std::move(contexts_);
  }

 private:
  [[noreturn]] void Fail(absl::string_view what) const { Wrong(absl::StrCat(path_, ": ", what)); }

  // Takes the context, and those in its tables: [contexts.node1.example] is a table in a table, of
  // the context "node1.example". The table of all contexts has no name.
  void TakeContext(const toml::table& table, const std::string& name) {
    Context context = {name};
    bool own = table.empty() && !name.empty();
    for (const auto& [key, value] : table) {
      const std::string text(key.str());
      if (value.is_table()) {
        TakeContext(*value.as_table(), absl::StrCat(name, name.empty() ? "" : ".", text));
        continue;
      }
      if (name.empty()) Fail(absl::StrCat("\"", text, "\" is not a section; use [contexts.NAME]"));
      own = true;
      TakeValue(text, value, &context);
    }
    if (!own) return;
    if (context.servers.empty()) Fail(absl::StrCat("the context \"", name, "\" has no servers"));
    contexts_.list.push_back(std::move(context));
  }

  void TakeValue(const std::string& key, const toml::node& value, Context* context) const {
    if (key == "servers" || key == "server") {
      if (!value.is_array()) return context->servers.push_back(Text(key, value));
      for (const toml::node& one : *value.as_array()) context->servers.push_back(Text(key, one));
      return;
    }
    const std::pair<const char*, std::string*> files[] = {{"tls-ca", &context->tls.ca_file},
                                                          {"tls-cert", &context->tls.cert_file},
                                                          {"tls-key", &context->tls.key_file},
                                                          {"credentials", &context->credentials}};
    for (const auto& [name, file] : files) {
      if (key != name) continue;
      *file = Text(key, value);
      if (!absl::StartsWith(*file, "/")) *file = absl::StrCat(directory_, *file);
      return;
    }
    if (key == "tls-server-name") {
      context->tls.server_name = Text(key, value);
    } else if (key == "nats-domain") {
      context->nats_domain = Text(key, value);
    } else {
      Fail(absl::StrCat("\"", key, "\" of the context \"", context->name,
                        "\" is not known; the keys are servers, tls-ca, tls-cert, tls-key, "
                        "tls-server-name, credentials and nats-domain"));
    }
  }

  std::string Text(const std::string& key, const toml::node& value) const {
    std::string text = value.value_or(std::string());
    if (!value.is_string() || text.empty()) {
      Fail(absl::StrCat("\"", key, "\" needs one text in quotes"));
    }
    return text;
  }

  const std::string path_;
  const std::string directory_;
  Contexts contexts_;
};

}  // namespace

Contexts ReadContexts(const OptionContext& context) {
  const std::string named = context.variable("VMEVENTS_CONFIG");
  std::string directory = context.variable("XDG_CONFIG_HOME");
  if (const std::string home = context.variable("HOME"); directory.empty() && !home.empty()) {
    directory = absl::StrCat(home, "/.config");
  }
  if (named.empty() && directory.empty()) return {"no configuration file"};
  std::string path = named.empty() ? absl::StrCat(directory, "/vmevents/config.toml") : named;
  const absl::StatusOr<std::string> content = context.read_config(path);
  const bool missing =
      absl::IsNotFound(content.status()) || absl::IsPermissionDenied(content.status());
  if (missing && named.empty()) return {path};
  Check(content.status());
  Contexts contexts = Reader(path).Read(*content);
  contexts.path = std::move(path);
  return contexts;
}

}  // namespace vmeventd::client
