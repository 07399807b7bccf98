#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/support/machine_probe.h"
#include "tests/support/wait.h"
#include "tests/watcher/runs/as_nobody.h"
#include "tests/watcher/runs/child.h"
#include "tests/watcher/runs/exit_message.h"
#include "watcher/runs/exit_status_reader.h"

namespace vmeventd {
namespace {

class ProcConnectorTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoProcConnector(); !why.empty()) GTEST_SKIP() << why;
    Connect();
  }
  void Connect() {
    connector_ = ExitStatusReader::Create(loop_.get(), ExitStatusSource::kProcConnector,
                                          std::exchange(handed_, {}));
    ASSERT_EQ(connector_->source(), ExitStatusSource::kProcConnector);
  }
  std::optional<int> Learn(pid_t pid) {
    std::optional<int> status;
    StepUntil([&] { status = connector_->WaitStatusOf(pid); }, [&] { return status.has_value(); });
    return status;
  }
  // The daemon stops: nobody reads the socket any more, and the next one gets it.
  void Stop() {
    handed_.socket = UniqueFd(dup(connector_->socket()));
    connector_.reset();
  }

  SystemClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<ExitStatusReader> connector_;
  HandedExits handed_;
};

TEST_F(ProcConnectorTest, DropsExitsOfProcessesThatNobodyFollows) {
  Child first(Sleep);
  Child second(Sleep);
  connector_->Follow(first.pid());
  connector_->Follow(second.pid());
  connector_->Follow(second.pid());
  connector_->Unfollow(first.pid());
  connector_->Unfollow(second.pid());
  kill(first.pid(), SIGKILL);
  first.AwaitEnd();
  kill(second.pid(), SIGKILL);
  EXPECT_EQ(Learn(second.pid()), SIGKILL) << "one follows it still";
  EXPECT_EQ(connector_->WaitStatusOf(first.pid()), std::nullopt);
}

TEST_F(ProcConnectorTest, MessagesThatWaitWhenAPidIsFollowedBelongToAnEarlierProcess) {
  Child earlier(Sleep);
  Child marker(Sleep);
  // The kernel reports an end a moment after it: wait until another listener has the report.
  const auto witness = ExitStatusReader::Create(loop_.get(), ExitStatusSource::kProcConnector);
  witness->Follow(earlier.pid());
  kill(earlier.pid(), SIGKILL);
  ASSERT_TRUE(StepUntil([] {}, [&] { return witness->WaitStatusOf(earlier.pid()).has_value(); }));
  connector_->Follow(marker.pid());
  kill(marker.pid(), SIGKILL);
  ASSERT_TRUE(Learn(marker.pid()).has_value());
  // This is as if its pid had been given to a new process.
  connector_->Follow(earlier.pid());
  EXPECT_EQ(connector_->WaitStatusOf(earlier.pid()), std::nullopt);
}

TEST_F(ProcConnectorTest, AReusedPidDoesNotReplaceTheStatusOfTheEarlierProcess) {
  Child child(Sleep);
  connector_->Follow(child.pid());
  connector_->OnMessage(ExitMessage(child.pid(), SIGSEGV));
  connector_->OnMessage(ExitMessage(child.pid(), 0));
  EXPECT_EQ(connector_->WaitStatusOf(child.pid()), SIGSEGV);
}

TEST_F(ProcConnectorTest, EndsWhileNobodyReadsAreKnownToTheNextReader) {
  Child first(Sleep);
  Child second(Sleep);
  connector_->Follow(first.pid());
  connector_->Follow(second.pid());
  handed_.wait_statuses = {{first.pid(), std::nullopt}, {second.pid(), std::nullopt}};
  Stop();
  for (Child* child : {&first, &second}) {
    kill(child->pid(), SIGKILL);
    child->AwaitEnd();
  }
  Connect();
  connector_->Follow(first.pid());
  EXPECT_EQ(Learn(first.pid()), SIGKILL);
  connector_->Follow(second.pid());
  EXPECT_EQ(Learn(second.pid()), SIGKILL) << "its message was read before it was followed";
}

TEST_F(ProcConnectorTest, AProcessThatNobodyTookOverIsForgotten) {
  Child child(Sleep);
  handed_.wait_statuses = {{child.pid(), SIGSEGV}};
  Stop();
  Connect();
  connector_->ForgetHanded();
  connector_->Follow(child.pid());
  EXPECT_EQ(connector_->WaitStatusOf(child.pid()), std::nullopt);
}

TEST_F(ProcConnectorTest, ReportsDroppedWhileNobodyReadsAreCounted) {
  Child child(Sleep);
  connector_->Follow(child.pid());
  const int least = 0;
  ASSERT_EQ(setsockopt(connector_->socket(), SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
  handed_.wait_statuses = {{child.pid(), std::nullopt}};
  Stop();
  for (int i = 0; i < 20; ++i) Child([] { return 0; }).AwaitEnd();
  kill(child.pid(), SIGKILL);
  child.AwaitEnd();
  Connect();
  connector_->Follow(child.pid());
  EXPECT_TRUE(StepUntil([&] { connector_->WaitStatusOf(child.pid()); },
                        [&] { return connector_->overflows() > 0; }));
}

TEST_F(ProcConnectorTest, DoesNotResumeADescriptorOfAnotherKind) {
  const UniqueFd another(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE));
  for (const int descriptor : {another.get(), STDIN_FILENO}) {
    handed_.socket = UniqueFd(dup(descriptor));
    const auto reader = ExitStatusReader::Create(loop_.get(), ExitStatusSource::kProcConnector,
                                                 std::exchange(handed_, {}));
    EXPECT_EQ(reader->source(), ExitStatusSource::kNone);
  }
}

TEST_F(ProcConnectorTest, IgnoresMalformedMessages) {
  Child followed(Sleep);
  connector_->Follow(followed.pid());
  const std::string message = ExitMessage(followed.pid(), SIGKILL);
  std::string of_another_kind = message;
  of_another_kind[NLMSG_HDRLEN] = '\x7f';
  for (const std::string& refused : {std::string(), std::string(35, 'x'), std::string(200, '\xff'),
                                     message.substr(0, kMessageOffset), of_another_kind}) {
    connector_->OnMessage(refused);
    EXPECT_EQ(connector_->WaitStatusOf(followed.pid()), std::nullopt);
  }
  connector_->OnMessage(message);
  EXPECT_EQ(connector_->WaitStatusOf(followed.pid()), SIGKILL);
}

TEST_F(ProcConnectorTest, NeedsARightBeforeLinux66) {
  connector_.reset();
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  const auto reader = ExitStatusReader::Create(loop_.get(), ExitStatusSource::kProcConnector);
  EXPECT_EQ(reader->source() == ExitStatusSource::kProcConnector, ProcConnectorIsForAll());
}

}  // namespace
}  // namespace vmeventd
