#include "client/output/table_layout.h"

#include <gtest/gtest.h>

#include "client/output/painter.h"

namespace vmeventd::client {
namespace {

TEST(Painter, PaintsOnlyIfColourIsOn) {
  EXPECT_EQ(Painter(true).Paint("CRASH", Color::kRed), "\x1b[1;31mCRASH\x1b[0m");
  EXPECT_EQ(Painter(true).Paint("CRASH", Color::kNone), "CRASH");
  EXPECT_EQ(Painter(true).Paint("", Color::kRed), "");
  EXPECT_EQ(Painter(false).Paint("CRASH", Color::kRed), "CRASH");
}

TEST(ColumnLayout, AlignsColumnsAndEndsLinesWithoutBlanks) {
  ColumnLayout layout({{"VM", 4}, {"STATE"}, {"DETAIL"}}, Painter(false));
  layout.Fit({{"größer"}, {"x"}, {""}});
  EXPECT_EQ(layout.Line({{"größer"}, {"x"}, {""}}), "größer  x\n");
  EXPECT_EQ(layout.Heading(), "VM      STATE  DETAIL\n");
  EXPECT_EQ(layout.Line({{"a"}, {""}, {"why"}}), "a              why\n");
}

TEST(ColumnLayout, ColourDoesNotCountAsWidth) {
  ColumnLayout layout({{"A", 4}, {"B"}}, Painter(true));
  EXPECT_EQ(layout.Line({{"x", Color::kBold}, {"y"}}), "\x1b[1mx\x1b[0m     y\n");
}

TEST(ColumnLayout, ATextThatIsTooWideMovesOnlyItsOwnRow) {
  ColumnLayout layout({{"A", 2}, {"B"}}, Painter(false));
  EXPECT_EQ(layout.Line({{"long"}, {"y"}}), "long  y\n");
  EXPECT_EQ(layout.Line({{"x"}, {"y"}}), "x   y\n");
}

TEST(ColumnLayout, NoRowMovesAColumnOfALimitedLine) {
  ColumnLayout layout({{"NAME", 4}, {"B"}}, Painter(false));
  EXPECT_EQ(layout.Heading(12), "NAME  B\n");
  EXPECT_EQ(layout.Line({{"longer"}, {"y"}}, 12), "lon…  y\n");
  EXPECT_EQ(layout.Line({{"x"}, {"seven or more"}}, 12), "x     seven…\n");
  EXPECT_EQ(layout.Line({{"longer"}, {"y"}}, 3), "lo…\n") << "narrower than its first column";
}

}  // namespace
}  // namespace vmeventd::client
