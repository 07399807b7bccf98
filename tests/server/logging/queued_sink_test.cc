#include "server/logging/queued_sink.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/unique_fd.h"
#include "server/logging/logging.h"
#include "spdlog/logger.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// A log that the test reads.
class QueuedSinkTest : public ::testing::Test {
 protected:
  void SetUp() override { BeginWithPipe(absl::Hours(1)); }
  void BeginWithPipe(absl::Duration patience) {
    End();
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    Begin(UniqueFd(ends[0]), UniqueFd(ends[1]), patience);
  }
  // The reader is slow where the test says so, and nowhere else.
  void Begin(UniqueFd out, UniqueFd in, absl::Duration patience = absl::Hours(1)) {
    out_ = std::move(out);
    in_ = std::move(in);
    sink_ = std::make_shared<QueuedSink>(in_.get(), &meters_, kBytes, patience);
    sink_->set_formatter(MakeLogFormatter(LogFormat::kText, LogReader::kAnybody));
    logger_ = std::make_unique<spdlog::logger>("", sink_);
  }
  // Everything until the sink's end is closed.
  std::vector<std::string> ReadAll() {
    std::string text;
    char bytes[4096];
    for (ssize_t size = 0; (size = read(out_.get(), bytes, sizeof(bytes))) > 0;) {
      text.append(bytes, static_cast<size_t>(size));
    }
    return absl::StrSplit(text, '\n', absl::SkipEmpty());
  }
  void End() {
    logger_.reset();
    sink_.reset();
    in_.Reset();
  }

  static constexpr size_t kBytes = 200'000;
  LogMeters meters_;
  UniqueFd out_;
  UniqueFd in_;
  std::shared_ptr<QueuedSink> sink_;
  std::unique_ptr<spdlog::logger> logger_;
};

TEST_F(QueuedSinkTest, WritesLinesInOrder) {
  for (int i = 0; i < 100; ++i) logger_->info("line {}", i);
  End();
  const std::vector<std::string> lines = ReadAll();
  ASSERT_THAT(lines, SizeIs(100));
  for (int i = 0; i < 100; ++i) EXPECT_THAT(lines[i], HasSubstr(absl::StrCat("line ", i)));
}

TEST_F(QueuedSinkTest, AFlushReturnsWhenAllIsWritten) {
  logger_->info("a line");
  logger_->flush();
  char bytes[100];
  ASSERT_EQ(fcntl(out_.get(), F_SETFL, O_NONBLOCK), 0);
  EXPECT_GT(read(out_.get(), bytes, sizeof(bytes)), 0);
}

// Logs more than pipe and queue hold, which must return without a reader; then reads everything.
TEST_F(QueuedSinkTest, AStalledReaderBlocksNoCallerAndGetsAReportOfLostLines) {
  constexpr int kLines = 10'000;
  const std::string text(100, 'x');
  for (int i = 0; i < kLines; ++i) logger_->info("{}", text);
  const uint64_t left_out = meters_.stalled_read.value();
  EXPECT_GT(left_out, 0u);
  std::vector<std::string> lines;
  std::thread reader([&] { lines = ReadAll(); });
  logger_->flush();  // there is room again
  logger_->info("more text");
  End();
  reader.join();
  // Usually one report; another one if the first left-out line was reported at once.
  uint64_t reported = 0;
  size_t summaries = 0;
  for (const std::string& line : lines) {
    if (line.find("its reader is too slow") == std::string::npos) continue;
    ++summaries;
    reported += std::stoull(line.substr(line.find("lines=") + 6));
  }
  EXPECT_EQ(reported, left_out);
  EXPECT_LE(summaries, 2u);
  EXPECT_EQ(lines.size(), kLines - left_out + summaries + 1);
  EXPECT_THAT(lines.back(), HasSubstr("more text"));
}

TEST_F(QueuedSinkTest, EndsWithAStalledReader) {
  BeginWithPipe(absl::Milliseconds(50));
  for (int i = 0; i < 10'000; ++i) logger_->info("{}", std::string(100, 'x'));
  logger_->flush();
  sink_->Stop();
  logger_->info("too late");
  EXPECT_GT(meters_.stalled_read.value(), 0u);
}

TEST_F(QueuedSinkTest, AnEndWithoutPatienceWritesWhatThereIsRoomFor) {
  BeginWithPipe(absl::ZeroDuration());
  for (int i = 0; i < 100; ++i) logger_->info("line {}", i);
  End();
  EXPECT_THAT(ReadAll(), SizeIs(100));
}

TEST_F(QueuedSinkTest, WritesToASocketAsWell) {
  End();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Begin(UniqueFd(ends[0]), UniqueFd(ends[1]));
  std::vector<std::string> lines;
  std::thread reader([&] { lines = ReadAll(); });
  for (int i = 0; i < 1000; ++i) logger_->info("{}", std::string(100, 'x'));
  End();
  reader.join();
  EXPECT_THAT(lines, SizeIs(1000));
}

TEST_F(QueuedSinkTest, AClosedReaderBlocksNoCaller) {
  signal(SIGPIPE, SIG_IGN);
  out_.Reset();
  logger_->info("nobody");
  logger_->flush();
  EXPECT_EQ(meters_.stalled_read.value(), 0u);
}

}  // namespace
}  // namespace vmeventd
