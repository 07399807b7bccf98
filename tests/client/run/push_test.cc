#include <unistd.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/option.h"
#include "client/options/options.h"
#include "client/options/parser.h"
#include "client/options/reading.h"
#include "client/options/servers.h"
#include "client/output/files.h"
#include "client/output/json.h"
#include "client/run/run.h"
#include "client/sinks/push_files.h"
#include "client/sinks/push_log.h"
#include "client/sinks/push_status.h"
#include "client/sinks/sink_options.h"
#include "client/sinks/sinks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/fake_server.h"
#include "tests/support/filled_message.h"
#include "tests/support/server_messages.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {
namespace {

TEST(RunPush, AWrongTargetIsAUsageError) {
  for (const auto& [arguments, complaint] :
       {std::pair("push http://x", "--insecure-http"),
        std::pair("push nats://n1 --cluster c", "--insecure-http"),
        std::pair("push nats://u:p@localhost --cluster c", "--push-credentials"),
        std::pair("push nats://localhost", "needs --cluster NAME, the cluster of this node"),
        std::pair("push https://x --cluster c", "is not a NATS server; remove --cluster")}) {
    const auto parsed = ParseCommandLine(absl::StrSplit(arguments, ' '), {});
    ASSERT_TRUE(std::holds_alternative<CommandLine>(parsed)) << arguments;
    const auto& line = std::get<CommandLine>(parsed);
    testing::internal::CaptureStderr();
    EXPECT_EQ(RunPush(std::get<PushCommand>(line.command), line, nullptr), ExitCode::kUsage);
    EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr(complaint)) << arguments;
  }
}

// A third sink, by its row alone: it prints the names of the VMs until one is "end".
class ShelfSink : public EventSink {
 public:
  explicit ShelfSink(std::string shelf) : shelf_(std::move(shelf)) {}
  absl::Status Consume(Formatter::Events events) override {
    for (const NodeEvent& one : events) {
      std::cerr << shelf_ << ": " << one.event.vm().name() << "; ";
      if (one.event.vm().name() == "end") return absl::FailedPreconditionError("the shelf is full");
    }
    return absl::OkStatus();
  }

 private:
  const std::string shelf_;
};

constexpr char kShelf[] = "--shelf";

constexpr PushSinkKind kShelfSink = {
    .what = "a shelf",
    .url = "shelf:",
    .example = "shelf:NAME",
    .scheme = "shelf:",
    .flag = kShelf,
    .of_one_node = true,
    .parse = [](absl::string_view url, bool /*insecure*/) -> absl::StatusOr<PushTarget> {
      return PushTarget{.urls = {std::string(url)}, .shown = std::string(url), .key = "shelf"};
    },
    .options =
        [](CLI::App* app, SinkOptions* options) {
          AddValue(app, kShelf, "NAME", "shelf:: the shelf", &(*options)[kShelf]);
        },
    .make = [](const PushRun& push) -> absl::StatusOr<std::unique_ptr<EventSink>> {
      return std::make_unique<ShelfSink>(OptionOf(push.command.follow.sink_options, kShelf));
    },
    .longest_pause = absl::Seconds(1)};

// `vmevents` with a third sink.
class ThirdSinkProgram {
 public:
  explicit ThirdSinkProgram(const PushSinkKind* third = &kShelfSink) : sinks_(AllSinks()) {
    sinks_.of_push.push_back(third);
  }
  // Parses the arguments; throws CLI11's errors.
  CommandLine& Parsed(const std::vector<std::string>& arguments) {
    Define(&app_, &reading_, sinks_);
    Parse(&app_, arguments);
    ReadServers(&app_, &reading_);
    return reading_.line;
  }

 private:
  SinkTable sinks_;
  Reading reading_;
  CLI::App app_;
};

// In a process of its own: it takes signals.
void PushOntoAShelf() {
  TemporaryDirectory directory;
  FakeServer server;
  v1::WatchEventsResponse events;
  *events.add_events() = MakeEvent(1, "web1");
  *events.add_events() = MakeEvent(2, "end");
  server.service().streams = {{.messages = {ProgressMessage(0), events}, .hold_open = true}};
  server.Start();
  ThirdSinkProgram program;
  CommandLine& line =
      program.Parsed({"push", "shelf:a", kShelf, "left", "--state-dir", directory / "state"});
  line.servers.addresses = {server.address()};
  const ExitCode code = RunPush(std::get<PushCommand>(line.command), line, nullptr);
  const auto requests = server.service().WatchRequests();
  const bool begins_with_the_oldest = requests.size() == 1 && requests.front().from_oldest();
  _exit(code == ExitCode::kFailed && begins_with_the_oldest ? 0 : 1);
}

TEST(RunPush, AThirdSinkNeedsOnlyItsRow) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(PushOntoAShelf(), testing::ExitedWithCode(0),
              "left: web1; left: end; .*the shelf is full");
}

PushState FullState() {
  PushState state;
  Fill(true, &state);
  return state;
}

// A sink whose push ends when it begins; its state is saved.
PushSinkKind FullShelfSink() {
  PushSinkKind kind = kShelfSink;
  kind.make = [](const PushRun& push) -> absl::StatusOr<std::unique_ptr<EventSink>> {
    push.log->Ended("the shelf is full");
    return absl::FailedPreconditionError("the shelf is full");
  };
  return kind;
}

// In a process of its own: it takes signals.
void PushAgainOntoAFullShelf() {
  TemporaryDirectory directory;
  const PushFiles files = {directory.path()};
  PushState state = FullState();
  if (!WriteFileAtomically(files.state(), ToJson(state).value_or("")).ok()) _exit(2);
  const PushSinkKind sink = FullShelfSink();
  ThirdSinkProgram program(&sink);
  CommandLine& line = program.Parsed({"push", "shelf:a", "--state-dir", directory.path()});
  RunPush(std::get<PushCommand>(line.command), line, nullptr);
  // Fields that this push sets itself.
  state.set_target("shelf:a");
  state.set_format("cloudevents");
  state.set_ended("the shelf is full");
  const PushState saved = ReadState(files).value_or(PushState());
  const std::string differences = Differences(state, saved);
  std::cerr << differences;
  _exit(differences.empty() ? 0 : 1);
}

TEST(RunPush, EachFieldOfThePushStateSurvivesARestart) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(PushAgainOntoAFullShelf(), testing::ExitedWithCode(0), "");
}

TEST(RunPush, TheStatusShowsEachFieldOfThePushState) {
  const PushStatus status = {FullState(), "shelf"};
  const auto json = nlohmann::json::parse(StatusJson(status, absl::UnixEpoch()));
  for (int i = 0; i < PushState::descriptor()->field_count(); ++i) {
    const std::string name(PushState::descriptor()->field(i)->name());
    EXPECT_TRUE(json.contains(name)) << name;
  }
}

TEST(RunPush, AnOptionOfASinkOfAllEventsExcludesFiltersAndOptionsOfOtherSinks) {
  for (const char* other : {"--batch", "--cluster", "--vm", "--source", "--template"}) {
    EXPECT_THROW(ThirdSinkProgram().Parsed({"push", "shelf:a", kShelf, "left", other, "7"}),
                 CLI::ExcludesError)
        << other;
  }
}

}  // namespace
}  // namespace vmeventd::client
