#include "watcher/libvirt/domain_xml.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/names.h"

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

}  // namespace vmeventd
