#include "client/nats/subject.h"

#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vmeventd {
namespace {

constexpr char kEscape = '=';

bool IsPlain(char byte) {
  return absl::ascii_isalnum(static_cast<unsigned char>(byte)) || byte == '-' || byte == '_';
}

}  // namespace

std::string EscapeToken(absl::string_view name) {
  std::string token;
  for (const char byte : name.substr(0, kMaxNameBytes)) {
    if (IsPlain(byte)) {
      token.push_back(byte);
    } else {
      absl::StrAppendFormat(&token, "%c%02X", kEscape, static_cast<unsigned char>(byte));
    }
  }
  return token.empty() ? std::string(1, kEscape) : token;
}

std::optional<std::string> UnescapeToken(absl::string_view token) {
  std::string name;
  for (size_t at = 0; at < token.size() && token != "="; ++at) {
    uint32_t byte = static_cast<unsigned char>(token[at]);
    if (token[at] == kEscape) {
      if (!absl::SimpleHexAtoi(token.substr(at + 1, 2), &byte)) return std::nullopt;
      at += 2;
    }
    name.push_back(static_cast<char>(byte));
  }
  // One name has one token.
  return EscapeToken(name) == token ? std::optional(std::move(name)) : std::nullopt;
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
