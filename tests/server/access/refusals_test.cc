#include "server/access/refusals.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "tests/support/files.h"

namespace vmeventd {
namespace {

// Adds the words of a text that stand between backticks.
void AddMarked(absl::string_view text, std::set<std::string>* words) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '`');
  for (size_t i = 1; i < parts.size(); i += 2) words->emplace(parts[i]);
}

TEST(RefusalTest, DocumentsListEachReasonAndNoOther) {
  std::set<std::string> documented;
  const std::string api = e2e::ReadFile(VMEVENTD_SOURCE_DIR "/docs/api.md");
  const size_t begin = api.find("\n## Limits\n");
  const std::string limits = api.substr(begin, api.find("\n## Python\n") - begin);
  for (const absl::string_view line : absl::StrSplit(limits, '\n')) {
    const std::vector<absl::string_view> cells = absl::StrSplit(line, " | ");
    if (cells.size() == 4) AddMarked(cells[3], &documented);
  }
  const std::string metrics = e2e::ReadFile(VMEVENTD_SOURCE_DIR "/docs/monitoring.md");
  for (const absl::string_view line : absl::StrSplit(metrics, '\n')) {
    if (!absl::StartsWith(line, "| `vmeventd_refusals_total` ")) continue;
    const std::vector<absl::string_view> also = absl::StrSplit(line, "also ");
    ASSERT_EQ(also.size(), 2U) << line;
    AddMarked(also[1], &documented);
  }
  EXPECT_EQ(documented, std::set<std::string>(std::begin(kRefusalNames), std::end(kRefusalNames)));
}

}  // namespace
}  // namespace vmeventd
