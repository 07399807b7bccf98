// Prometheus' view of the daemon.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "tests/e2e/e2e_test.h"
#include "tests/e2e/wait.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;

class MetricsTest : public E2eTest {
 protected:
  // What GET /metrics answers.
  std::string Scrape() const {
    const std::string log = ReadFile(Options().log_file);
    const std::string text = "metrics at http://127.0.0.1:";
    const size_t at = log.find(text);
    if (at == std::string::npos) Fail("the daemon did not say where its metrics are");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::atoi(log.c_str() + at + text.size())));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      FailErrno("connecting to the metrics");
    }
    const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
    if (write(connection, request.data(), request.size()) < 0) FailErrno("asking for metrics");
    std::string answer;
    char buffer[4096];
    for (ssize_t size = 0; (size = read(connection, buffer, sizeof(buffer))) > 0;) {
      answer.append(buffer, static_cast<size_t>(size));
    }
    close(connection);
    return answer;
  }
};

TEST_F(MetricsTest, TellWhatTheDaemonKnows) {
  DaemonOptions options = Options();
  options.arguments.insert(options.arguments.end(), {"--metrics-listen", "127.0.0.1:0"});
  StartDaemon(options);
  OpenStream();
  const auto guest = StartEmptyGuest("vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  const std::string metrics = Scrape();
  EXPECT_THAT(metrics, HasSubstr("vmeventd_build_info{version=\""));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_exit_status_source_info{source=\"" +
                                 daemon().GetServerInfo().exit_status_source() + "\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_vms 1"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_streams 1"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_journal_writable 1"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_events_total 1"));
}

}  // namespace
}  // namespace vmeventd::e2e
