#include "client/sources/daemon_lists.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/output/wanted.h"
#include "client/sources/daemon_call.h"
#include "client/sources/daemon_health.h"
#include "client/sources/daemon_info.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Limit of ListEventsRequest.page_size.
constexpr uint64_t kLargestPage = 1000;

// Limit of STOPPED events of a node's report, in memory.
constexpr uint64_t kMaxEnds = 1000;

// From `begin` on and before `end`; unset: without that bound.
struct TimeRange {
  std::optional<absl::Time> begin;
  std::optional<absl::Time> end;
  int utc_offset = 0;  // seconds, for the whole range
};

// Returns when the zone's offset changes next after `time`; the infinite future if it does not.
absl::Time NextChange(absl::TimeZone zone, absl::Time time) {
  absl::TimeZone::CivilTransition change;
  if (!zone.NextTransition(time, &change)) return absl::InfiniteFuture();
  const auto skipped = zone.At(change.from);
  const auto repeated = zone.At(change.to);
  return skipped.kind == absl::TimeZone::TimeInfo::SKIPPED ? skipped.trans : repeated.trans;
}

// Splits a range where the zone's offset from UTC changes, since CountEvents takes one offset.
// There are no events before `oldest`, unless the clock was set back.
std::vector<TimeRange> SplitByOffset(TimeRange all, absl::Time oldest, absl::TimeZone zone) {
  std::vector<TimeRange> ranges;
  absl::Time in_range = std::max(all.begin.value_or(oldest), oldest);
  const absl::Time last = std::min(all.end.value_or(absl::InfiniteFuture()), absl::Now());
  for (absl::Time next = NextChange(zone, in_range); next < last; next = NextChange(zone, next)) {
    ranges.push_back({all.begin, next, zone.At(in_range).offset});
    all.begin = in_range = next;
  }
  all.utc_offset = zone.At(in_range).offset;
  ranges.push_back(all);
  return ranges;
}

}  // namespace

std::optional<Failure> DaemonLists::ReadEvents(const EventsCommand& command, const Take& take) {
  v1::ListEventsRequest first = command.request;
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
  *first.mutable_filter() = command.events.request.filter();
  first.set_by(command.by_node ? v1::COUNT_KEY_CLASS : command.by);
  const auto count = [&](const TimeRange& range) {
    first.clear_start_time();
    first.clear_end_time();
    if (range.begin) *first.mutable_start_time() = ToTimestamp(*range.begin);
    if (range.end) *first.mutable_end_time() = ToTimestamp(*range.end);
    return ReadPages(daemon_, &Stub::CountEvents, first, [&](v1::CountEventsResponse* page) {
      for (v1::EventCount& one : *page->mutable_counts()) {
        counts->push_back({std::move(*one.mutable_key()), one.events()});
      }
      if (page->others() > 0) counts->push_back({"(others)", page->others()});
      return true;
    });
  };
  const v1::ListEventsRequest& events = command.events.request;
  TimeRange all;
  if (events.has_start_time()) all.begin = FromTimestamp(events.start_time());
  if (events.has_end_time()) all.end = FromTimestamp(events.end_time());
  if (command.by < v1::COUNT_KEY_DAY || command.by_node) return count(all);
  v1::GetServerInfoResponse info;
  if (auto failure = ReadInfo(daemon_, &info)) return failure;
  if (!info.has_oldest_time()) return std::nullopt;  // there is no event
  for (const TimeRange& range : SplitByOffset(all, FromTimestamp(info.oldest_time()), zone)) {
    first.mutable_utc_offset()->set_seconds(range.utc_offset);
    if (auto failure = count(range)) return failure;
  }
  return std::nullopt;
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
  ends.request.mutable_filter()->add_types(v1::EVENT_TYPE_STOPPED);
  ends.SetTimes(question.since, std::nullopt);
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

}  // namespace vmeventd::client
