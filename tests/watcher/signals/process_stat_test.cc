#include "watcher/signals/process_stat.h"

#include <string>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

// The text of a stat file whose fields have their numbers as values.
std::string StatText(const std::string& name, int last) {
  std::string text = "7 (" + name + ") Z";
  for (int field = 4; field <= last; ++field) text += " " + std::to_string(field);
  return text + "\n";
}

TEST(ParseProcessStatTest, ReadsTheFieldsWhateverTheNameIs) {
  for (const char* name : {"init", "a) S 1 (b\n) ) 9x)", ""}) {
    const std::optional<ProcessStat> stat = ParseProcessStat(StatText(name, 52));
    ASSERT_TRUE(stat.has_value()) << name;
    EXPECT_EQ(stat->pid, 7);
    EXPECT_EQ(stat->name, name);
    EXPECT_TRUE(stat->ended());
    EXPECT_EQ(stat->parent, 4);
    EXPECT_EQ(stat->session, 6);
    EXPECT_EQ(stat->flags, 9u);
    EXPECT_EQ(stat->start_ticks, 22u);
    EXPECT_EQ(stat->exit_code, 52);
  }
  EXPECT_EQ(ParseProcessStat(StatText("init", 51))->exit_code, std::nullopt) << "before Linux 3.5";
}

TEST(ParseProcessStatTest, RefusesOtherText) {
  for (const char* text : {"", "1 (init) S 1 2 3", "1 init S 1 2 3", ") (", "x (init) S 1 2 3"}) {
    EXPECT_EQ(ParseProcessStat(text).has_value(), false) << text;
  }
  EXPECT_FALSE(ParseProcessStat(StatText("init", 21)).has_value());
}

}  // namespace
}  // namespace vmeventd
