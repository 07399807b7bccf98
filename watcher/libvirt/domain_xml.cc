#include "watcher/libvirt/domain_xml.h"

#include <expat.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/labels.h"
#include "watcher/core/foreign_text.h"

namespace vmeventd {
namespace {

// Expat writes a name as its namespace's URI, this, and the local name.
constexpr char kSeparator = ' ';

// An element's name with vmeventd's own prefix for its namespace.
std::string ShortName(absl::string_view name) {
  const size_t separator = name.find(kSeparator);
  if (separator == absl::string_view::npos) return std::string(name);
  const absl::string_view uri = name.substr(0, separator);
  const absl::string_view local = name.substr(separator + 1);
  // nova's URI ends with a version.
  if (absl::StartsWith(uri, "http://openstack.org/xmlns/libvirt/nova/")) {
    return absl::StrCat("nova:", local);
  }
  if (uri == "http://kubevirt.io") return absl::StrCat("kubevirt:", local);
  if (uri == "urn:vmeventd:labels") return absl::StrCat("vmeventd:", local);
  return "other:";
}

// A label from a domain's metadata: the text of an element, or an attribute.
struct LabelPlace {
  absl::string_view path;
  absl::string_view attribute;  // empty: the text
  absl::string_view key;
};
#define NOVA "/domain/metadata/nova:instance"
constexpr LabelPlace kLabelPlaces[] = {
    {NOVA "/nova:name", "", "nova.name"},
    {NOVA "/nova:flavor", "name", "nova.flavor"},
    {NOVA "/nova:owner/nova:user", "", "nova.user"},
    {NOVA "/nova:owner/nova:user", "uuid", "nova.user_id"},
    {NOVA "/nova:owner/nova:project", "", "nova.project"},
    {NOVA "/nova:owner/nova:project", "uuid", "nova.project_id"},
    {"/domain/metadata/kubevirt:kubevirt/kubevirt:uid", "", "kubevirt.uid"},
};
#undef NOVA

// The value of an attribute; empty without one.
absl::string_view Attribute(const char** attributes, absl::string_view name) {
  for (const char** at = attributes; *at != nullptr; at += 2) {
    if (name == at[0]) return at[1];
  }
  return {};
}

class DomainReader {
 public:
  void Begin(const char* name, const char** attributes) {
    absl::StrAppend(&path_, "/", ShortName(name));
    text_.clear();
    if (path_ == kChannel) channel_ = {};
    if (path_ == "/domain/devices/channel/alias") {
      channel_.port = std::string(Attribute(attributes, "name"));
    }
    if (path_ == "/domain/devices/channel/target" && Attribute(attributes, "type") == "virtio") {
      channel_.name = std::string(Attribute(attributes, "name"));
      channel_.open = Attribute(attributes, "state") == "connected";
    }
    is_kubevirt_ |= path_ == "/domain/metadata/kubevirt:kubevirt";
    if (path_ == "/domain/metadata/vmeventd:labels/vmeventd:label") {
      Add(Attribute(attributes, "key"), Attribute(attributes, "value"));
    }
    for (const LabelPlace& place : kLabelPlaces) {
      if (place.path != path_ || place.attribute.empty()) continue;
      AddIf(place.key, Attribute(attributes, place.attribute));
    }
  }

  void End() {
    const absl::string_view text = absl::StripAsciiWhitespace(text_);
    if (path_ == "/domain/name") name_ = std::string(text);
    if (path_ == kChannel) EndChannel();
    for (const LabelPlace& place : kLabelPlaces) {
      if (place.path == path_ && place.attribute.empty()) AddIf(place.key, text);
    }
    path_.resize(path_.rfind('/'));
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
  static constexpr absl::string_view kChannel = "/domain/devices/channel";
  struct Channel {
    std::string name;  // empty: it is no virtio-serial port
    std::string port;  // the id of its device
    bool open = false;
  };

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

  std::string path_;  // path of the innermost element
  std::string text_;  // the innermost one's since its last child
  std::string name_;  // name of the domain
  bool is_kubevirt_ = false;
  std::map<std::string, std::string> labels_;
  Channel channel_;  // the enclosing one
  GuestAgentInfo agent_;
};

struct ParserDeleter {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};

absl::StatusOr<DomainDetails> Parse(absl::string_view xml) {
  const std::unique_ptr<XML_ParserStruct, ParserDeleter> parser(
      XML_ParserCreateNS("UTF-8", kSeparator));
  if (parser == nullptr) return absl::ResourceExhaustedError("no memory for a parser of XML");
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
  if (XML_Parse(parser.get(), xml.data(), static_cast<int>(xml.size()), /*isFinal=*/1) !=
      XML_STATUS_OK) {
    return absl::InvalidArgumentError(XML_ErrorString(XML_GetErrorCode(parser.get())));
  }
  return reader.Take();
}

}  // namespace

absl::StatusOr<DomainDetails> DetailsIn(absl::string_view domain_xml) {
  absl::StatusOr<DomainDetails> details = Parse(domain_xml);
  if (details.ok()) return details;
  // libvirt takes metadata with a prefix that is not declared; it does not hide a guest agent.
  constexpr absl::string_view kBegin = "<metadata>";
  constexpr absl::string_view kEnd = "</metadata>";
  const size_t begin = domain_xml.find(kBegin);
  const size_t end = domain_xml.rfind(kEnd);  // an element in it may have that name, too
  if (begin > end || end == absl::string_view::npos) return details;
  return Parse(absl::StrCat(domain_xml.substr(0, begin), domain_xml.substr(end + kEnd.size())));
}

}  // namespace vmeventd
