#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/eventlog/event_log.h"
#include "server/rpc/queries.h"
#include "tests/support/proto_text.h"
#include "tests/support/test_events.h"

namespace vmeventd {

// Runs all turns of one ListEvents call.
inline absl::StatusOr<std::string> List(const Queries& queries,
                                        const v1::ListEventsRequest& request,
                                        JournalReader* journal) {
  const absl::StatusOr<std::unique_ptr<EventsQuery>> query = queries.ListEvents(request);
  if (!query.ok()) return query.status();
  for (;;) {
    std::optional<absl::StatusOr<std::string>> answer = (*query)->Continue(journal);
    if (answer.has_value()) return *std::move(answer);
  }
}

class QueriesTest : public ::testing::Test {
 protected:
  explicit QueriesTest(LiveStateOptions options = {}, JournalOptions journal = {})
      : pumped_(options, std::move(journal)) {}

  v1::ListEventsResponse Events(const v1::ListEventsRequest& request) {
    return Parsed<v1::ListEventsResponse>(List(queries_, request, pumped_.reader()));
  }
  v1::ListEventsResponse Events(const std::string& request) {
    return Events(FromText<v1::ListEventsRequest>(request));
  }
  v1::ListVmsResponse Vms(const v1::ListVmsRequest& request) {
    return Parsed<v1::ListVmsResponse>(queries_.ListVms(request));
  }
  v1::ListVmsResponse Vms(const std::string& request) {
    return Vms(FromText<v1::ListVmsRequest>(request));
  }
  v1::Vm Vm(const std::string& name, const std::string& run_id = "") {
    return Parsed<v1::GetVmResponse>(Get(name, run_id)).vm();
  }
  absl::StatusOr<std::string> Get(const std::string& name, const std::string& run_id = "") {
    v1::GetVmRequest request;
    request.set_name(name);
    request.set_run_id(run_id);
    return queries_.GetVm(request);
  }

  template <typename Response>
  Response Parsed(const absl::StatusOr<std::string>& bytes) {
    Response response;
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_TRUE(bytes.ok() && response.ParseFromString(*bytes));
    return response;
  }

  PumpedState pumped_;
  Queries queries_{&pumped_.log()};
};

inline std::vector<std::string> Names(const v1::ListVmsResponse& response) {
  std::vector<std::string> out;
  for (const v1::Vm& vm : response.vms()) {
    out.push_back(absl::StrCat(vm.ref().name(), "/", vm.ref().run_id()));
  }
  return out;
}

}  // namespace vmeventd
