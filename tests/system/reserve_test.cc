// Root and the daemon's own user are served while others have taken every share.

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/system/hostile/http2_frames.h"

namespace vmeventd::e2e {
namespace {

constexpr int kConnections = 40;
constexpr int kOfUser = kConnections / 2;
constexpr uint32_t kCallsOfConnection = 500 / kOfUser;  // all that one user may have

class ReserveTest : public E2eTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "connects as other users";
    StartDaemon(Options({"--max-connections", absl::StrCat(kConnections), "--max-streams", "8"}));
    chmod(dir().path().c_str(), 0755);
    chmod((dir() / "run").c_str(), 0755);
    chmod(Options().socket.c_str(), 0666);
  }

  // Connects as a user other than root, and shows that it speaks HTTP/2.
  UniqueFd ConnectAs(uid_t user) {
    // The raw call changes this thread alone.
    if (syscall(SYS_setresuid, -1, user, -1) != 0) FailErrno("setresuid");
    UniqueFd fd(ConnectUnix(Options().socket));
    syscall(SYS_setresuid, -1, 0, -1);
    if (!fd.valid()) Fail("the daemon's socket cannot be connected to");
    EXPECT_EQ(send(fd.get(), kPreface.data(), kPreface.size(), MSG_NOSIGNAL), kPreface.size());
    return fd;
  }
  // Whether the daemon serves the connection: it sends its SETTINGS, or closes.
  static bool IsServed(const UniqueFd& fd) {
    char byte = 0;
    return recv(fd.get(), &byte, 1, MSG_PEEK) == 1;
  }
  // Opens calls that last.
  static void OpenCalls(const UniqueFd& fd) {
    std::string bytes;
    for (uint32_t i = 0; i < kCallsOfConnection; ++i) {
      bytes += Call("/grpc.health.v1.Health/Watch", 2 * i + 1);
    }
    EXPECT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), bytes.size());
  }
};

TEST_F(ReserveTest, RootIsAnsweredWhileOthersHaveTakenEveryConnectionAndCall) {
  std::vector<UniqueFd> others;
  for (const uid_t user : {2001u, 2002u}) {
    for (int i = 0; i < kOfUser; ++i) others.push_back(ConnectAs(user));
  }
  for (const UniqueFd& connection : others) {
    // One less than all: the test's own connection has a seat too.
    if (IsServed(connection)) OpenCalls(connection);
  }
  // Then those who have few connections, up to an eighth more.
  uid_t user = 3000;
  do {
    others.push_back(ConnectAs(++user));
    if (!IsServed(others.back())) break;
    OpenCalls(others.back());
  } while (user < 3000 + kConnections);
  ASSERT_LT(user, 3000 + kConnections) << "somebody was refused";

  const auto channel = OwnChannel(daemon().server_address());
  const auto stub = v1::VmEventService::NewStub(channel);
  grpc::ClientContext info_context;
  v1::GetServerInfoResponse info;
  const grpc::Status status = stub->GetServerInfo(&info_context, {}, &info);
  EXPECT_TRUE(status.ok()) << status.error_message();
  grpc::ClientContext intent_context;
  v1::DeclareIntentRequest intent;
  intent.set_vm_name("none");
  intent.set_actor("root");
  intent.set_reason("test");
  v1::DeclareIntentResponse declared;
  EXPECT_EQ(stub->DeclareIntent(&intent_context, intent, &declared).error_code(), grpc::NOT_FOUND)
      << "it is looked for";
  EXPECT_EQ(CallRaw(channel, "/grpc.health.v1.Health/Check", ""), std::string("\x08\x01"));
}

}  // namespace
}  // namespace vmeventd::e2e
