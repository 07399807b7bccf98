#include "watcher/runs/exit_status_reader.h"

#include <algorithm>
#include <csignal>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/machine_probe.h"
#include "tests/support/wait.h"
#include "tests/watcher/runs/as_nobody.h"
#include "tests/watcher/runs/child.h"
#include "watcher/runs/peer_process.h"

namespace vmeventd {
namespace {

std::string WhyNo(ExitStatusSource source) {
  if (source == ExitStatusSource::kPidfd) return WhyNoPidfdExitStatus();
  return source == ExitStatusSource::kProcConnector ? WhyNoProcConnector() : "";
}

class ExitStatusReaderTest : public testing::TestWithParam<ExitStatusSource> {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNo(GetParam()); !why.empty()) GTEST_SKIP() << why;
    reader_ = ExitStatusReader::Create(loop_.get(), GetParam());
    ASSERT_EQ(reader_->source(), GetParam());
  }

  ExitStatusReader::Answer Ask(const Child& child, const UniqueFd& pidfd, pid_t pid = 0) {
    if (pid == 0) pid = child.pid();
    return reader_->Ask(pidfd.get(), pid, 0);
  }
  // Asks until the answer cannot change any more.
  std::optional<ExitStatus> Learn(const UniqueFd& pidfd, pid_t pid) {
    ExitStatusReader::Answer answer;
    StepUntil([&] { answer = reader_->Ask(pidfd.get(), pid, 0); }, [&] { return answer.final; });
    answer = reader_->Ask(pidfd.get(), pid, 0);
    StepUntil([&] { answer = reader_->Ask(pidfd.get(), pid, 0); }, [&] { return answer.final; });
    return answer.status;
  }
  bool TellsReaped() const { return GetParam() != ExitStatusSource::kNone; }

  SystemClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<ExitStatusReader> reader_;
};

INSTANTIATE_TEST_SUITE_P(Sources, ExitStatusReaderTest,
                         testing::Values(ExitStatusSource::kPidfd, ExitStatusSource::kProcConnector,
                                         ExitStatusSource::kNone),
                         [](const auto& test) {
                           std::string name(ExitStatusSourceName(test.param));
                           std::erase(name, '_');
                           return name;
                         });

TEST_P(ExitStatusReaderTest, AStatusIsReadEvenIfTheParentReapsAtOnce) {
  // Signals, and codes below 0.
  for (const int end : {SIGKILL, SIGABRT, SIGTERM, 0, -3, -255}) {
    int go[2];
    ASSERT_EQ(pipe(go), 0);
    Child child([&go, end] {
      char byte;
      return read(go[0], &byte, 1) == 1 ? -end : 99;
    });
    const pid_t pid = child.pid();
    const UniqueFd pidfd = child.OpenPidfd();
    reader_->Follow(pid);
    if (end > 0) kill(pid, end);
    ASSERT_EQ(write(go[1], "x", 1), 1);
    child.Reap();
    close(go[0]);
    close(go[1]);
    const std::optional<ExitStatus> status = Learn(pidfd, pid);
    reader_->Unfollow(pid);
    ASSERT_EQ(status.has_value(), TellsReaped());
    if (!status.has_value()) continue;
    EXPECT_EQ(status->signal, std::max(end, 0));
    EXPECT_EQ(status->code, std::max(-end, 0));
  }
}

TEST_P(ExitStatusReaderTest, AZombiesStatusIsReadAtOnce) {
  for (const bool well : {true, false}) {
    Child child([well] { return well ? 0 : Sleep(); });
    const UniqueFd pidfd = child.OpenPidfd();
    if (!well) kill(child.pid(), SIGABRT);
    child.AwaitEnd();
    const ExitStatusReader::Answer answer = Ask(child, pidfd);
    EXPECT_TRUE(answer.final);
    ASSERT_TRUE(answer.status.has_value()) << "the same user may read it";
    EXPECT_EQ(answer.status->signal, well ? 0 : SIGABRT);
    EXPECT_EQ(answer.status->code, 0);
  }
}

TEST_P(ExitStatusReaderTest, AnotherUsersZombieHasNoStatusBeforeItIsReaped) {
  Child child(Sleep);
  const pid_t pid = child.pid();
  const UniqueFd pidfd = child.OpenPidfd();
  kill(pid, SIGKILL);
  child.AwaitEnd();
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  // The process is not followed, so the connector does not know it either.
  ExitStatusReader::Answer answer = Ask(child, pidfd);
  EXPECT_FALSE(answer.status.has_value()) << "0 is what it sees, and no status";
  EXPECT_EQ(answer.final, !TellsReaped());
  child.Reap();
  answer = Ask(child, pidfd, pid);
  if (GetParam() != ExitStatusSource::kPidfd) return;
  ASSERT_TRUE(answer.status.has_value());
  EXPECT_EQ(answer.status->signal, SIGKILL);
}

TEST_P(ExitStatusReaderTest, AReusedProcessIdHasNoStatus) {
  Child gone(Sleep);
  const UniqueFd pidfd = gone.OpenPidfd();
  reader_->Follow(gone.pid());
  const pid_t pid = gone.pid();
  kill(pid, SIGKILL);
  gone.Reap();
  Child other([] { return 7; });
  other.AwaitEnd();
  // This is as if the pid had been given to `other`, which is a zombie.
  const ExitStatusReader::Answer answer = Ask(other, pidfd);
  EXPECT_FALSE(answer.status.has_value() && answer.status->code == 7);
  reader_->Unfollow(pid);
}

TEST(ExitStatusReaderZombieTest, AProcessWithAnotherStartTimeHasNoStatus) {
  const SystemClock clock;
  const auto loop = EventLoop::Create(&clock).value();
  const auto reader = ExitStatusReader::Create(loop.get(), ExitStatusSource::kNone);
  Child child([] { return 7; });
  const UniqueFd pidfd = child.OpenPidfd();
  child.AwaitEnd();
  const uint64_t started = IdentifyByPid(child.pid())->start_ticks;
  EXPECT_FALSE(reader->Ask(pidfd.get(), child.pid(), started + 1).status.has_value());
  EXPECT_EQ(reader->Ask(pidfd.get(), child.pid(), started).status->code, 7);
}

TEST(ExitStatusSourceTest, TheBestAvailableSourceIsTakenUnlessOneIsForced) {
  const SystemClock clock;
  const auto loop = EventLoop::Create(&clock).value();
  ExitStatusSource best = ExitStatusSource::kPidfd;
  if (!WhyNo(best).empty()) best = ExitStatusSource::kProcConnector;
  if (!WhyNo(best).empty()) best = ExitStatusSource::kNone;
  EXPECT_EQ(ExitStatusReader::Create(loop.get(), std::nullopt)->source(), best);
}

}  // namespace
}  // namespace vmeventd
