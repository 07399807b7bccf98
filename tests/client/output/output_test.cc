#include "client/output/output.h"

#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

TEST(DescriptorOutput, WritesAllThroughAFullPipe) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string text(1 << 20, 'x');  // sixteen times what a pipe holds
  size_t received = 0;
  std::thread reader([&ends, &received] {
    char buffer[65536];
    for (ssize_t got = 0; (got = read(ends[0], buffer, sizeof(buffer))) > 0;) {
      received += static_cast<size_t>(got);
    }
  });
  EXPECT_TRUE(DescriptorOutput(ends[1]).Write(text).ok());
  close(ends[1]);
  reader.join();
  EXPECT_EQ(received, text.size());
  close(ends[0]);
}

TEST(DescriptorOutput, ReportsThatTheReaderHasGone) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  EXPECT_TRUE(absl::IsCancelled(DescriptorOutput(ends[1]).Write("x")));
  close(ends[1]);
}

TEST(DescriptorOutput, NamesOtherFailures) {
  const absl::Status status = DescriptorOutput(-1).Write("x");
  EXPECT_EQ(status.message(), "cannot write to standard output: Bad file descriptor");
}

}  // namespace
}  // namespace vmeventd::client
