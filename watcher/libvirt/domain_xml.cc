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

// The value of an attribute in a start tag. libvirt writes one space before each attribute, single
// quotes around the value, and none of < > ' & unescaped in it.
std::optional<absl::string_view> Attribute(absl::string_view tag, absl::string_view name) {
  const std::string start = absl::StrCat(" ", name, "='");
  const size_t begin = tag.find(start);
  if (begin == absl::string_view::npos) return std::nullopt;
  const absl::string_view value = tag.substr(begin + start.size());
  return value.substr(0, value.find('\''));
}

// The start tag of the first such element in `xml`, from after its "<"; "" without one.
absl::string_view StartTag(absl::string_view xml, absl::string_view element) {
  const size_t begin = xml.find(absl::StrCat("<", element, " "));
  if (begin == absl::string_view::npos) return {};
  const absl::string_view tag = xml.substr(begin + 1);
  return tag.substr(0, tag.find('>'));
}

// Expat writes a name as its namespace's URI, this, and the local name.
constexpr char kSeparator = ' ';

// Returns whether `name` is the element `local` of OpenStack nova, whose namespace ends with a
// version.
bool IsNova(absl::string_view name, absl::string_view local) {
  return absl::ConsumePrefix(&name, "http://openstack.org/xmlns/libvirt/nova/") &&
         absl::EndsWith(name, absl::StrCat(std::string(1, kSeparator), local));
}

class LabelReader {
 public:
  void Begin(const char* name, const char** attributes) {
    path_.emplace_back(name);
    text_.clear();
    if (path_.size() < 3 || path_[0] != "domain" || path_[1] != "metadata") return;
    if (path_.size() == 3) is_kubevirt_ |= path_[2] == "http://kubevirt.io kubevirt";
    const auto value_of = [&](absl::string_view key) -> absl::string_view {
      for (const char** at = attributes; *at != nullptr; at += 2) {
        if (key == at[0]) return at[1];
      }
      return {};
    };
    if (path_.size() == 4 && path_[2] == "urn:vmeventd:labels labels" &&
        path_[3] == "urn:vmeventd:labels label") {
      Add(value_of("key"), value_of("value"));
    }
    if (!IsNova(path_[2], "instance")) return;
    if (path_.size() == 4 && IsNova(path_[3], "flavor")) AddIf("nova.flavor", value_of("name"));
    if (const std::optional<std::string> owner = Owner(); owner.has_value()) {
      AddIf(absl::StrCat(*owner, "_id"), value_of("uuid"));
    }
  }

  void End() {
    const absl::string_view text = absl::StripAsciiWhitespace(text_);
    if (path_.size() == 2 && path_[0] == "domain" && path_[1] == "name") name_ = std::string(text);
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

  Labels Take() {
    // KubeVirt names its domains NAMESPACE_NAME, and neither has a "_".
    const size_t separator = name_.find('_');
    if (is_kubevirt_ && separator != std::string::npos) {
      AddIf("kubevirt.namespace", absl::string_view(name_).substr(0, separator));
      AddIf("kubevirt.vmi", absl::string_view(name_).substr(separator + 1));
    }
    Labels labels;
    for (auto& [key, value] : labels_) {
      if (labels.size() == kMaxLabels) break;
      labels.emplace_back(key, std::move(value));
    }
    return labels;
  }

 private:
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
    // Limit of the labels that are collected; the first kMaxLabels by key are kept.
    constexpr size_t kMost = 8 * kMaxLabels;
    if (!IsLabelKey(key) || labels_.size() == kMost) return;
    const std::string line = OneLine(value);
    labels_.emplace(key, std::string(Utf8Prefix(line, kMaxLabelValueBytes)));
  }

  std::vector<std::string> path_;  // the enclosing elements
  std::string text_;               // the innermost one's since its last child
  std::string name_;               // the domain's
  bool is_kubevirt_ = false;
  std::map<std::string, std::string> labels_;
};

struct ParserDeleter {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};

}  // namespace

GuestAgentInfo GuestAgentOf(absl::string_view domain_xml) {
  GuestAgentInfo info;
  // Text elsewhere (<metadata>) may look like anything.
  const size_t devices = domain_xml.find("\n  <devices>\n");
  if (devices == absl::string_view::npos) return info;
  absl::string_view rest = domain_xml.substr(devices);
  rest = rest.substr(0, rest.find("\n  </devices>\n"));
  constexpr absl::string_view kStart = "\n    <channel ";
  constexpr absl::string_view kEnd = "\n    </channel>";
  for (size_t at = rest.find(kStart); at != absl::string_view::npos; at = rest.find(kStart)) {
    rest.remove_prefix(at + kStart.size());
    const absl::string_view channel = rest.substr(0, rest.find(kEnd));
    const absl::string_view target = StartTag(channel, "target");
    if (Attribute(target, "type") != "virtio") continue;
    const std::string port =
        EscapeNonUtf8(Attribute(StartTag(channel, "alias"), "name").value_or(""));
    if (Attribute(target, "name") == kGuestAgentPort) {
      info.present = true;
      info.open = Attribute(target, "state") == "connected";
      info.reported = !port.empty();
      info.port = port;
    } else if (!port.empty() && info.other_ports.size() < GuestAgentProbe::kMaxPorts) {
      info.other_ports.push_back(port);
    }
  }
  return info;
}

Labels LabelsOf(absl::string_view domain_xml) {
  const std::unique_ptr<XML_ParserStruct, ParserDeleter> parser(
      XML_ParserCreateNS("UTF-8", kSeparator));
  if (parser == nullptr) return {};
  LabelReader reader;
  XML_SetUserData(parser.get(), &reader);
  XML_SetElementHandler(
      parser.get(),
      [](void* data, const char* name, const char** attributes) {
        static_cast<LabelReader*>(data)->Begin(name, attributes);
      },
      [](void* data, const char* /*name*/) { static_cast<LabelReader*>(data)->End(); });
  XML_SetCharacterDataHandler(parser.get(), [](void* data, const char* text, int size) {
    static_cast<LabelReader*>(data)->Text(text, size);
  });
  XML_Parse(parser.get(), domain_xml.data(), static_cast<int>(domain_xml.size()), /*isFinal=*/1);
  return reader.Take();
}

}  // namespace vmeventd
