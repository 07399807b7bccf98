#include "server/metrics/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/config/listen_address.h"
#include "server/metrics/metrics_server.h"
#include "tests/support/fake_watcher.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/pumped_state.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"
#include "tests/support/wait.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class MetricsTest : public testing::Test {
 protected:
  std::string Text() const { return MetricsText(sources_); }
  void ExpectLines(const std::vector<std::string>& lines) const {
    const std::string text = Text();
    for (const std::string& line : lines) EXPECT_THAT(text, HasSubstr(line + "\n"));
  }

  FaultyDisk disk_;  // before any database is opened
  PumpedState pumped_;
  RefusalCounters refusals_;
  StreamHub hub_{&pumped_.log(), &pumped_.clock(), {}};
  FakeWatcher watcher_;
  MetricSources sources_ = {.log = &pumped_.log(),
                            .hub = &hub_,
                            .watcher = &watcher_,
                            .refusals = &refusals_,
                            .journal_path = pumped_.journal_options().path,
                            .version = "1.2.3"};
};

TEST_F(MetricsTest, EverySeriesThatARateNeedsExistsFromTheStart) {
  ExpectLines({"vmeventd_stops_total{class=\"USER\",cause=\"GUEST_POWEROFF\"} 0",
               "vmeventd_stops_total{class=\"ADMIN\",cause=\"GUEST_POWEROFF\"} 0",
               "vmeventd_stops_total{class=\"UNKNOWN\",cause=\"UNOBSERVED\"} 0",
               "vmeventd_events_total{type=\"GAP\"} 0",
               "vmeventd_streams_ended_total{reason=\"stalled_write\"} 0",
               "vmeventd_event_latency_seconds_count{leg=\"public_to_sent\"} 0",
               "vmeventd_vms{state=\"RUNNING\"} 0"});
  EXPECT_THAT(Text(), HasSubstr("vmeventd_build_info{version=\"1.2.3\",grpc_version=\"1."));
}

TEST_F(MetricsTest, CountsVmsByStateAndStopsByVerdict) {
  VmUpdate paused = Update("b", EventType::kPaused);
  paused.status->set_state(ToProto(VmState::kPaused));
  *paused.status->add_problems() =
      ToProto(Problem{ProblemCode::kIoError, "paused by QEMU after an I/O error"});
  pumped_.Push({Update("a", EventType::kStarted), paused, Update("c", EventType::kStarted)});
  pumped_.Push({Stopped("c", "run-c", ShutdownClass::kUser)});
  ExpectLines(
      {"vmeventd_vms{state=\"RUNNING\"} 1", "vmeventd_vms{state=\"PAUSED\"} 1",
       "vmeventd_stopped_vms 1", "vmeventd_vms_with_problems 1",
       "vmeventd_events_total{type=\"STARTED\"} 2", "vmeventd_events_total{type=\"STOPPED\"} 1",
       "vmeventd_stops_total{class=\"USER\",cause=\"GUEST_POWEROFF\"} 1",
       "vmeventd_journal_events 4", "vmeventd_journal_oldest_event_timestamp_seconds 1800000000",
       "vmeventd_journal_commit_duration_seconds_count 2"});
}

TEST_F(MetricsTest, NoNameOfAVmIsALabel) {
  pumped_.Push({Update("a-name-to-find", EventType::kStarted)});
  pumped_.Push({Stopped("a-name-to-find", "run-a", ShutdownClass::kCrash)});
  EXPECT_THAT(Text(), Not(HasSubstr("a-name-to-find")));
}

TEST_F(MetricsTest, TheLastStopsNameTheirVmsIfConfigured) {
  sources_.named_vms = 2;
  EXPECT_THAT(Text(), Not(HasSubstr("vm_last_stop")));
  VmUpdate first = Stopped("old", "run-1", ShutdownClass::kUser);
  VmUpdate second = Stopped("a\"b", "run-2", ShutdownClass::kAdmin);
  VmUpdate third = Stopped("a\"b", "run-3", ShutdownClass::kCrash);
  *third.status->mutable_state_time() = ToTimestamp(At(70));
  pumped_.Push({first, second, third});
  EXPECT_THAT(Text(), HasSubstr("vm_last_stop_timestamp_seconds{vm=\"a\\\"b\",uuid=\"\",class="
                                "\"CRASH\",cause=\"GUEST_POWEROFF\"} 1800000070\n"));
  EXPECT_THAT(Text(), Not(HasSubstr("class=\"ADMIN\",cause=\"GUEST_POWEROFF\"} 18")));
  EXPECT_THAT(Text(), Not(HasSubstr("vm=\"old\"")));
}

TEST_F(MetricsTest, MeasuresTheStagesOfAnEvent) {
  VmUpdate update = Update("a", EventType::kReset, At(10));
  update.event->mutable_qemu_time()->CopyFrom(ToTimestamp(At(10) - absl::Milliseconds(3)));
  update.observed = pumped_.clock().Now().monotonic - absl::Milliseconds(40);
  pumped_.Push({update});
  const std::string bucket = "vmeventd_event_latency_seconds_bucket";
  ExpectLines({bucket + "{leg=\"qemu_to_observed\",le=\"0.0025\"} 0",
               bucket + "{leg=\"qemu_to_observed\",le=\"0.005\"} 1",
               bucket + "{leg=\"observed_to_durable\",le=\"0.025\"} 0",
               bucket + "{leg=\"observed_to_durable\",le=\"0.05\"} 1"});
}

TEST_F(MetricsTest, ASteppedClockMakesNoNegativeLatencyAndAStoppedEventHasNone) {
  VmUpdate stopped = Stopped("a", "run-a", ShutdownClass::kUser);
  stopped.event->mutable_qemu_time()->CopyFrom(ToTimestamp(At(-30)));  // of its SHUTDOWN
  pumped_.Push({stopped});
  ExpectLines({"vmeventd_event_latency_seconds_count{leg=\"qemu_to_observed\"} 0"});
  VmUpdate update = Update("b", EventType::kReset, At(10));
  update.event->mutable_qemu_time()->CopyFrom(ToTimestamp(At(3600)));
  pumped_.Push({update});
  ExpectLines({"vmeventd_event_latency_seconds_count{leg=\"qemu_to_observed\"} 1",
               "vmeventd_event_latency_seconds_sum{leg=\"qemu_to_observed\"} 0"});
}

TEST_F(MetricsTest, ReportsTheBacklogWhileTheDiskIsFull) {
  pumped_.PushEach("a", 1);
  disk_.Fail(SQLITE_FULL);
  pumped_.PushEach("a", 3);
  ExpectLines({"vmeventd_journal_writable 0", "vmeventd_journal_backlog_events 3",
               "vmeventd_journal_write_errors_total 1"});
  EXPECT_THAT(Text(), Not(HasSubstr("vmeventd_journal_backlog_bytes 0\n")));
  disk_.Fail(SQLITE_OK);
  pumped_.clock().Advance(absl::Seconds(10));
  pumped_.Push({});
  ExpectLines({"vmeventd_journal_writable 1", "vmeventd_journal_backlog_events 0",
               "vmeventd_journal_backlog_bytes 0", "vmeventd_journal_lost_events_total 0"});
}

TEST_F(MetricsTest, ReportsTheWatchersCountersAndTheMetricsOfItsSources) {
  ExpectLines({"vmeventd_rate_limited_events_total 0"});
  watcher_.counted.rate_limited_events.Add(2);
  watcher_.counted.of_sources = {{"vmeventd_a_total", "Of one source", 3},
                                 {"vmeventd_b_total", "Of another source", 4},
                                 {"vmeventd_c", "Measured", 1, true, {{"uri", "c:///one"}}},
                                 {"vmeventd_c", "Measured", 0, true, {{"uri", "c:///\"two\""}}}};
  pumped_.Push({});
  ExpectLines({"vmeventd_rate_limited_events_total 2", "# HELP vmeventd_a_total Of one source",
               "# TYPE vmeventd_a_total counter", "vmeventd_a_total 3", "vmeventd_b_total 4",
               "# TYPE vmeventd_c gauge", "vmeventd_c{uri=\"c:///one\"} 1",
               "vmeventd_c{uri=\"c:///\\\"two\\\"\"} 0"});
}

TEST_F(MetricsTest, ReportsTheProcessesResources) {
  const std::string before = Text();
  EXPECT_THAT(before, Not(HasSubstr("process_resident_memory_bytes 0\n")));
  EXPECT_THAT(before, Not(HasSubstr("process_open_fds 0\n")));
  EXPECT_THAT(before, Not(HasSubstr("process_start_time_seconds 0\n")));
  const std::string line = "process_start_time_seconds ";
  const auto start = [&](const std::string& text) {
    return text.substr(text.rfind(line), 30 + line.size());
  };
  EXPECT_EQ(start(before), start(Text())) << "a change means a restart";
}

// The HTTP server, seen by its clients.
class MetricsServerTest : public MetricsTest {
 protected:
  bool ConnectsBy(int connection) const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_->address().port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  UniqueFd Connect() const {
    UniqueFd connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_TRUE(ConnectsBy(connection.get()));
    const timeval timeout = absl::ToTimeval(Patience());
    setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return connection;
  }
  static void Send(const UniqueFd& connection, const std::string& text) {
    EXPECT_EQ(send(connection.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // Reads until the server closes the connection.
  static std::string ReadAll(const UniqueFd& connection) {
    std::string answer;
    char buffer[4096];
    for (ssize_t size = 0; (size = read(connection.get(), buffer, sizeof(buffer))) > 0;) {
      answer.append(buffer, static_cast<size_t>(size));
    }
    return answer;
  }
  std::string Ask(const std::string& method_and_path) const {
    const UniqueFd connection = Connect();
    Send(connection, absl::StrCat(method_and_path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    return ReadAll(connection);
  }

  // A connection's time is real. So that a loaded machine does not use it up, there is plenty.
  std::unique_ptr<MetricsServer> Start(const ListenAddress& address,
                                       absl::Duration time = absl::Hours(1)) {
    return MetricsServer::Create({.address = address,
                                  .metrics = [this] { return Text(); },
                                  .health = &health_,
                                  .refusals = &refusals_,
                                  .time = time},
                                 &time_)
        .value();
  }

  SystemClock time_;
  Health health_;
  const ListenAddress any_port_ = ParseListenAddress("127.0.0.1:0").value();
  std::unique_ptr<MetricsServer> server_ = Start(any_port_);
};

TEST_F(MetricsServerTest, AnswersGetAndHeadOfItsOnePath) {
  EXPECT_THAT(Ask("GET /metrics"),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("text/plain; version=0.0.4"),
                    HasSubstr("\nvmeventd_journal_writable 1\n")));
  EXPECT_THAT(Ask("GET /metrics?name=x"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(Ask("HEAD /metrics"), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                                          Not(HasSubstr("vmeventd_journal_writable"))));
  for (const char* path : {"/", "/metrics/", "/metrics/x", "/metricsx", "/x/../../etc/passwd"}) {
    EXPECT_THAT(Ask(absl::StrCat("GET ", path)), StartsWith("HTTP/1.1 404 ")) << path;
  }
  EXPECT_THAT(Ask("POST /metrics"),
              AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("Allow: GET, HEAD")));
  EXPECT_THAT(Ask("DELETE /metrics"), StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(Ask("GARBAGE \x01\x02"), Not(HasSubstr(" 200 ")));
}

TEST_F(MetricsServerTest, ProbesReportWhetherTheDaemonLivesOrAServiceServes) {
  EXPECT_THAT(Ask("GET /readyz"), StartsWith("HTTP/1.1 503 ")) << "the first scan is not done";
  health_.OnFirstScan();
  health_.Report({{"journal", false}});
  const struct {
    const char* target;
    const char* answer;
  } rows[] = {{"/healthz", "200 OK"},
              {"/readyz", "200 OK"},
              {"/readyz?service=", "200 OK"},
              {"/readyz?service=journal", "503 Service Unavailable"},
              {"/healthz?service=journal", "503 Service Unavailable"},
              {"/readyz?verbose&service=journal", "503 Service Unavailable"},
              {"/readyz?service=none", "404 Not Found"},
              {"/readyz/journal", "404 Not Found"}};
  for (const auto& row : rows) {
    for (const char* method : {"GET ", "HEAD "}) {
      EXPECT_THAT(Ask(absl::StrCat(method, row.target)),
                  StartsWith(absl::StrCat("HTTP/1.1 ", row.answer, "\r\n")))
          << row.target;
    }
  }
  EXPECT_THAT(Ask("GET /readyz?service=journal"), testing::EndsWith("\r\n\r\nnot serving\n"));
  health_.Drain();
  EXPECT_THAT(Ask("GET /readyz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(Ask("GET /healthz"), StartsWith("HTTP/1.1 200 ")) << "it is stopping in order";
}

TEST_F(MetricsServerTest, StalledConnectionsDoNotBlockAScrape) {
  std::vector<UniqueFd> stalled;
  for (int i = 0; i < 200; ++i) {
    stalled.push_back(Connect());
    if (i % 2 == 1) Send(stalled.back(), "GET /metrics HTTP/1.1\r\nHost: ");
  }
  EXPECT_THAT(Ask("GET /metrics"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_GT(refusals_.value(Refusal::kScrapes), 0);
}

TEST_F(MetricsServerTest, ARequestHasOneDeadlineInTotal) {
  server_ = Start(any_port_, absl::Milliseconds(200));
  for (int i = 0; i < 2; ++i) {  // the second scrape works after the first one
    const UniqueFd slow = Connect();
    // Sends often, but never completes the request.
    while (send(slow.get(), "x", 1, MSG_NOSIGNAL) == 1) {
      pollfd closed = {slow.get(), POLLIN, 0};
      if (poll(&closed, 1, 10) == 1) break;
    }
    char byte = 0;
    EXPECT_LE(recv(slow.get(), &byte, 1, 0), 0);
  }
}

TEST_F(MetricsServerTest, AScrapeWithoutADescriptorIsAnsweredOnceOneIsFree) {
  const UniqueFd connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit none = {3, old.rlim_max};  // 0 to 2 are open; poll needs no other descriptor
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool connected = ConnectsBy(connection.get());
  // Counted twice: it retries without any action of another client.
  const bool refused = Eventually([&] { return refusals_.value(Refusal::kDescriptors) >= 2; });
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  ASSERT_TRUE(connected && refused);
  Send(connection, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(ReadAll(connection), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(MetricsServerTest, ARequestOfTooManyBytesIsRefused) {
  EXPECT_THAT(Ask("GET /metrics?" + std::string(10'000, 'x')), StartsWith("HTTP/1.1 431 "));
}

}  // namespace
}  // namespace vmeventd
