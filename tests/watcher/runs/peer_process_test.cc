#include "watcher/runs/peer_process.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

bool Readable(const UniqueFd& fd) {
  pollfd poll_fd{fd.get(), POLLIN, 0};
  return poll(&poll_fd, 1, -1) == 1;
}

TEST(PeerProcessTest, IdentifiesTheProcessBehindASocket) {
  TemporaryDirectory directory;
  FakeQemu qemu;
  qemu.AddMonitor(directory.Path("m"));
  const UniqueFd connection(e2e::ConnectUnix(directory.Path("m")));
  const auto peer = IdentifyPeer(connection.get());
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->kind, PeerProcess::Kind::kTracked);
  EXPECT_EQ(peer->pid, qemu.pid());
  const absl::Duration age = absl::Now() - ProcessStartTime(peer->start_ticks);
  EXPECT_LT(absl::AbsDuration(age), absl::Minutes(5));
  EXPECT_EQ(IdentifyByPid(qemu.pid())->start_ticks, peer->start_ticks);

  qemu.Kill(SIGKILL);
  EXPECT_TRUE(Readable(peer->pidfd));
}

TEST(PeerProcessTest, AZombieIsGoneAndSoIsAReapedProcess) {
  TemporaryDirectory directory;
  FakeQemu qemu;
  qemu.AddMonitor(directory.Path("m"));
  const UniqueFd connection(e2e::ConnectUnix(directory.Path("m")));
  const pid_t pid = qemu.pid();
  qemu.Kill(SIGKILL);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(IdentifyPeer(connection.get())->kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(IdentifyByPid(pid)->kind, PeerProcess::Kind::kGone);
  qemu.Reap();
  EXPECT_EQ(IdentifyPeer(connection.get())->kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(IdentifyByPid(pid)->kind, PeerProcess::Kind::kGone);
}

TEST(PeerProcessTest, FindsAProcessAgainByItsStartTime) {
  FakeQemu qemu;
  const uint64_t start_ticks = IdentifyByPid(qemu.pid())->start_ticks;
  ASSERT_NE(start_ticks, 0u);
  const absl::StatusOr<PeerProcess> found = IdentifyAgain(qemu.pid(), start_ticks);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->kind, PeerProcess::Kind::kTracked);
  EXPECT_EQ(IdentifyAgain(qemu.pid(), start_ticks + 1)->kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(IdentifyAgain(qemu.pid(), 0)->kind, PeerProcess::Kind::kTracked) << "not known then";
  qemu.Kill(SIGKILL);
  ASSERT_TRUE(Readable(found->pidfd));
  EXPECT_EQ(IdentifyAgain(qemu.pid(), start_ticks)->kind, PeerProcess::Kind::kGone) << "a zombie";
  const pid_t pid = qemu.pid();
  qemu.Reap();
  EXPECT_EQ(IdentifyAgain(pid, start_ticks)->kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(IdentifyAgain(-7, start_ticks)->kind, PeerProcess::Kind::kGone);
}

TEST(PeerProcessTest, AThreadIdIsNotTakenForAPid) {
  std::atomic<pid_t> number = 0;
  std::atomic<bool> over = false;
  std::thread thread([&] {
    number = gettid();
    number.notify_all();
    over.wait(false);
  });
  number.wait(0);
  EXPECT_EQ(IdentifyAgain(number, 1)->kind, PeerProcess::Kind::kGone);
  over = true;
  over.notify_all();
  thread.join();
}

}  // namespace
}  // namespace vmeventd
