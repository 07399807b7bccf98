#include "server/logging/log_line.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/utf8.h"

namespace vmeventd {
namespace {

// Backslashes are escaped too: else one at the end of a value would take the quote that ends it,
// and what follows would be read as more fields.
std::string Quoted(const std::string& value) {
  std::string clean = OnOneLine(value);
  if (!clean.empty() && clean.find_first_of(" =\"\\") == std::string::npos) return clean;
  const std::string escaped = absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}});
  return absl::StrCat("\"", OnOneLine(escaped), "\"");
}

// Texts of spdlog's levels: the name here, and syslog's priority as sd-daemon(3) describes it.
struct LevelText {
  const char* name;
  const char* priority;
};
constexpr LevelText kLevels[] = {
    {"trace", "<7>"}, {"debug", "<7>"}, {"info", "<6>"}, {"warn", "<4>"}, {"error", "<3>"}};

const LevelText& LevelOf(spdlog::level::level_enum level) {
  return kLevels[std::min<size_t>(level, std::size(kLevels) - 1)];
}

}  // namespace

std::string OnOneLine(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    const size_t length = std::max<size_t>(character.length, 1);
    if (character.length != 0 && !IsHiddenCharacter(character.code_point)) {
      out.append(text.data(), length);
    } else {
      for (const char c : text.substr(0, length)) {
        absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(c));
      }
    }
    text.remove_prefix(length);
  }
  return out;
}

std::string FieldText(const nlohmann::ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  return absl::StrJoin(value, "; ", [](std::string* out, const nlohmann::ordered_json& entry) {
    absl::StrAppend(out, FieldText(entry));
  });
}

std::string LineKind(const spdlog::details::log_msg& msg) {
  const absl::string_view logger = View(msg.logger_name);
  return absl::StrCat(logger, logger.empty() ? "" : " ", LevelOf(msg.level).name);
}

std::string FormatLine(const spdlog::details::log_msg& msg, LogFormat format, bool for_journal) {
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(msg.time), absl::UTCTimeZone());
  nlohmann::ordered_json fields = {{"message", std::string(View(msg.payload))}};
  if (View(msg.logger_name) == kStopLogger || View(msg.logger_name) == kLimiterLogger) {
    fields = nlohmann::ordered_json::parse(View(msg.payload));
  }
  std::string line(for_journal ? LevelOf(msg.level).priority : "");
  if (format == LogFormat::kJson) {
    nlohmann::ordered_json object = {{"time", time}, {"level", LevelOf(msg.level).name}};
    object.update(fields);
    // ASCII only, so that it cannot affect a terminal.
    return line + object.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
  }
  if (!for_journal) absl::StrAppend(&line, time, " ");
  absl::StrAppendFormat(&line, "%-5s %s", LevelOf(msg.level).name,
                        OnOneLine(fields["message"].get_ref<const std::string&>()));
  for (const auto& [key, value] : fields.items()) {
    if (key != "message") absl::StrAppend(&line, " ", key, "=", Quoted(FieldText(value)));
  }
  return line + "\n";
}

}  // namespace vmeventd
