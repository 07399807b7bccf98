#include "client/sources/daemon_lists.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/time/clock.h"
#include "client/output/time_text.h"
#include "client/sources/daemon_call.h"
#include "client/sources/daemon_health.h"

namespace vmeventd::client {
namespace {

// Limit of ListEventsRequest.page_size.
constexpr uint64_t kLargestPage = 1000;

// Limit of STOPPED events of a node's report, in memory.
constexpr uint64_t kMaxEnds = 1000;

}  // namespace

std::optional<Failure> DaemonLists::ReadEvents(const EventsCommand& command, const Take& take) {
  v1::ListEventsRequest first;
  *first.mutable_filter() = command.filter;
  if (command.since) *first.mutable_start_time() = ToProto(*command.since);
  if (command.until) *first.mutable_end_time() = ToProto(*command.until);
  first.set_newest_first(command.reads_newest_first());
  first.set_page_size(static_cast<int32_t>(std::min(command.max_events(), kLargestPage)));
  return ReadPages(daemon_, &Stub::ListEvents, first, [&](v1::ListEventsResponse* page) {
    auto* const events = page->mutable_events();
    return std::all_of(events->begin(), events->end(),
                       [&](v1::Event& event) { return take({std::move(event)}); });
  });
}

std::optional<Failure> DaemonLists::ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                            NodeVms* vms) {
  v1::ListVmsRequest first;
  *first.mutable_vm_names() = filter.vm_names();
  *first.mutable_sources() = filter.sources();
  *first.mutable_uuids() = filter.uuids();
  *first.mutable_labels() = filter.labels();
  first.set_include_stopped(stopped_too);
  first.set_page_size(static_cast<int32_t>(kLargestPage));
  return ReadPages(daemon_, &Stub::ListVms, first, [&](v1::ListVmsResponse* page) {
    for (v1::Vm& vm : *page->mutable_vms()) {
      if (!IsWanted(filter.run_ids(), vm.ref().run_id())) continue;
      vms->push_back({std::move(vm), {.journal_id = page->journal_id()}});
    }
    return true;
  });
}

std::optional<Failure> DaemonLists::CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                                NodeCounts* counts) {
  v1::CountEventsRequest first;
  *first.mutable_filter() = command.events.filter;
  if (command.events.since) *first.mutable_start_time() = ToProto(*command.events.since);
  if (command.events.until) *first.mutable_end_time() = ToProto(*command.events.until);
  first.set_by(command.by_node ? v1::COUNT_KEY_CLASS : command.by);
  if (command.by >= v1::COUNT_KEY_DAY) {
    first.mutable_utc_offset()->set_seconds(zone.At(absl::Now()).offset);
  }
  return ReadPages(daemon_, &Stub::CountEvents, first, [&](v1::CountEventsResponse* page) {
    for (v1::EventCount& one : *page->mutable_counts()) {
      counts->push_back({std::move(*one.mutable_key()), one.events()});
    }
    if (page->others() > 0) counts->push_back({"(others)", page->others()});
    return true;
  });
}

std::optional<Failure> DaemonLists::ReadReports(const ReportQuestion& question,
                                                NodeReports* reports) {
  NodeReport& report = reports->emplace_back();
  const absl::Time asked = question.now();
  std::optional<Failure> failure = ReadInfo(daemon_, &report.info);
  report.answer_time = question.now() - asked;
  report.node.journal_id = report.info.journal_id();
  if (!failure) failure = ReadVms({}, /*stopped_too=*/false, &report.vms);
  if (failure) {
    report.problem = failure->sentence;
    return failure;
  }
  EventsCommand ends;
  ends.filter.add_types(v1::EVENT_TYPE_STOPPED);
  ends.since = question.since;
  ends.last = kMaxEnds;
  const auto unread = ReadEvents(ends, [&report](NodeEvent one) {
    // A GAP passes every filter.
    if (one.event.type() == v1::EVENT_TYPE_STOPPED) report.ends.push_back(std::move(one));
    report.all_ends = report.ends.size() < kMaxEnds;
    return report.all_ends;
  });
  if (unread) report.unread = unread->sentence;
  if (question.health) {
    ServiceStates states;
    const auto unwell = ReadHealth({.all = true}, daemon_, &states);
    if (unwell) report.unhealthy = unwell->sentence;
  }
  return std::nullopt;
}

std::optional<Failure> ReadInfo(const DaemonNode& daemon, v1::GetServerInfoResponse* info) {
  const grpc::Status status = Ask(daemon, &Stub::GetServerInfo, v1::GetServerInfoRequest(), info);
  if (!status.ok()) return daemon.Explain(status);
  return std::nullopt;
}

}  // namespace vmeventd::client
