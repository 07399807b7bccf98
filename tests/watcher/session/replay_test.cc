// Replays what real QEMUs sent, and holds the verdict against the answer that stands in each
// transcript's first line.

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/watcher/session/running_vm.h"

namespace vmeventd {
namespace {

constexpr char kGolden[] = VMEVENTD_SOURCE_DIR "/tests/golden";

std::vector<std::string> Transcripts() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) {
    if (entry.path().extension() == ".jsonl") names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ReplayTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ReplayTest, EndsInTheRecordedClass) {
  std::istringstream transcript(e2e::ReadFile(absl::StrCat(kGolden, "/", GetParam())));
  std::string line;
  std::getline(transcript, line);
  // "# class USER; ..."
  const std::vector<std::string> head = absl::StrSplit(line, absl::ByAnyChar(" ;"));
  ASSERT_GE(head.size(), 3u);
  ASSERT_EQ(head[1], "class") << line;
  const std::string& expected = head[2];
  ProcessEnd end;
  const size_t status_at = line.find("exit status ");
  ASSERT_NE(status_at, std::string::npos) << line;
  const int status = std::atoi(line.c_str() + status_at + std::strlen("exit status "));
  end.status = status < 0 ? ExitStatus{0, -status} : ExitStatus{status, 0};

  RunningVm vm;
  while (std::getline(transcript, line)) {
    vm.Line(line);
    vm.Advance(absl::Milliseconds(50));
  }
  vm.End(end);

  EXPECT_EQ(ShutdownClassName(static_cast<ShutdownClass>(vm.Stopped().shutdown_class())), expected)
      << vm.Last().message();
  EXPECT_EQ(vm.file, expected == "USER");
  EXPECT_EQ(vm.log.back(), "STOPPED");
  EXPECT_EQ(std::count(vm.log.begin(), vm.log.end(), "STOPPED"), 1);
}

INSTANTIATE_TEST_SUITE_P(Transcripts, ReplayTest, ::testing::ValuesIn(Transcripts()),
                         [](const auto& test) {
                           return std::string(absl::StripSuffix(test.param, ".jsonl"));
                         });

}  // namespace
}  // namespace vmeventd
