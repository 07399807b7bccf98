#include "tests/system/journal_test_base.h"

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "tests/support/wait.h"

namespace vmeventd::e2e {

bool JournalTestBase::Serving(const std::string& service) {
  // A HealthCheckRequest for that service, and a HealthCheckResponse with status SERVING.
  const std::string request =
      service.empty() ? "" : "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
  return CallRaw(daemon().channel(), "/grpc.health.v1.Health/Check", request) == "\x08\x01";
}

std::vector<v1::Event> JournalTestBase::ListEvents() {
  std::vector<v1::Event> events;
  v1::ListEventsRequest request;
  request.set_page_size(1000);
  do {
    grpc::ClientContext context;
    v1::ListEventsResponse response;
    const grpc::Status status = daemon().stub().ListEvents(&context, request, &response);
    if (!status.ok()) Fail("ListEvents: " + status.error_message());
    events.insert(events.end(), response.events().begin(), response.events().end());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return events;
}

grpc::Status JournalTestBase::TryCursor(uint64_t after, const std::string& journal_id) {
  grpc::ClientContext context;
  const auto reader = daemon().stub().WatchEvents(&context, After(after, journal_id));
  v1::WatchEventsResponse response;
  if (reader->Read(&response)) {
    context.TryCancel();
    reader->Finish();
    return grpc::Status::OK;
  }
  return reader->Finish();
}

void JournalTestBase::KillDaemon() {
  daemon().Signal(SIGKILL);
  daemon().WaitExit();
  StopDaemon();
}

void JournalTestBase::ExpectInOrder(const std::vector<v1::Event>& events) {
  for (size_t i = 1; i < events.size(); ++i) {
    const uint64_t before = events[i - 1].sequence();
    const bool gap = !events[i].has_vm() && events[i].type() == v1::EVENT_TYPE_GAP;
    ASSERT_GT(events[i].sequence(), before);
    ASSERT_TRUE(events[i].sequence() == before + 1 || gap)
        << before << " is followed by " << events[i].ShortDebugString();
  }
}

size_t JournalTestBase::CountGaps(const std::vector<v1::Event>& events) {
  return static_cast<size_t>(
      std::count_if(events.begin(), events.end(), [](const v1::Event& event) {
        return !event.has_vm() && event.type() == v1::EVENT_TYPE_GAP;
      }));
}

v1::WatchEventsRequest After(uint64_t sequence, const std::string& journal_id) {
  v1::WatchEventsRequest request;
  request.set_after_sequence(sequence);
  request.set_journal_id(journal_id);
  return request;
}

std::vector<std::string> CorruptJournals(const std::string& directory) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    const bool part = name.size() > 4 && (name.substr(name.size() - 4) == "-wal" ||
                                          name.substr(name.size() - 4) == "-shm");
    if (name.rfind("journal.db.corrupt-", 0) == 0 && !part) found.push_back(name);
  }
  return found;
}

}  // namespace vmeventd::e2e
