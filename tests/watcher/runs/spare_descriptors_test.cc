#include <fcntl.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/test_util.h"
#include "watcher/runs/process_watch.h"
#include "watcher/runs/shutdown_file.h"

namespace vmeventd {
namespace {

TEST(SpareDescriptorsTest, LetAShutdownFileBeWrittenWhileTheTableIsFull) {
  TempDir directory;
  SpareDescriptors spares;
  const FullDescriptorTable full;
  const auto create = [&] { return CreateShutdownFile(directory.path(), "vm"); };
  EXPECT_TRUE(absl::IsResourceExhausted(create()));
  // And again: they are taken back afterwards.
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = spares.Do(create);
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_TRUE(absl::IsResourceExhausted(create()));
}

TEST(SpareDescriptorsTest, ThoseThatWereUsedAreTakenBackOnceThereIsRoom) {
  SpareDescriptors spares;
  std::vector<UniqueFd> kept;
  const auto keep = [&] {
    kept.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
    return kept.back().valid() ? absl::OkStatus() : absl::ResourceExhaustedError("full");
  };
  {
    const FullDescriptorTable full;
    while (spares.Do(keep).ok()) {
    }
    kept.clear();
  }
  spares.Refill();
  const FullDescriptorTable full;
  EXPECT_TRUE(spares.Do(keep).ok());
}

TEST(SpareDescriptorsTest, OtherErrorsAreNotTriedAgain) {
  SpareDescriptors spares;
  int calls = 0;
  const absl::Status status = spares.Do([&calls] {
    ++calls;
    return absl::NotFoundError("x");
  });
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace vmeventd
