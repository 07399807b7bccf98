#include "client/connect/probe.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/connect/call_failure.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/loopback.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;

class ReachabilityTest : public testing::Test {
 protected:
  ReachabilityTest() { address_.path = directory_.path() + "/s.sock"; }
  std::string Explain() { return Probe(address_).why; }

  TemporaryDirectory directory_;
  ServerAddress address_;
};

TEST_F(ReachabilityTest, ExplainsAMissingSocket) {
  EXPECT_EQ(Explain(), "there is no socket " + address_.path +
                           ": start vmeventd, or name the socket of a running one with "
                           "--server unix:PATH");
}

TEST_F(ReachabilityTest, NamesTheLengthOfAPathThatOtherProgramsCannotUse) {
  address_.path = "/" + std::string(60, 'a') + "/" + std::string(60, 'b') + "/s.sock";
  EXPECT_THAT(Explain(), HasSubstr("/s.sock (its path has 129 bytes; a Unix socket's holds 107 at "
                                   "most, beyond which only vmeventd and vmevents can go): start"));
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

// Sentence of the client about a listener that answers each connection with these bytes.
std::string SentenceOf(const std::string& answer) {
  ServerAddress address;
  address.host = "127.0.0.1";
  uint16_t port = 0;
  const UniqueFd listener = e2e::ListenOnLoopback(&port);
  address.port = std::to_string(port);
  std::jthread serving([&listener, &answer] {
    for (int connections = 2; connections > 0;
         --connections) {  // the first connection sends no request
      const UniqueFd client(accept(listener.get(), nullptr, nullptr));
      if (connections == 1) send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      char preface[64];
      while (recv(client.get(), preface, sizeof(preface), 0) > 0) continue;
    }
  });
  const grpc::Status status(grpc::StatusCode::UNAVAILABLE, "J");
  const std::string sentence = ExplainFailure(address, status).sentence;
  return absl::StrReplaceAll(sentence, {{ToText(address), "ADDRESS"}});
}

TEST(ExplainFailure, AnHttpServerOnThePortIsRecognized) {
  EXPECT_EQ(SentenceOf("HTTP/1.1 400 Bad Request\r\n\r\n"),
            "another program listens on ADDRESS, and does not answer as vmeventd does: it may be "
            "the port of vmeventd's --metrics-listen; name an address of --listen with --server");
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  EXPECT_EQ(SentenceOf(settings), "vmeventd at ADDRESS is not available now (J): try again");
}

TEST_F(ReachabilityTest, ExplainsMissingPermissions) {
  const UniqueFd listener(e2e::ListenUnix(address_.path));
  // Root passes every permission check.
  const auto denied = [this] {
    const bool is_root = geteuid() == 0;
    if (is_root) {
      EXPECT_EQ(setresuid(65534, 65534, 0), 0);
    }
    ProbeResult result = Probe(address_);
    if (is_root) {
      EXPECT_EQ(setresuid(0, 0, 0), 0);
    }
    EXPECT_EQ(result.error, EACCES);
    return result.why;
  };
  ASSERT_EQ(chmod(directory_.path().c_str(), 0755), 0);
  ASSERT_EQ(chmod(address_.path.c_str(), 0), 0);
  EXPECT_THAT(denied(), testing::MatchesRegex(
                            "permission denied on the socket " + address_.path +
                            " \\(mode 0000, owner .*, group .*\\): run vmevents as its owner or as "
                            "a member of its group"));
  ASSERT_EQ(chmod(directory_.path().c_str(), 0), 0);
  EXPECT_THAT(denied(), testing::MatchesRegex("permission denied on " + directory_.path() +
                                              " above the socket " + address_.path +
                                              " \\(mode 0000, .*\\): run vmevents as root or .*"));
  ASSERT_EQ(chmod(directory_.path().c_str(), 0700), 0);
}

TEST_F(ReachabilityTest, ExplainsARefusedPort) {
  uint16_t port = 0;
  const UniqueFd held = e2e::HoldOnLoopback(&port);
  const ServerAddress address = {.host = "127.0.0.1", .port = std::to_string(port)};
  EXPECT_THAT(Probe(address).why, HasSubstr("(Connection refused)"));
}

TEST_F(ReachabilityTest, ExplainsAnUnknownHost) {
  const ServerAddress address = {.host = "nobody.invalid", .port = "80"};
  EXPECT_THAT(Probe(address).why, HasSubstr("the host of nobody.invalid:80 cannot be resolved ("));
}

}  // namespace
}  // namespace vmeventd::client
