#include "client/doctor/file_text.h"

#include <cstddef>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/utf8.h"

namespace vmeventd::client {
namespace {

// Returns whether a quotation mark follows a comma. vmeventd takes that for the start of a value
// where the text has escaped quotation marks.
bool HasQuoteBehindComma(absl::string_view text) {
  for (size_t at = text.find(','); at != text.npos; at = text.find(',', at + 1)) {
    const size_t next = text.find_first_not_of(" \t", at + 1);
    if (next != text.npos && (text[next] == '"' || text[next] == '\'')) return true;
  }
  return false;
}

}  // namespace

bool FileHolds(absl::string_view text) {
  if (!IsValidUtf8(text) || absl::StrContains(text, '#') ||
      absl::c_any_of(text, [](unsigned char byte) { return absl::ascii_iscntrl(byte); })) {
    return false;
  }
  // A text in single quotation marks has no escapes.
  if (!absl::StrContains(text, '\'')) return !absl::EndsWith(text, "\\");
  if (absl::StrContains(text, '\\')) return false;
  return !absl::StrContains(text, '"') ||
         (!absl::StrContains(text, ']') && !HasQuoteBehindComma(text));
}

std::string QuoteForFile(absl::string_view text) {
  if (text.find_first_of("\"\\") == text.npos) return absl::StrCat("\"", text, "\"");
  if (!absl::StrContains(text, '\'')) return absl::StrCat("'", text, "'");
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

}  // namespace vmeventd::client
