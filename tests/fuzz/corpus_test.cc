// Replays the corpora of the fuzz targets: each input as it is, its prefixes, and with single bytes
// changed, always the same ones. A finding aborts.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#define TARGET(name) void Fuzz_##name(absl::string_view input);
#include "fuzz_targets.inc"
#undef TARGET

namespace vmeventd {
namespace {

constexpr size_t kVariants =
    100;  // variants of all inputs of a target together, at least one of each

struct Target {
  const char* name;
  void (*run)(absl::string_view input);
};
void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

class FuzzCorpusTest : public testing::TestWithParam<Target> {
 protected:
  static void Run(const std::string& input) {
    // A copy of its exact size: a read beyond it is found.
    const std::vector<char> bytes(input.begin(), input.end());
    GetParam().run({bytes.data(), bytes.size()});
  }
};

TEST_P(FuzzCorpusTest, Replays) {
  std::vector<std::filesystem::path> inputs;
  for (const auto& file : std::filesystem::directory_iterator(
           absl::StrCat(VMEVENTD_SOURCE_DIR "/tests/fuzz/corpus/", GetParam().name))) {
    inputs.push_back(file.path());
  }
  ASSERT_FALSE(inputs.empty());
  std::sort(inputs.begin(), inputs.end());
  std::mt19937 random;  // NOLINT(cert-msc51-cpp): the same in each run
  for (const std::filesystem::path& path : inputs) {
    std::ifstream file(path, std::ios::binary);
    const std::string input(std::istreambuf_iterator<char>(file), {});
    SCOPED_TRACE(path);
    Run(input);
    for (size_t i = 0; i < std::max<size_t>(kVariants / inputs.size(), 1) && !input.empty(); ++i) {
      const size_t at = random() % input.size();
      Run(input.substr(0, at));
      std::string changed = input;
      changed[at] = static_cast<char>(random());
      Run(changed);
    }
  }
}

constexpr Target kTargets[] = {
#define TARGET(name) {#name, Fuzz_##name},
#include "fuzz_targets.inc"
#undef TARGET
};

INSTANTIATE_TEST_SUITE_P(All, FuzzCorpusTest, testing::ValuesIn(kTargets),
                         [](const auto& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace vmeventd
