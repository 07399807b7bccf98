#include "server/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "nlohmann/json.hpp"
#include "spdlog/details/log_msg.h"

namespace vmeventd {
namespace {

std::string Line(LogFormat format, const std::string& message) {
  const spdlog::details::log_msg msg(
      spdlog::log_clock::time_point(std::chrono::milliseconds(1'769'860'800'123)),
      spdlog::source_loc(), "", spdlog::level::warn, message);
  spdlog::memory_buf_t out;
  MakeLogFormatter(format)->format(msg, out);
  return std::string(out.data(), out.size());
}

TEST(Logging, WritesTextOnOneLine) {
  EXPECT_EQ(Line(LogFormat::kText, "a\nb"), "2026-01-31T12:00:00.123Z warn  a\\x0ab\n");
}

TEST(Logging, WritesOneObjectALineWhateverTheMessageHolds) {
  const std::string line = Line(LogFormat::kJson, "a\n\"b\"\x01 \xff {}");
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const nlohmann::json object = nlohmann::json::parse(line);
  EXPECT_EQ(object["time"], "2026-01-31T12:00:00.123Z");
  EXPECT_EQ(object["level"], "warn");
  EXPECT_EQ(object["message"], "a\n\"b\"\x01 \xef\xbf\xbd {}");
}

}  // namespace
}  // namespace vmeventd
