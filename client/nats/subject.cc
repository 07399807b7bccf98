#include "client/nats/subject.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr char kEscape = '=';
constexpr absl::string_view kEmpty = "=";
constexpr absl::string_view kDigits = "0123456789ABCDEF";

bool IsPlain(char byte) {
  return absl::ascii_isalnum(static_cast<unsigned char>(byte)) || byte == '-' || byte == '_';
}

void AppendEscaped(char byte, std::string* out) {
  if (IsPlain(byte)) {
    out->push_back(byte);
    return;
  }
  const auto value = static_cast<unsigned char>(byte);
  out->append({kEscape, kDigits[value >> 4], kDigits[value & 15]});
}

// The value of a digit in upper case; 16: it is none.
size_t DigitValue(char digit) { return std::min(kDigits.find(digit), kDigits.size()); }

}  // namespace

std::string EscapeToken(absl::string_view name) {
  std::string token;
  for (const char byte : name.substr(0, kMaxNameBytes)) AppendEscaped(byte, &token);
  return token.empty() ? std::string(kEmpty) : token;
}

std::optional<std::string> UnescapeToken(absl::string_view token) {
  if (token == kEmpty) return "";
  std::string name;
  if (token.empty()) return std::nullopt;
  while (!token.empty()) {
    if (name.size() >= kMaxNameBytes) return std::nullopt;
    if (token.front() != kEscape) {
      if (!IsPlain(token.front())) return std::nullopt;
      name.push_back(token.front());
      token.remove_prefix(1);
      continue;
    }
    if (token.size() < 3) return std::nullopt;
    const size_t high = DigitValue(token[1]);
    const size_t low = DigitValue(token[2]);
    if (high > 15 || low > 15) return std::nullopt;
    const auto byte = static_cast<char>(high * 16 + low);
    if (IsPlain(byte)) return std::nullopt;  // one name has one token
    name.push_back(byte);
    token.remove_prefix(3);
  }
  return name;
}

std::string ToSubject(absl::string_view node_prefix, absl::string_view vm,
                      absl::string_view event) {
  return absl::StrCat(node_prefix, EscapeToken(vm), ".", event);
}

std::string NodeSubjectPrefix(absl::string_view cluster, absl::string_view node) {
  return absl::StrCat(kSubjectPrefix, ".", NodeBucketKey(cluster, node), ".");
}

std::string NodeSubjects(absl::string_view cluster, absl::string_view node) {
  return NodeSubjectPrefix(cluster, node) + ">";
}

std::string NodeBucketKey(absl::string_view cluster, absl::string_view node) {
  return absl::StrCat(EscapeToken(cluster), ".", EscapeToken(node));
}

std::string VmBucketKey(absl::string_view cluster, absl::string_view node, absl::string_view vm) {
  return absl::StrCat(NodeBucketKey(cluster, node), ".", EscapeToken(vm));
}

std::string KeySubject(absl::string_view bucket, absl::string_view key) {
  return absl::StrCat("$KV.", bucket, ".", key);
}

std::string BucketStream(absl::string_view bucket) { return absl::StrCat("KV_", bucket); }

}  // namespace vmeventd
