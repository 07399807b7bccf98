#include "client/settings/contexts.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Errors are values.
#define TOML_EXCEPTIONS 0
#include "toml++/toml.h"

namespace vmeventd::client {
namespace {

constexpr char kKeys[] =
    "servers, tls-ca, tls-cert, tls-key, tls-server-name, credentials and nats-domain";

// Reads one file.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    const size_t slash = path.rfind('/');
    directory_ = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  }

  absl::StatusOr<Contexts> Read(const std::string& content) {
    const toml::parse_result file = toml::parse(content, path_);
    if (!file) {
      const toml::parse_error& error = file.error();
      return Wrong(absl::StrCat("line ", error.source().begin.line,
                                ": not TOML: ", std::string(error.description())));
    }
    for (const auto& [key, value] : file.table()) {
      absl::Status status;
      if (key.str() == "current") {
        status = TakeText("current", value, &contexts_.current);
      } else if (key.str() == "contexts" && value.is_table()) {
        status = TakeContext(*value.as_table(), "");
      } else {
        status = Wrong(absl::StrCat("\"", std::string(key.str()),
                                    "\" is not a known setting; use current = \"NAME\" "
                                    "and sections [contexts.NAME]"));
      }
      if (!status.ok()) return status;
    }
    return contexts_;
  }

 private:
  absl::Status Wrong(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
  }

  // Takes the context, and those in its tables: [contexts.node1.example] is a table in a table, of
  // the context "node1.example". The table of all contexts has no name.
  absl::Status TakeContext(const toml::table& table, const std::string& name) {
    Context context = {name, {}, {}, ""};
    bool own = table.empty() && !name.empty();
    for (const auto& [key, value] : table) {
      const std::string text(key.str());
      absl::Status status;
      if (value.is_table()) {
        status = TakeContext(*value.as_table(), absl::StrCat(name, name.empty() ? "" : ".", text));
      } else if (name.empty()) {
        status = Wrong(absl::StrCat("\"", text, "\" is not a section; use [contexts.NAME]"));
      } else {
        own = true;
        status = TakeOfContext(text, value, &context);
      }
      if (!status.ok()) return status;
    }
    if (own && context.servers.empty()) {
      return Wrong(absl::StrCat("the context \"", name, "\" has no servers"));
    }
    if (own) contexts_.list.push_back(std::move(context));
    return absl::OkStatus();
  }

  absl::Status TakeOfContext(absl::string_view key, const toml::node& value, Context* context) {
    if (key == "servers" || key == "server") return TakeServers(key, value, context);
    if (key == "tls-ca") return TakeFile(key, value, &context->tls.ca_file);
    if (key == "tls-cert") return TakeFile(key, value, &context->tls.cert_file);
    if (key == "tls-key") return TakeFile(key, value, &context->tls.key_file);
    if (key == "credentials") return TakeFile(key, value, &context->credentials);
    if (key == "nats-domain") return TakeText(key, value, &context->nats_domain);
    if (key == "tls-server-name") return TakeText(key, value, &context->tls.server_name);
    return Wrong(absl::StrCat("\"", key, "\" of the context \"", context->name,
                              "\" is not known; the keys are ", kKeys));
  }

  absl::Status TakeServers(absl::string_view key, const toml::node& value, Context* context) {
    if (!value.is_array()) return TakeText(key, value, &context->servers.emplace_back());
    for (const toml::node& one : *value.as_array()) {
      absl::Status status = TakeText(key, one, &context->servers.emplace_back());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status TakeText(absl::string_view key, const toml::node& value, std::string* text) const {
    *text = value.value_or(std::string());
    if (value.is_string() && !text->empty()) return absl::OkStatus();
    return Wrong(absl::StrCat("\"", key, "\" needs one text in quotes"));
  }

  absl::Status TakeFile(absl::string_view key, const toml::node& value, std::string* file) const {
    absl::Status status = TakeText(key, value, file);
    if (status.ok() && !absl::StartsWith(*file, "/")) *file = absl::StrCat(directory_, *file);
    return status;
  }

  const std::string path_;
  std::string directory_;
  Contexts contexts_;
};

}  // namespace

const Context* Contexts::Find(const std::string& name) const {
  const auto found = std::find_if(list.begin(), list.end(),
                                  [&name](const Context& context) { return context.name == name; });
  return found == list.end() ? nullptr : &*found;
}

std::string ConfigPath(const std::string& own, const std::string& xdg_config_home,
                       const std::string& home) {
  if (!own.empty()) return own;
  if (!xdg_config_home.empty()) return absl::StrCat(xdg_config_home, "/vmevents/config.toml");
  return home.empty() ? "" : absl::StrCat(home, "/.config/vmevents/config.toml");
}

absl::StatusOr<Contexts> ParseContexts(const std::string& content, const std::string& path) {
  return Reader(path).Read(content);
}

}  // namespace vmeventd::client
