#ifndef VMEVENTD_TESTS_CLIENT_COMMANDS_WATCH_LOOP_FIXTURE_H_
#define VMEVENTD_TESTS_CLIENT_COMMANDS_WATCH_LOOP_FIXTURE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/commands/watch_loop.h"
#include "client/consume/delivery.h"
#include "client/output/formatter.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {

inline const grpc::Status kGoingDown(grpc::StatusCode::UNAVAILABLE, "the daemon is going down");
inline const grpc::Status kOutOfRange(
    grpc::StatusCode::OUT_OF_RANGE,
    "after_sequence: 12 is older than the oldest retained event 40");

// A watch that ends after a number of events.
struct CountedWatch : WatchCommand {
  std::optional<uint64_t> count;
  bool counts_gaps = true;
};
inline CountedWatch Count(uint64_t count) {
  CountedWatch command;
  command.count = count;
  return command;
}

// Runs a watch against a scripted server, in one thread: between two attempts the test acts in
// `on_wait`.
class WatchLoopTest : public testing::Test {
 protected:
  WatchLoopTest() { server_.Start(); }

  void Serve(std::vector<v1::WatchEventsResponse> messages, grpc::Status end = kGoingDown) {
    server_.service().streams.push_back({std::move(messages), std::move(end), false});
  }
  void ServeAndHoldOpen(std::vector<v1::WatchEventsResponse> messages) {
    server_.service().streams.push_back({std::move(messages), grpc::Status::OK, true});
  }

  // Without the random pauses and the silence that tests set.
  WatchLoop::Environment MakeEnvironment(ServerAddress address) {
    WatchLoop::Environment environment;
    environment.address = std::move(address);
    environment.stop = &stop_;
    environment.note = [this](const std::string& note) { notes_.push_back(note); };
    environment.wait = [this](absl::Duration duration) {
      waits_.push_back(duration);
      return on_wait_();
    };
    return environment;
  }

  // Prints what the loop delivers.
  ExitCode Run(const CountedWatch& command, WatchLoop::Environment environment) {
    Printer printer(formatter_, &output_);
    Delivery delivery({&printer, cursor_.get(), {"server"}, command.count, command.counts_gaps});
    const ExitCode code = WatchLoop(command, std::move(environment)).Run(&delivery);
    return delivery.CodeOf(code, [this](const std::string& note) { notes_.push_back(note); });
  }
  ExitCode Run(const CountedWatch& command) {
    WatchLoop::Environment environment = MakeEnvironment(server_.address());
    environment.random = [this] { return random_; };
    environment.silence_limit = silence_limit_;
    environment.clock = [this] {
      return absl::UnixEpoch() + absl::Milliseconds(time_ += time_of_a_look_);
    };
    return Run(command, std::move(environment));
  }

  // The sequences of the JSON lines that were printed.
  std::vector<uint64_t> PrintedSequences() const {
    std::vector<uint64_t> sequences;
    for (const absl::string_view line : absl::StrSplit(output_.text, '\n', absl::SkipEmpty())) {
      v1::Event event;
      EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(std::string(line), &event).ok());
      sequences.push_back(event.sequence());
    }
    return sequences;
  }

  // From now on the watch keeps its position in a file.
  void KeepCursor() { cursor_ = *CursorFile::Open(directory_ / "cursor", {"server"}); }
  WatchPosition Kept() const { return cursor_->Find("server").value_or(WatchPosition{}); }

  TemporaryDirectory directory_;
  std::unique_ptr<CursorFile> cursor_;
  FakeServer server_;
  JsonFormatter json_;
  TableFormatter table_{TableStyle{.zone = absl::UTCTimeZone()}};
  Formatter* formatter_ = &json_;
  StringOutput output_;
  StopSource stop_;
  std::vector<std::string> notes_;
  std::vector<absl::Duration> waits_;
  double random_ = 1;  // the longest pauses
  // The clock of a stream's silence stands still but for what the test adds to it, and for this at
  // each look; milliseconds. At each limit that has passed in earnest the clock is looked at.
  std::atomic<int64_t> time_ = 0;
  std::atomic<int64_t> time_of_a_look_ = 0;
  absl::Duration silence_limit_ = absl::Milliseconds(10);
  std::function<bool()> on_wait_ = [] { return false; };
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_TESTS_CLIENT_COMMANDS_WATCH_LOOP_FIXTURE_H_
