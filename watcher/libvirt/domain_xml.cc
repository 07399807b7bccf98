// The guest agent and the labels in a domain's XML.

#include <expat.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/patterns.h"
#include "watcher/core/names.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd {
namespace {

// Expat writes a name as its namespace's URI, this, and the local name.
constexpr char kSeparator = ' ';

// The value of an attribute; empty without one.
absl::string_view Attribute(const char** attributes, absl::string_view name) {
  for (const char** at = attributes; *at != nullptr; at += 2) {
    if (name == at[0]) return at[1];
  }
  return {};
}

// Returns whether `name` is the element `local` of OpenStack nova, whose namespace ends with a
// version.
bool IsNova(absl::string_view name, absl::string_view local) {
  return absl::ConsumePrefix(&name, "http://openstack.org/xmlns/libvirt/nova/") &&
         absl::EndsWith(name, absl::StrCat(std::string(1, kSeparator), local));
}

class DomainReader {
 public:
  void Begin(const char* name, const char** attributes) {
    path_.emplace_back(name);
    text_.clear();
    if (path_.size() < 3 || path_[0] != "domain") return;
    if (path_[1] == "devices" && path_[2] == "channel") BeginInChannel(attributes);
    if (path_[1] == "metadata") BeginInMetadata(attributes);
  }

  void End() {
    const absl::string_view text = absl::StripAsciiWhitespace(text_);
    if (path_.size() == 2 && path_[0] == "domain" && path_[1] == "name") name_ = std::string(text);
    if (path_.size() == 3 && path_[1] == "devices" && path_[2] == "channel") EndChannel();
    if (path_.size() > 3 && path_[1] == "metadata") {
      if (IsNova(path_[2], "instance")) {
        if (path_.size() == 4 && IsNova(path_[3], "name")) AddIf("nova.name", text);
        if (const std::optional<std::string> owner = Owner(); owner.has_value())
          AddIf(*owner, text);
      }
      if (path_.size() == 4 && is_kubevirt_ && path_[3] == "http://kubevirt.io uid") {
        AddIf("kubevirt.uid", text);
      }
    }
    path_.pop_back();
    text_.clear();
  }

  void Text(const char* bytes, int size) {
    // Limit of the text that is collected; a value is cut to its own later.
    constexpr size_t kEnough = 4 * kMaxLabelValueBytes;
    if (text_.size() < kEnough) text_.append(bytes, static_cast<size_t>(size));
  }

  DomainDetails Take() {
    // KubeVirt names its domains NAMESPACE_NAME, and neither has a "_".
    const size_t separator = name_.find('_');
    if (is_kubevirt_ && separator != std::string::npos) {
      AddIf("kubevirt.namespace", absl::string_view(name_).substr(0, separator));
      AddIf("kubevirt.vmi", absl::string_view(name_).substr(separator + 1));
    }
    DomainDetails details{.agent = std::move(agent_), .labels = {}};
    for (auto& [key, value] : labels_) {
      if (details.labels.size() == kMaxLabels) break;
      details.labels.emplace_back(key, std::move(value));
    }
    return details;
  }

 private:
  struct Channel {
    std::string name;  // empty: it is no virtio-serial port
    std::string port;  // the id of its device
    bool open = false;
  };

  void BeginInChannel(const char** attributes) {
    if (path_.size() == 3) channel_ = {};
    if (path_.size() != 4) return;
    if (path_[3] == "alias") channel_.port = std::string(Attribute(attributes, "name"));
    if (path_[3] == "target" && Attribute(attributes, "type") == "virtio") {
      channel_.name = std::string(Attribute(attributes, "name"));
      channel_.open = Attribute(attributes, "state") == "connected";
    }
  }

  void EndChannel() {
    if (channel_.name == kGuestAgentPort) {
      agent_.present = true;
      agent_.open = channel_.open;
      agent_.reported = !channel_.port.empty();
      agent_.port = channel_.port;
    } else if (!channel_.name.empty() && !channel_.port.empty() &&
               agent_.other_ports.size() < GuestAgentProbe::kMaxPorts) {
      agent_.other_ports.push_back(channel_.port);
    }
  }

  void BeginInMetadata(const char** attributes) {
    if (path_.size() == 3) is_kubevirt_ |= path_[2] == "http://kubevirt.io kubevirt";
    if (path_.size() == 4 && path_[2] == "urn:vmeventd:labels labels" &&
        path_[3] == "urn:vmeventd:labels label") {
      Add(Attribute(attributes, "key"), Attribute(attributes, "value"));
    }
    if (!IsNova(path_[2], "instance")) return;
    if (path_.size() == 4 && IsNova(path_[3], "flavor")) {
      AddIf("nova.flavor", Attribute(attributes, "name"));
    }
    if (const std::optional<std::string> owner = Owner(); owner.has_value()) {
      AddIf(absl::StrCat(*owner, "_id"), Attribute(attributes, "uuid"));
    }
  }

  // The label of the enclosing element, a user's or a project's; unset elsewhere.
  std::optional<std::string> Owner() const {
    if (path_.size() != 5 || !IsNova(path_[3], "owner")) return std::nullopt;
    if (IsNova(path_[4], "user")) return "nova.user";
    if (IsNova(path_[4], "project")) return "nova.project";
    return std::nullopt;
  }

  void AddIf(absl::string_view key, absl::string_view value) {
    if (!value.empty()) Add(key, value);
  }
  void Add(absl::string_view key, absl::string_view value) {
    // Limit of the labels that are collected; Take() returns the first kMaxLabels by key.
    constexpr size_t kMaxCollected = 8 * kMaxLabels;
    if (!IsLabelKey(key) || labels_.size() == kMaxCollected) return;
    const std::string line = OneLine(value);
    labels_.emplace(key, std::string(Utf8Prefix(line, kMaxLabelValueBytes)));
  }

  std::vector<std::string> path_;  // the enclosing elements
  std::string text_;               // the innermost one's since its last child
  std::string name_;               // the domain's
  bool is_kubevirt_ = false;
  std::map<std::string, std::string> labels_;
  Channel channel_;  // the enclosing one
  GuestAgentInfo agent_;
};

struct ParserDeleter {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};

}  // namespace

DomainDetails DetailsIn(absl::string_view domain_xml) {
  const std::unique_ptr<XML_ParserStruct, ParserDeleter> parser(
      XML_ParserCreateNS("UTF-8", kSeparator));
  if (parser == nullptr) return {};
  DomainReader reader;
  XML_SetUserData(parser.get(), &reader);
  XML_SetElementHandler(
      parser.get(),
      [](void* data, const char* name, const char** attributes) {
        static_cast<DomainReader*>(data)->Begin(name, attributes);
      },
      [](void* data, const char* /*name*/) { static_cast<DomainReader*>(data)->End(); });
  XML_SetCharacterDataHandler(parser.get(), [](void* data, const char* text, int size) {
    static_cast<DomainReader*>(data)->Text(text, size);
  });
  XML_Parse(parser.get(), domain_xml.data(), static_cast<int>(domain_xml.size()), /*isFinal=*/1);
  return reader.Take();
}

}  // namespace vmeventd
