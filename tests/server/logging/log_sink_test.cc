#include "server/logging/log_sink.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/unique_fd.h"
#include "server/logging/log_line.h"
#include "spdlog/logger.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// A log that the test reads.
class LogSinkTest : public ::testing::Test {
 protected:
  void SetUp() override { BeginWithPipe(); }
  void BeginWithPipe(LogSinkOptions options = kOptions) {
    End();
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    Begin(ends, options);
  }
  void Begin(const int (&ends)[2], LogSinkOptions options = kOptions) {
    out_ = UniqueFd(ends[0]);
    in_ = UniqueFd(ends[1]);
    sink_ = std::make_shared<LogSink>(in_.get(), &clock_, &meters_, options);
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

  // The reader is slow only where a test makes it slow.
  static constexpr LogSinkOptions kOptions = {
      .max_bytes = 200'000, .patience = absl::Hours(1), .lines = 1e9};
  ManualClock clock_;  // set while no line is on its way
  LogMeters meters_;
  UniqueFd out_;
  UniqueFd in_;
  std::shared_ptr<LogSink> sink_;
  std::unique_ptr<spdlog::logger> logger_;
};

TEST_F(LogSinkTest, WritesLinesInOrder) {
  for (int i = 0; i < 100; ++i) logger_->info("line {}", i);
  End();
  const std::vector<std::string> lines = ReadAll();
  ASSERT_THAT(lines, SizeIs(100));
  for (int i = 0; i < 100; ++i) EXPECT_THAT(lines[i], HasSubstr(absl::StrCat("line ", i)));
}

TEST_F(LogSinkTest, AFlushReturnsWhenAllIsWritten) {
  logger_->info("a line");
  logger_->flush();
  char bytes[100];
  ASSERT_EQ(fcntl(out_.get(), F_SETFL, O_NONBLOCK), 0);
  EXPECT_GT(read(out_.get(), bytes, sizeof(bytes)), 0);
}

// Logs more than pipe and queue hold, which must return without a reader; then reads everything.
TEST_F(LogSinkTest, AStalledReaderBlocksNoCallerAndGetsAReportOfLostLines) {
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
  uint64_t reported = 0;
  size_t summaries = 0;
  for (const std::string& line : lines) {
    if (line.find("the reader is too slow") == std::string::npos) continue;
    ++summaries;
    reported += std::stoull(line.substr(line.find("lines=") + 6));
  }
  EXPECT_EQ(reported, left_out);
  EXPECT_EQ(summaries, 1u);
  EXPECT_EQ(lines.size(), kLines - left_out + summaries + 1);
  EXPECT_THAT(lines[lines.size() - 2], HasSubstr("more text"));
}

TEST_F(LogSinkTest, StopsDespiteAStalledReader) {
  BeginWithPipe({.max_bytes = 200'000, .patience = absl::Milliseconds(50), .lines = 1e9});
  for (int i = 0; i < 10'000; ++i) logger_->info("{}", std::string(100, 'x'));
  logger_->flush();
  sink_->Stop();
  logger_->info("too late");
  EXPECT_GT(meters_.stalled_read.value(), 0u);
}

TEST_F(LogSinkTest, StoppingWithoutPatienceWritesAsMuchAsFits) {
  BeginWithPipe({.patience = absl::ZeroDuration()});
  for (int i = 0; i < 100; ++i) logger_->info("line {}", i);
  End();
  EXPECT_THAT(ReadAll(), SizeIs(100));
}

TEST_F(LogSinkTest, WritesToASocketToo) {
  End();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Begin(ends);
  std::vector<std::string> lines;
  std::thread reader([&] { lines = ReadAll(); });
  for (int i = 0; i < 1000; ++i) logger_->info("{}", std::string(100, 'x'));
  End();
  reader.join();
  EXPECT_THAT(lines, SizeIs(1000));
}

class LogJournalTest : public LogSinkTest {
 protected:
  // Logs a stop with the journal's socket at `path`.
  void LogStop(const std::string& path) {
    BeginWithPipe({.journal_socket = path.c_str()});
    logger_ = std::make_unique<spdlog::logger>(kStopLogger, sink_);
    logger_->warn("{}", R"({"message": "VM stopped", "vm": "web1", "last_words": ["a", "b"]})");
    End();
  }
  const TemporaryDirectory dir_;
};

TEST_F(LogJournalTest, AStopGoesToTheJournalWithItsFields) {
  const std::string path = dir_ / "socket";
  const UniqueFd journal(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(journal.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  LogStop(path);
  EXPECT_THAT(ReadAll(), SizeIs(0));
  char bytes[4096];
  const ssize_t size = recv(journal.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
  ASSERT_GT(size, 0);
  const std::string entry(bytes, static_cast<size_t>(size));
  const auto field = [](const std::string& name, const std::string& value) {
    std::string text = name + "\n";
    text += static_cast<char>(value.size());
    return text + std::string(7, '\0') + value + "\n";
  };
  EXPECT_THAT(entry, HasSubstr(field("MESSAGE_ID", kStoppedMessageId)));
  EXPECT_THAT(entry, HasSubstr(field("PRIORITY", "4")));
  EXPECT_THAT(entry, HasSubstr(field("VM", "web1")));
  EXPECT_THAT(entry, HasSubstr(field("LAST_WORDS", "a; b")));
  EXPECT_THAT(entry, HasSubstr(field("MESSAGE", R"(warn  VM stopped vm=web1 last_words="a; b")")));
}

TEST_F(LogJournalTest, AStopThatTheJournalDoesNotTakeIsALine) {
  LogStop(dir_ / "nobody");
  EXPECT_THAT(ReadAll(), ElementsAre(HasSubstr("<4>warn  VM stopped vm=web1")));
}

TEST_F(LogSinkTest, AClosedReaderBlocksNoCaller) {
  signal(SIGPIPE, SIG_IGN);
  out_.Reset();
  logger_->info("nobody");
  logger_->flush();
  EXPECT_EQ(meters_.stalled_read.value(), 0u);
}

class LogLimitTest : public LogSinkTest {
 protected:
  void SetUp() override {
    BeginWithPipe({.max_bytes = 200'000, .patience = absl::Hours(1)});
    stops_ = std::make_unique<spdlog::logger>(kStopLogger, sink_);
  }
  // Everything that was written until the sink's end.
  std::vector<std::string> Lines() {
    stops_.reset();
    End();
    return ReadAll();
  }
  static int Count(const std::vector<std::string>& lines, const std::string& text) {
    return static_cast<int>(std::count_if(lines.begin(), lines.end(), [&](const auto& line) {
      return absl::StrContains(line, text);
    }));
  }

  std::unique_ptr<spdlog::logger> stops_;
};

TEST_F(LogLimitTest, AStormOfStopsIsLimitedAndCounted) {
  const std::string payload = R"({"message":"VM stopped","vm":"a"})";
  for (int i = 0; i < 9000; ++i) stops_->warn(payload);
  EXPECT_EQ(meters_.rate.value(), 8900u);
  const std::vector<std::string> lines = Lines();
  EXPECT_EQ(Count(lines, "VM stopped"), 100);
  ASSERT_THAT(lines, SizeIs(101));
  EXPECT_THAT(lines.back(), HasSubstr("kind=\"stop warn\" lines=8900"));
}

TEST_F(LogLimitTest, EachLevelHasItsOwnLimit) {
  for (int i = 0; i < 1000; ++i) logger_->info("chatter");
  for (int i = 0; i < 1000; ++i) logger_->warn("flapping");
  logger_->error("the disk is full");
  const std::vector<std::string> lines = Lines();
  EXPECT_EQ(Count(lines, "chatter"), 100);
  EXPECT_EQ(Count(lines, "flapping"), 100);
  EXPECT_EQ(Count(lines, "the disk is full"), 1);
}

TEST_F(LogLimitTest, OmittedLinesAreReportedWithALaterLine) {
  for (int i = 0; i < 1000; ++i) logger_->info("chatter");
  clock_.Advance(absl::Seconds(1));
  logger_->info("the next");
  const std::vector<std::string> lines = Lines();
  ASSERT_THAT(lines, SizeIs(102));
  EXPECT_THAT(lines[100], HasSubstr("kind=info lines=900"));
  EXPECT_THAT(lines[101], HasSubstr("the next"));
}

}  // namespace
}  // namespace vmeventd
