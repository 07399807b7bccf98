#include "client/connect/failure.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/loopback.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using Kind = ProbeResult::Kind;

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
  UniqueFd(e2e::ListenUnix(address_.path)).Reset();
  EXPECT_THAT(Explain(), HasSubstr("nobody listens on the socket"));
}

TEST_F(ReachabilityTest, ExplainsADaemonThatDoesNotAnswer) {
  const UniqueFd listener(e2e::ListenUnix(address_.path));
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
  const UniqueFd listener(e2e::ListenUnix(address_.path));
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
  uint16_t port = 0;
  const UniqueFd held = e2e::HoldOnLoopback(&port);
  const ServerAddress address = {.host = "127.0.0.1", .port = std::to_string(port)};
  EXPECT_THAT(ExplainProbe(address, Probe(address)), HasSubstr("(Connection refused)"));
}

TEST_F(ReachabilityTest, ExplainsAnUnknownHost) {
  const ServerAddress address = {.host = "nobody.invalid", .port = "80"};
  const ProbeResult unknown = {Kind::kNoSuchHost, 0, "Name or service not known", ""};
  EXPECT_THAT(ExplainProbe(address, unknown), HasSubstr("the host of nobody.invalid:80"));
}

}  // namespace
}  // namespace vmeventd::client
