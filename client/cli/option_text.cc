#include "client/cli/option_text.h"

#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/utf8.h"
#include "client/cli/option_error.h"
#include "client/cli/values.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

const std::string& CheckText(const std::string& text) {
  if (text.empty()) Wrong("the text is empty; give one");
  if (!IsValidUtf8(text)) {
    Wrong(absl::StrCat("\"", text,
                       "\" is not UTF-8; write a name as `vmevents vms -o json` shows it"));
  }
  return text;
}

void ReadText(const std::string& text, std::string* value) { *value = CheckText(text); }

void ReadText(const std::string& text, uint64_t* value) {
  if (absl::SimpleAtoi(text, value) && *value > 0) return;
  Wrong(absl::StrCat("\"", text, "\" is not a number of events; give one of at least 1"));
}

void ReadText(const std::string& text, absl::Duration* value) {
  *value = Need(ParseDurationText(text));
}

uint64_t ReadNumber(const std::string& text, uint64_t max) {
  uint64_t number = 0;
  if (absl::SimpleAtoi(text, &number) && number >= 1 && number <= max) return number;
  Wrong(absl::StrCat("\"", text, "\" is not a number from 1 to ", max));
}

int ReadChoice(const char* value_name, absl::string_view text) {
  absl::ConsumePrefix(&text, "=");  // "-o=json", as kubectl has it
  const std::vector<std::string> values = ValuesOf(value_name);
  const auto found = absl::c_find(values, absl::AsciiStrToLower(text));
  if (found == values.end()) {
    Wrong(absl::StrCat("\"", text, "\" is not one of its values: ", absl::StrJoin(values, ", "),
                       HintForValue(value_name, text)));
  }
  return static_cast<int>(found - values.begin());
}

}  // namespace vmeventd::client
