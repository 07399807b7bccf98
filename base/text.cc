#include "base/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace vmeventd {
namespace {

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

struct Range {
  uint32_t first;
  uint32_t last;
};

constexpr Range kHidden[] = {
    {0x00, 0x1F},       {0x7F, 0x9F},       {0xAD, 0xAD},       {0x34F, 0x34F},
    {0x600, 0x605},     {0x61C, 0x61C},     {0x6DD, 0x6DD},     {0x70F, 0x70F},
    {0x890, 0x891},     {0x8E2, 0x8E2},     {0x115F, 0x1160},   {0x17B4, 0x17B5},
    {0x180B, 0x180F},   {0x200B, 0x200F},   {0x2028, 0x202E},   {0x2060, 0x206F},
    {0x3164, 0x3164},   {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},
    {0xFFF0, 0xFFFB},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F},
    {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
};

// Counts the letters to change, add or remove, and the neighbours to swap.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> before;  // the row before `above`
  std::vector<size_t> above(b.size() + 1);
  std::iota(above.begin(), above.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    std::vector<size_t> row = {i + 1};
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = above[j] + (a[i] == b[j] ? 0 : 1);
      row.push_back(std::min({changed, row[j] + 1, above[j + 1] + 1}));
      const bool swapped = i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j];
      if (swapped) row[j + 1] = std::min(row[j + 1], before[j - 1] + 1);
    }
    before = std::exchange(above, std::move(row));
  }
  return above.back();
}

constexpr absl::Duration kDay = absl::Hours(24);

}  // namespace

Utf8Character DecodeUtf8(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  size_t length = 0;
  uint32_t code_point = 0;
  uint32_t smallest = 0;
  if ((lead & 0xE0) == 0xC0) {
    length = 2, code_point = lead & 0x1F, smallest = 0x80;
  } else if ((lead & 0xF0) == 0xE0) {
    length = 3, code_point = lead & 0x0F, smallest = 0x800;
  } else if ((lead & 0xF8) == 0xF0) {
    length = 4, code_point = lead & 0x07, smallest = 0x10000;
  } else {
    return {0, 0};
  }
  if (text.size() < length) return {0, 0};
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(byte(i))) return {0, 0};
    code_point = (code_point << 6) | (byte(i) & 0x3F);
  }
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (code_point < smallest || code_point > 0x10FFFF || surrogate) return {0, 0};
  return {code_point, length};
}

bool IsValidUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = DecodeUtf8(text).length;
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool IsHiddenCharacter(uint32_t code_point) {
  return std::any_of(std::begin(kHidden), std::end(kHidden), [code_point](const Range& range) {
    return code_point >= range.first && code_point <= range.last;
  });
}

std::string Quote(absl::string_view value) {
  constexpr size_t kMaxBytes = 120;
  if (value.size() <= kMaxBytes) return absl::StrCat("\"", absl::CHexEscape(value), "\"");
  return absl::StrCat("\"", absl::CHexEscape(value.substr(0, kMaxBytes)), "...\" (", value.size(),
                      " bytes)");
}

std::string NearestName(absl::string_view typed, const std::vector<std::string>& names) {
  constexpr size_t kLongestName = 40;  // a longer word is no name that was misspelled
  if (typed.size() > kLongestName) return "";
  std::string nearest;
  size_t least = typed.size() > 4 ? 3 : 2;
  for (const std::string& name : names) {
    const size_t distance = absl::EqualsIgnoreCase(typed, name) ? 0 : Distance(typed, name);
    if (distance >= least) continue;
    least = distance;
    nearest = name;
  }
  return nearest;
}

std::string DidYouMean(absl::string_view answer) {
  const size_t end = std::min(answer.find(';'), answer.size());
  if (end == 0) return std::string(answer);
  const absl::string_view rest = answer.substr(end);  // includes its semicolon
  return absl::StrCat("; did you mean ", answer.substr(0, end), "?",
                      rest.empty() ? rest : rest.substr(1));
}

std::optional<absl::Duration> ParseDuration(absl::string_view text) {
  absl::ConsumePrefix(&text, "+");
  // Abseil's form, and weeks and days before it.
  if (text.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(text.back())) ||
      text.find_first_not_of("0123456789.wdhmsun") != absl::string_view::npos) {
    return std::nullopt;
  }
  absl::Duration sum;
  while (true) {
    const size_t at = text.find_first_of("wdhmsun");
    if (text[at] != 'w' && text[at] != 'd') break;
    double days = 0;
    if (!absl::SimpleAtod(text.substr(0, at), &days)) return std::nullopt;
    sum += days * (text[at] == 'w' ? 7 : 1) * kDay;
    text.remove_prefix(at + 1);
    if (text.empty()) return sum;
  }
  absl::Duration rest;
  if (!absl::ParseDuration(text, &rest)) return std::nullopt;
  return sum + rest;
}

std::string PrintDuration(absl::Duration duration) {
  if (duration >= kDay && duration % kDay == absl::ZeroDuration()) {
    return absl::StrCat(duration / kDay, "d");
  }
  return absl::FormatDuration(duration);
}

std::string SignalName(int signal) {
  const char* const name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", name);
}

bool IsLoopback(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

}  // namespace vmeventd
