// Prometheus' view of the daemon.

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "base/system.h"
#include "gmock/gmock.h"
#include "tests/support/loopback.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;
using testing::Not;

class MetricsTest : public E2eTest {
 protected:
  // The answer to GET /metrics at the address in the daemon's log.
  std::string Scrape() {
    const std::string text = "metrics at http://127.0.0.1:";
    daemon().WaitLog("/metrics\n");  // the line's end
    const std::string log = ReadFile(Options().log_file);
    const UniqueFd connection = ConnectToLoopback(
        static_cast<uint16_t>(std::atoi(log.c_str() + log.find(text) + text.size())));
    const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
    if (write(connection.get(), request.data(), request.size()) < 0) {
      FailErrno("asking for metrics");
    }
    std::string answer;
    char buffer[4096];
    for (ssize_t size = 0; (size = read(connection.get(), buffer, sizeof(buffer))) > 0;) {
      answer.append(buffer, static_cast<size_t>(size));
    }
    return answer;
  }
  // Scrapes until the answer contains `text`.
  std::string ScrapeUntil(const std::string& text) {
    std::string answer;
    WaitUntil("the metrics contain " + text, [&] {
      answer = Scrape();
      return answer.find(text) != std::string::npos;
    });
    return answer;
  }
};

TEST_F(MetricsTest, FollowAVmToItsEnd) {
  StartDaemonAndStream(Options({"--metrics-listen", "127.0.0.1:0"}));
  const auto guest = StartEmptyGuest("vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  ScrapeUntil("vmeventd_stream_sent_events_total 1\n");
  // What counts as sent is counted as delivered a moment later.
  std::string metrics = ScrapeUntil("vmeventd_stream_lag_max_events 0\n");
  EXPECT_THAT(metrics, HasSubstr("vmeventd_build_info{version=\""));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_exit_status_source_info{source=\"" +
                                 daemon().GetServerInfo().exit_status_source() + "\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_vms{state=\"RUNNING\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_streams 1\n"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_journal_writable 1\n"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_events_total{type=\"STARTED\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("pattern=\"*.kvmd\"} 1\n"));
  EXPECT_THAT(metrics, Not(HasSubstr("vm1")));

  WaitUntilAttached(daemon(), "vm1");
  guest->Signal(SIGTERM);
  WaitStopped();
  metrics = ScrapeUntil("_count{leg=\"public_to_sent\"} 2\n");
  EXPECT_THAT(metrics,
              HasSubstr("vmeventd_stops_total{class=\"ADMIN\",cause=\"HOST_SIGNAL\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_vms{state=\"RUNNING\"} 0\n"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_stopped_vms 1\n"));
  EXPECT_THAT(metrics, HasSubstr("_count{leg=\"observed_to_durable\"} 2\n"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_stream_sent_events_total 2\n"));
  EXPECT_THAT(metrics, HasSubstr("vmeventd_shutdown_file_duration_seconds_count 1\n"));
  EXPECT_THAT(metrics, Not(HasSubstr("vmeventd_journal_size_bytes{file=\"db\"} 0\n")));
}

}  // namespace
}  // namespace vmeventd::e2e
