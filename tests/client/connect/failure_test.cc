#include "client/connect/failure.h"

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using Kind = ProbeResult::Kind;

// A bound socket, which listens if asked to.
class BoundSocket {
 public:
  BoundSocket(const std::string& path, bool listening)
      : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    memcpy(name.sun_path, path.data(), path.size());
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
    if (listening) {
      EXPECT_EQ(listen(fd_, 1), 0);
    }
  }
  ~BoundSocket() { close(fd_); }
  BoundSocket(const BoundSocket&) = delete;
  BoundSocket& operator=(const BoundSocket&) = delete;

 private:
  const int fd_;
};

class ReachabilityTest : public testing::Test {
 protected:
  ReachabilityTest() { address_.path = directory_.path() + "/s.sock"; }
  std::string Explain() { return ExplainProbe(address_, Probe(address_)); }

  TemporaryDirectory directory_;
  ServerAddress address_;
};

TEST_F(ReachabilityTest, ExplainsAMissingSocket) {
  EXPECT_EQ(Explain(), "there is no socket " + address_.path +
                           ": start vmeventd, or name the socket of a running one with "
                           "--server unix:PATH");
}

TEST_F(ReachabilityTest, ExplainsAFileThatIsNoSocket) {
  std::ofstream(address_.path) << "x";
  EXPECT_THAT(Explain(), HasSubstr("is not a socket"));
}

TEST_F(ReachabilityTest, ExplainsAStaleSocket) {
  const BoundSocket bound(address_.path, false);
  EXPECT_THAT(Explain(), HasSubstr("nobody listens on the socket"));
}

TEST_F(ReachabilityTest, ExplainsAnotherListener) {
  const BoundSocket bound(address_.path, true);
  EXPECT_THAT(Explain(), HasSubstr("does not answer as vmeventd does"));
}

TEST_F(ReachabilityTest, ExplainsADaemonThatDoesNotAnswer) {
  const BoundSocket bound(address_.path, true);
  char name[16] = "";
  prctl(PR_GET_NAME, name);
  prctl(PR_SET_NAME, "vmeventd");
  const std::string hangs = absl::StrCat("vmeventd (pid ", getpid(), ") listens on the socket ",
                                         address_.path, " and does not answer");
  EXPECT_THAT(Explain(), HasSubstr(hangs));
  const Failure late = ExplainFailure(address_, {grpc::StatusCode::DEADLINE_EXCEEDED, ""});
  EXPECT_THAT(late.sentence, HasSubstr(hangs));
  prctl(PR_SET_NAME, name);
}

TEST_F(ReachabilityTest, ARequestToAnotherListenerFailsWithoutProtocolJargon) {
  const grpc::Status status(grpc::StatusCode::UNAVAILABLE,
                            "failed to connect to all addresses; last error: UNKNOWN: timed out "
                            "before receiving SETTINGS frame");
  const BoundSocket bound(address_.path, true);
  const Failure failure = ExplainFailure(address_, status);
  EXPECT_EQ(failure.code, ExitCode::kUnreachable);
  EXPECT_EQ(failure.sentence, "another program listens on the socket " + address_.path +
                                  ", and does not answer as vmeventd does");
}

TEST_F(ReachabilityTest, ExplainsPermissionDeniedOnTheSocketWithItsOwner) {
  // Root passes every permission check, so this result is constructed.
  const ProbeResult denied = {Kind::kCannotConnect, EACCES, "", "mode 0660, owner root, group kvm"};
  EXPECT_EQ(ExplainProbe(address_, denied),
            "permission denied on the socket " + address_.path +
                " (mode 0660, owner root, group kvm): run vmevents as its owner or as a member of "
                "its group");
}

TEST_F(ReachabilityTest, ExplainsPermissionDeniedOnADirectory) {
  const ProbeResult denied = {Kind::kCannotFind, EACCES, "", ""};
  EXPECT_THAT(ExplainProbe(address_, denied), HasSubstr("permission denied on a directory above"));
  const ProbeResult named = {Kind::kCannotFind, EACCES, "/run/vmeventd",
                             "mode 0750, owner root, group root"};
  EXPECT_THAT(ExplainProbe(address_, named),
              HasSubstr("permission denied on /run/vmeventd above the socket " + address_.path +
                        " (mode 0750, owner root, group root): run vmevents as root"));
}

TEST_F(ReachabilityTest, ExplainsARefusedPort) {
  // A port that is bound but does not listen refuses connections, and no other process can take it.
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(name);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&name), size), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size), 0);
  ServerAddress address;
  address.host = "127.0.0.1";
  address.port = std::to_string(ntohs(name.sin_port));
  EXPECT_THAT(ExplainProbe(address, Probe(address)), HasSubstr("(Connection refused)"));
  close(fd);
}

TEST_F(ReachabilityTest, ExplainsAnUnknownHost) {
  ServerAddress address;
  address.host = "nobody.invalid";
  address.port = "80";
  const ProbeResult unknown = {Kind::kNoSuchHost, 0, "Name or service not known", ""};
  EXPECT_THAT(ExplainProbe(address, unknown), HasSubstr("the host of nobody.invalid:80"));
}

}  // namespace
}  // namespace vmeventd::client
