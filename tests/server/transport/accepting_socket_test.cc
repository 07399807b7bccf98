#include "server/transport/accepting_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "server/config/listen_address.h"
#include "server/transport/listen_socket.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"
#include "tests/support/loopback.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"

namespace vmeventd {
namespace {

using e2e::ConnectUnix;
using e2e::ListenOnLoopback;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ListenAddress AddressOf(const std::string& path) {
  return ParseListenAddress("unix:" + path).value();
}

TEST(AcceptingSocket, OpensOnceAFileAtItsPathIsGone) {
  const TemporaryDirectory directory;
  const std::string path = directory / "s";
  std::ofstream(path) << "x";
  ManualClock clock;
  const std::unique_ptr<EventLoop> loop = EventLoop::Create(&clock).value();
  AcceptingSocket socket("gRPC", AddressOf(path), loop.get(), {}, absl::Minutes(1));
  EXPECT_THAT(socket.Listen(), Says("not a socket"));
  // The file in the way goes, and comes again before the attempt.
  for (const int wait : {1, 2, 4, 8, 10, 10}) {
    clock.Advance(absl::Seconds(wait) - absl::Milliseconds(1));
    ASSERT_EQ(unlink(path.c_str()), 0);
    loop->RunOnce(absl::ZeroDuration());
    EXPECT_FALSE(socket.listening()) << "it is not due";
    std::ofstream(path) << "x";
    clock.Advance(absl::Milliseconds(1));
    loop->RunOnce(absl::ZeroDuration());
    EXPECT_FALSE(socket.listening());
  }
  ASSERT_EQ(unlink(path.c_str()), 0);
  clock.Advance(AcceptingSocket::kMaxRetry);
  loop->RunOnce(absl::ZeroDuration());
  EXPECT_TRUE(socket.listening());
}

// The path is gone after `rm -rf /run/vmeventd/*`, systemd-tmpfiles, or a volume that was made
// again.
TEST(AcceptingSocket, ListensAgainIfItsPathWasRemovedOrReplaced) {
  const TemporaryDirectory directory;
  const std::string path = directory / "run/s";
  ManualClock clock;
  const std::unique_ptr<EventLoop> loop = EventLoop::Create(&clock).value();
  int accepted = 0;
  std::vector<bool> states;
  AcceptingSocket* listener = nullptr;
  AcceptingSocket socket("gRPC", AddressOf(path), loop.get(),
                         {.accepted = [&](const UniqueFd& /*fd*/) { ++accepted; },
                          .listening = [&] { states.push_back(listener->listening()); }},
                         absl::Minutes(1));
  listener = &socket;
  ASSERT_TRUE(socket.Listen().ok());
  const auto step = [&] {
    clock.Advance(AcceptingSocket::kPathCheck);
    loop->RunOnce(absl::ZeroDuration());
    loop->RunOnce(absl::ZeroDuration());
  };
  step();
  EXPECT_THAT(states, ElementsAre(true)) << "nothing has happened to the path";

  std::filesystem::remove_all(directory / "run");
  step();
  EXPECT_THAT(states, ElementsAre(true, true));
  const UniqueFd client(ConnectUnix(path));
  loop->RunOnce(absl::ZeroDuration());
  EXPECT_EQ(accepted, 1);

  // Something else has the path: it stays, and is reported until it is gone.
  ASSERT_EQ(unlink(path.c_str()), 0);
  std::ofstream(path) << "x";
  step();
  EXPECT_THAT(states, ElementsAre(true, true, false));
  EXPECT_FALSE(socket.listening());
  ASSERT_EQ(unlink(path.c_str()), 0);
  clock.Advance(AcceptingSocket::kMaxRetry);
  loop->RunOnce(absl::ZeroDuration());
  EXPECT_THAT(states, ElementsAre(true, true, false, true));
}

TEST(AcceptingSocket, LogsAnAddressOnceAndNoFailedAttemptThatEndsTheStart) {
  const TemporaryDirectory directory;
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "log", std::make_shared<spdlog::sinks::ostream_sink_st>(log)));
  ManualClock clock;
  const std::unique_ptr<EventLoop> loop = EventLoop::Create(&clock).value();
  uint16_t port = 0;
  const UniqueFd taken = ListenOnLoopback(&port);
  const std::string address = absl::StrCat("127.0.0.1:", port);
  AcceptingSocket later("gRPC", ParseListenAddress(address).value(), loop.get(), {});
  EXPECT_FALSE(later.Listen().ok());
  EXPECT_THAT(log.str(), HasSubstr(absl::StrCat("gRPC cannot listen on ", address,
                                                ": another process listens on this port; trying")));
  log.str("");
  const auto held = ListenSocket::Open(AddressOf(directory / "s"));
  AcceptingSocket never("gRPC", AddressOf(directory / "s"), loop.get(), {});
  EXPECT_TRUE(absl::IsAlreadyExists(never.Listen()));
  EXPECT_EQ(log.str(), "");
  spdlog::set_default_logger(before);
}

}  // namespace
}  // namespace vmeventd
