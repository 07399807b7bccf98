#include "watcher/core/libvirt_spec.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/glob.h"
#include "base/unix_address.h"
#include "base/utf8.h"
#include "watcher/core/source_specs.h"
#include "watcher/core/vm_source.h"

namespace vmeventd {
namespace {

constexpr char kForms[] =
    "it must be qemu:///system, qemu:///session, qemu+unix:///system?socket=PATH, "
    "qemu+unix:///session?socket=PATH, lxc:///system or lxc+unix:///system?socket=PATH";

absl::Status Wrong(absl::string_view uri, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("\"", uri, "\": ", why));
}

// These bytes need no escape in a URI's path (RFC 3986: unreserved, and what a query may hold of
// the rest).
bool IsPlain(char byte) {
  return absl::ascii_isalnum(static_cast<unsigned char>(byte)) ||
         absl::StrContains("-._~/:@!$'()*,;", byte);
}

std::string PercentEncode(absl::string_view path) {
  std::string text;
  for (const char byte : path) {
    if (IsPlain(byte)) {
      text += byte;
    } else {
      absl::StrAppendFormat(&text, "%%%02X", static_cast<unsigned char>(byte));
    }
  }
  return text;
}

absl::string_view Driver(const LibvirtSpec& spec) { return spec.containers ? "lxc" : "qemu"; }
absl::string_view Kind(const LibvirtSpec& spec) { return spec.session ? "session" : "system"; }

}  // namespace

bool LibvirtSpec::has_glob() const { return IsGlob(socket); }

std::string LibvirtSpec::UriAt(absl::string_view path) const {
  return absl::StrCat(Driver(*this), "+unix:///", Kind(*this), "?socket=", PercentEncode(path));
}

std::string LibvirtSpec::Uri() const { return socket.empty() ? ToFlag() : UriAt(socket); }

std::string LibvirtSpec::ToFlag() const {
  if (socket.empty()) return absl::StrCat(Driver(*this), ":///", Kind(*this));
  return absl::StrCat(Driver(*this), "+unix:///", Kind(*this), "?socket=", socket);
}

absl::StatusOr<LibvirtSpec> ParseLibvirtUri(absl::string_view uri) {
  if (!IsValidUtf8(uri)) return absl::InvalidArgumentError("a libvirt URI that is not UTF-8");
  LibvirtSpec spec;
  absl::string_view rest = uri;
  spec.containers = absl::ConsumePrefix(&rest, "lxc");
  if (!spec.containers && !absl::ConsumePrefix(&rest, "qemu")) {
    return Wrong(uri, absl::StrCat("vmeventd follows the QEMUs of this node: ", kForms));
  }
  const bool by_socket = absl::ConsumePrefix(&rest, "+unix");
  if (!absl::ConsumePrefix(&rest, "://")) return Wrong(uri, kForms);
  if (!absl::StartsWith(rest, "/")) {
    return Wrong(uri, absl::StrCat("another host's libvirt cannot be followed: ", kForms));
  }
  std::pair<absl::string_view, absl::string_view> halves =
      absl::StrSplit(rest, absl::MaxSplits('?', 1));
  auto& [path, query] = halves;
  if (path != "/system" && path != "/session") return Wrong(uri, kForms);
  spec.session = path == "/session";
  if (spec.session && spec.containers) {
    return Wrong(uri, "libvirt has containers only in its system instance: write lxc:///system");
  }
  if (query.empty()) return spec;
  if (!by_socket || !absl::ConsumePrefix(&query, "socket=") || absl::StrContains(query, '&')) {
    return Wrong(uri, kForms);
  }
  if (!absl::StartsWith(query, "/")) {
    return Wrong(uri,
                 "the socket's path must be absolute, as in ?socket=/run/libvirt/libvirt-sock");
  }
  for (const absl::string_view part : absl::StrSplit(query.substr(1), '/')) {
    if (part.empty() || part == "." || part == "..") {
      return Wrong(uri, "the socket's path must have no empty part, no \".\" and no \"..\"");
    }
  }
  spec.socket = std::string(query);
  const std::string refusal = UnixAddress::Refusal(spec.socket);
  if (!spec.has_glob() && !refusal.empty()) return Wrong(uri, refusal);
  return spec;
}

LibvirtSpec OptionalSystemLibvirt() {
  return {.awaited = {"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}};
}

constinit const SourceSetting kLibvirtSetting = {
    .name = "libvirt",
    .argument = "URI",
    .help =
        "Follow the domains of this libvirt: qemu:///system, qemu:///session, "
        "qemu+unix:///system?socket=PATH, where PATH may have wildcards (* ? [a-z]), or "
        "lxc:///system for libvirt's containers; repeatable. Needs the package libvirt0",
    .log_prefix = "libvirt ",
    .foreign_words = "--uri --connect --virsh",
    .read = [](const std::vector<std::string>& texts,
               SourceSpecs* specs) { return ReadEach(texts, ParseLibvirtUri, &specs->libvirts); },
    .print =
        [](const SourceSpecs& specs) { return TextOfEach(specs.libvirts, &LibvirtSpec::ToFlag); },
    .by_default =
        SourceSetting::Default{
            .name = "libvirt",
            .place = "libvirt's system socket (qemu:///system)",
            .vms = "libvirt's domains",
            .add = [](SourceSpecs* specs) { specs->libvirts.push_back(OptionalSystemLibvirt()); }},
};

bool IsContainerUri(absl::string_view uri) { return absl::StartsWith(uri, "lxc"); }

std::string DomainSource(absl::string_view uri) {
  return VmSource{kLibvirtKey, std::string(uri)}.text();
}

}  // namespace vmeventd
