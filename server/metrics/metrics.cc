#include "server/metrics/metrics.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/latency_histogram.h"
#include "grpcpp/grpcpp.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"
#include "prometheus/text_serializer.h"
#include "server/config/tls_material.h"
#include "server/events/event_codec.h"
#include "server/events/vm_record.h"
#include "server/stream/stream_lag.h"
#include "server/stream/stream_meters.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/process.h"
#include "watcher/runs/source_metric.h"
#include "watcher/runs/watcher_counters.h"
#include "watcher/session/classification_rules.h"

namespace vmeventd {
namespace {

// Returns the value of a number, a counter or a level.
template <typename Number>
double ToDouble(const Number& value) {
  if constexpr (std::is_arithmetic_v<Number>) {
    return static_cast<double>(value);
  } else {
    return static_cast<double>(value.value());
  }
}

// Collects the answer to one scrape. Families stay in the order in which they were first added; the
// values of one family, which differ in their labels, may come in any order. Labels never hold
// names of clients, nor those of more VMs than --metrics-vms permits, so their number is bounded.
class MetricFamilies {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;

  // Counters end in _total; units are seconds and bytes. `help` is a sentence without a full stop.
  template <typename Number>
  void Counter(const char* name, const char* help, const Number& value, Labels labels = {}) {
    Add(name, help, prometheus::MetricType::Counter, std::move(labels)).counter.value =
        ToDouble(value);
  }
  template <typename Number>
  void Gauge(const char* name, const char* help, const Number& value, Labels labels = {}) {
    Add(name, help, prometheus::MetricType::Gauge, std::move(labels)).gauge.value = ToDouble(value);
  }
  void Histogram(const char* name, const char* help, const LatencyHistogram::Snapshot& value,
                 Labels labels = {});

  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  prometheus::ClientMetric& Add(const char* name, const char* help, prometheus::MetricType type,
                                Labels labels);

  std::vector<prometheus::MetricFamily> families_;
};

prometheus::ClientMetric& MetricFamilies::Add(const char* name, const char* help,
                                              prometheus::MetricType type, Labels labels) {
  auto family = std::find_if(families_.begin(), families_.end(),
                             [name](const auto& known) { return known.name == name; });
  if (family == families_.end()) {
    families_.push_back({name, help, type, {}});
    family = std::prev(families_.end());
  }
  prometheus::ClientMetric& metric = family->metric.emplace_back();
  metric.label = std::move(labels);
  return metric;
}

void MetricFamilies::Histogram(const char* name, const char* help,
                               const LatencyHistogram::Snapshot& value, Labels labels) {
  prometheus::ClientMetric::Histogram& out =
      Add(name, help, prometheus::MetricType::Histogram, std::move(labels)).histogram;
  for (size_t i = 0; i < LatencyHistogram::kBounds.size(); ++i) {
    out.sample_count += value.counts[i];
    out.bucket.push_back({out.sample_count, LatencyHistogram::kBounds[i]});
  }
  out.sample_count += value.counts.back();
  out.sample_sum = absl::ToDoubleSeconds(value.sum);
}

constexpr char kSocketsToClose[] = "vmeventd_sockets_to_close";
constexpr char kSocketsToCloseHelp[] =
    "Sockets that wait to be closed because their peers passed descriptors, by who has them";

double ToSeconds(absl::Time time) { return absl::ToDoubleSeconds(time - absl::UnixEpoch()); }

// "RUNNING" of VM_STATE_RUNNING.
std::string Without(absl::string_view prefix, const std::string& name) {
  return std::string(absl::StripPrefix(name, prefix));
}

// Every class with every cause that a verdict may have.
std::set<std::pair<ShutdownClass, ShutdownCause>> PossibleVerdicts() {
  std::set<std::pair<ShutdownClass, ShutdownCause>> out;
  for (const Rule& rule : kClassificationRules) {
    out.emplace(rule.shutdown_class, rule.cause);
    out.emplace(rule.intended_class, rule.cause);
  }
  return out;
}

// 0 if the file is missing.
double FileBytes(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? static_cast<double>(status.st_size) : 0;
}

// Linux 6.2 and later report the number as the directory's size; before, this takes some
// microseconds for each open descriptor.
uint64_t CountDescriptors() {
  struct stat status {};
  if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0) {
    return static_cast<uint64_t>(status.st_size);
  }
  std::error_code error;
  const std::filesystem::directory_iterator open("/proc/self/fd", error);
  // The descriptor of the directory itself does not count.
  return error ? 0 : static_cast<uint64_t>(std::distance(begin(open), end(open)) - 1);
}

// Start time of this process, by the node's clock as it is set now.
absl::Time ReadProcessStartTime() {
  const absl::StatusOr<PeerProcess> self = IdentifyByPid(getpid());
  return self.ok() ? ProcessStartTime(self->start_ticks) : absl::UnixEpoch();
}

void CollectInfo(const MetricSources& inputs, const v1::GetServerInfoResponse& info,
                 MetricFamilies* out) {
  out->Gauge("vmeventd_build_info", "Always 1; the labels hold the versions", 1,
             {{"version", inputs.version}, {"grpc_version", grpc::Version()}});
  out->Gauge("vmeventd_exit_status_source_info",
             "Always 1; the label names the source of QEMU exit statuses", 1,
             {{"source", absl::AsciiStrToLower(ExitStatusSourceName(
                             static_cast<ExitStatusSource>(info.exit_status_source())))}});
  out->Gauge("vmeventd_signal_senders_seen", "1 if the senders of signals are seen",
             info.signal_senders().active() ? 1 : 0);
  const v1::HostShutdownWatch& host = info.host_shutdown();
  out->Gauge("vmeventd_host_shutdown_seen", "1 if the shutdown of the host is seen",
             host.active() ? 1 : 0);
  out->Gauge("vmeventd_host_shutting_down", "1 if the host shuts down",
             host.shutting_down() ? 1 : 0);
}

void CollectVms(const MetricSources& inputs, MetricFamilies* out) {
  std::array<size_t, v1::VmState_ARRAYSIZE> by_state{};
  size_t with_problems = 0;
  const auto all = [](const VmRegistry& vms, uint64_t) { return vms.ListAfter(nullptr); };
  for (const VmRecordPtr& vm : inputs.log->Vms(all)) {
    ++by_state[vm->state];
    if (vm->has_problems) ++with_problems;
  }
  for (int state = v1::VM_STATE_RUNNING; state < v1::VM_STATE_STOPPED; ++state) {
    out->Gauge(
        "vmeventd_vms", "VMs that have not stopped, by their state", by_state[state],
        {{"state", Without("VM_STATE_", v1::VmState_Name(static_cast<v1::VmState>(state)))}});
  }
  out->Gauge("vmeventd_stopped_vms", "Stopped VMs that are still listed",
             by_state[v1::VM_STATE_STOPPED]);
  out->Gauge("vmeventd_vms_with_problems", "Listed VMs with a problem", with_problems);
}

void CollectStops(const MetricSources& inputs, MetricFamilies* out) {
  if (inputs.named_vms == 0) return;
  std::set<std::pair<std::string, std::string>> named;  // Prometheus refuses a series twice
  const auto last = [&](const VmRegistry& vms, uint64_t) {
    return vms.LastStopped(inputs.named_vms);
  };
  for (const VmRecordPtr& record : inputs.log->Vms(last)) {
    const auto vm = Parsed<v1::Vm>(record->encoded);
    if (!named.emplace(vm.ref().name(), vm.ref().uuid()).second) continue;
    out->Gauge(
        "vmeventd_vm_last_stop_timestamp_seconds",
        "When a VM stopped last, of the VMs that --metrics-vms permits to be named",
        static_cast<double>(vm.state_time().seconds()) + vm.state_time().nanos() * 1e-9,
        {{"vm", vm.ref().name()},
         {"uuid", vm.ref().uuid()},
         {"class",
          Without("SHUTDOWN_CLASS_", v1::ShutdownClass_Name(vm.shutdown().shutdown_class()))},
         {"cause", Without("SHUTDOWN_CAUSE_", v1::ShutdownCause_Name(vm.shutdown().cause()))}});
  }
}

void CollectEvents(const MetricSources& inputs, MetricFamilies* out) {
  const EventMeters& meters = inputs.log->meters();
  for (size_t type = 1; type < meters.events.size(); ++type) {
    out->Counter(
        "vmeventd_events_total", "Events published, by type", meters.events[type],
        {{"type", Without("EVENT_TYPE_", v1::EventType_Name(static_cast<v1::EventType>(type)))}});
  }
  for (const auto& [shutdown_class, cause] : PossibleVerdicts()) {
    out->Counter("vmeventd_stops_total", "VMs that stopped, by class and cause",
                 meters.stops[static_cast<size_t>(shutdown_class)][static_cast<size_t>(cause)],
                 {{"class", std::string(ShutdownClassName(shutdown_class))},
                  {"cause", std::string(ShutdownCauseName(cause))}});
  }
  constexpr char kLatency[] = "vmeventd_event_latency_seconds";
  constexpr char kLatencyHelp[] = "Latency of events, by stage";
  out->Histogram(kLatency, kLatencyHelp, meters.qemu_to_observed.Read(),
                 {{"leg", "qemu_to_observed"}});
  out->Histogram(kLatency, kLatencyHelp, meters.observed_to_durable.Read(),
                 {{"leg", "observed_to_durable"}});
  out->Histogram(kLatency, kLatencyHelp, inputs.hub->meters().public_to_sent.Read(),
                 {{"leg", "public_to_sent"}});
  const EventLog::State log = inputs.log->state();
  out->Gauge("vmeventd_ring_bytes", "Memory of the newest events", log.ring_bytes);
  out->Counter("vmeventd_queue_dropped_events_total",
               "Events dropped because too many waited to be recorded", log.dropped_events);
}

void CollectJournal(const MetricSources& inputs, MetricFamilies* out) {
  const EventMeters& meters = inputs.log->meters();
  const EventLog::State log = inputs.log->state();
  const EventRange range = inputs.log->range();
  out->Gauge("vmeventd_journal_writable", "1 if events are durable, 0 if they wait in memory",
             log.journal_writable ? 1 : 0);
  for (const auto& [file, suffix] : {std::pair("db", ""), std::pair("wal", "-wal")}) {
    out->Gauge("vmeventd_journal_size_bytes", "The journal's files on disk",
               FileBytes(absl::StrCat(inputs.journal_path, suffix)), {{"file", file}});
  }
  out->Gauge("vmeventd_journal_commit_age_seconds",
             "How long the oldest change has waited for the disk; 0: none waits",
             absl::ToDoubleSeconds(log.journal_age));
  out->Gauge("vmeventd_journal_events", "Retained events", log.journal.events);
  out->Gauge("vmeventd_journal_oldest_sequence", "The oldest retained event", range.oldest);
  out->Gauge("vmeventd_journal_newest_sequence", "The newest event", range.newest);
  if (log.journal.oldest_time != absl::InfiniteFuture()) {
    out->Gauge("vmeventd_journal_oldest_event_timestamp_seconds",
               "When the oldest event in the journal was observed",
               ToSeconds(log.journal.oldest_time));
  }
  out->Histogram("vmeventd_journal_commit_duration_seconds",
                 "Duration of the journal's transactions, including the sync to disk",
                 meters.commits.Read());
  out->Counter("vmeventd_journal_write_errors_total", "Transactions of the journal that failed",
               meters.write_errors);
  out->Gauge("vmeventd_journal_backlog_events", "Events waiting to be written", log.backlog_events);
  out->Gauge("vmeventd_journal_backlog_bytes", "Memory of the events waiting to be written",
             log.backlog_bytes);
  out->Gauge("vmeventd_journal_backlog_limit_bytes",
             "Limit of the backlog while the disk fails; beyond it the oldest events are dropped",
             Backlog::kMaxBytes);
  out->Counter("vmeventd_journal_lost_events_total",
               "Published events that will never be in the journal", meters.lost_events);
  out->Counter("vmeventd_journal_retention_errors_total",
               "Times that the oldest events could not be deleted", meters.retention_errors);
}

void CollectStreams(const MetricSources& inputs, MetricFamilies* out) {
  const StreamMeters& meters = inputs.hub->meters();
  const StreamLag lag = inputs.hub->Lag(inputs.log->range().newest);
  out->Gauge("vmeventd_streams", "Open WatchEvents streams", inputs.hub->stream_count());
  out->Gauge("vmeventd_streams_behind", "Streams that have not been sent the newest event",
             lag.behind);
  out->Gauge("vmeventd_stream_lag_max_events", "How many sequences the slowest stream is behind",
             lag.max_events);
  out->Gauge("vmeventd_stream_lag_combined_events", "How many sequences all streams are behind",
             lag.summed_events);
  out->Counter("vmeventd_streams_opened_total", "WatchEvents streams opened", meters.opened);
  for (size_t i = 0; i < kStreamEndNames.size(); ++i) {
    out->Counter("vmeventd_streams_ended_total", "WatchEvents calls that ended, by reason",
                 meters.ends(static_cast<StreamEnd>(i)), {{"reason", kStreamEndNames[i]}});
  }
  out->Counter("vmeventd_stream_sent_events_total", "Events sent, counted once per stream",
               meters.sent_events);
  out->Counter("vmeventd_stream_sent_messages_total", "Messages sent on streams",
               meters.sent_messages);
  out->Counter("vmeventd_stream_sent_bytes_total", "Bytes of the messages sent on streams",
               meters.sent_bytes);
}

void CollectAccess(const MetricSources& inputs, MetricFamilies* out) {
  for (size_t i = 0; i < std::size(kRefusalNames); ++i) {
    out->Counter("vmeventd_refusals_total", "Connections and calls refused, by reason",
                 inputs.refusals->value(static_cast<Refusal>(i)), {{"reason", kRefusalNames[i]}});
  }
  if (inputs.server == nullptr) return;
  for (const ListenerState& listener : inputs.server->listeners()) {
    const MetricFamilies::Labels labels = {{"listen", listener.address.ToString()}};
    out->Gauge("vmeventd_connections", "Open connections of clients, by the address of --listen",
               listener.connections, labels);
    out->Gauge("vmeventd_listening",
               "1 if clients can connect to the address of --listen; 0 while it cannot be opened",
               listener.listening ? 1 : 0, labels);
  }
  out->Gauge(kSocketsToClose, kSocketsToCloseHelp, inputs.server->sockets_to_close(),
             {{"of", "clients"}});
  if (inputs.tls == nullptr) return;
  const std::shared_ptr<const TlsMaterial> certificate = inputs.tls->Current();
  out->Gauge("vmeventd_tls_certificate_not_before_timestamp_seconds",
             "When the certificate of new connections becomes valid",
             ToSeconds(certificate->not_before));
  out->Gauge("vmeventd_tls_certificate_expiry_timestamp_seconds",
             "When the certificate of new connections expires", ToSeconds(certificate->not_after));
  out->Gauge("vmeventd_tls_files_usable",
             "1 if the TLS files are usable; 0 while their previous contents are in use",
             inputs.tls->usable() ? 1 : 0);
  out->Counter("vmeventd_tls_reload_failures_total", "Times that changed TLS files were not usable",
               inputs.tls->reload_failures());
}

void CollectWatcher(const MetricSources& inputs, MetricFamilies* out) {
  const WatcherCounters counters = inputs.watcher->counters();
  const struct {
    const char* name;
    const char* help;
    uint64_t value;
  } rows[] = {
      {"vmeventd_monitors_lost_total", "MONITOR_LOST events", counters.monitors_lost},
      {"vmeventd_out_of_descriptors_total",
       "Times that a VM could not be followed for lack of a file descriptor",
       counters.out_of_descriptors},
      {"vmeventd_rate_limited_events_total",
       "Events dropped because one VM sent too many, reported by GAPs",
       counters.rate_limited_events},
      {"vmeventd_shutdown_file_errors_total", "Shutdown files that could not be written or removed",
       counters.shutdown_file_errors},
      {"vmeventd_unreadable_saved_runs_total",
       "Open runs of the previous daemon that could not be read", counters.unreadable_runs},
      {"vmeventd_exit_status_overflows_total",
       "Times that the kernel dropped messages about ended processes", counters.exit_statuses_lost},
      {"vmeventd_signal_records_lost_total",
       "Records of signals that the kernel dropped because they were not read fast enough",
       counters.signals_lost},
      {"vmeventd_handovers_total", "VMs whose monitors were taken over from the previous daemon",
       counters.handovers},
      {"vmeventd_handovers_refused_total",
       "VMs whose monitors the previous daemon handed over and that were not taken over",
       counters.handovers_refused},
      {"vmeventd_command_lines_left_out_total",
       "QEMUs whose command line was not read because too many reads waited",
       counters.command_lines_left_out},
      {"vmeventd_last_words_left_out_total",
       "QEMUs whose last words were not looked for because too many reads waited",
       counters.last_words_left_out},
  };
  for (const auto& row : rows) out->Counter(row.name, row.help, row.value);
  for (const SourceMetric& metric : counters.of_sources) {
    MetricFamilies::Labels labels;
    for (const auto& [name, value] : metric.labels) labels.push_back({name, value});
    if (metric.is_gauge) {
      out->Gauge(metric.name, metric.help, metric.value, std::move(labels));
    } else {
      out->Counter(metric.name, metric.help, metric.value, std::move(labels));
    }
  }
  out->Gauge(kSocketsToClose, kSocketsToCloseHelp, counters.sockets_to_close, {{"of", "monitors"}});
  out->Histogram("vmeventd_shutdown_file_duration_seconds",
                 "From seeing a VM's end to writing or removing its shutdown file",
                 counters.shutdown_file_times);
}

void CollectLog(const MetricSources& inputs, MetricFamilies* out) {
  if (inputs.log_lines == nullptr) return;
  constexpr char kName[] = "vmeventd_log_dropped_lines_total";
  constexpr char kHelp[] = "Log lines dropped, by reason";
  out->Counter(kName, kHelp, inputs.log_lines->rate, {{"reason", "rate"}});
  out->Counter(kName, kHelp, inputs.log_lines->stalled_read, {{"reason", "stalled_read"}});
}

void CollectProcess(MetricFamilies* out) {
  static const absl::Time start = ReadProcessStartTime();
  out->Gauge("process_start_time_seconds", "Start of the process, in seconds since 1970",
             ToSeconds(start));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  out->Counter("process_cpu_seconds_total", "User and system CPU time",
               absl::ToDoubleSeconds(absl::DurationFromTimeval(usage.ru_utime) +
                                     absl::DurationFromTimeval(usage.ru_stime)));
  uint64_t pages = 0;
  uint64_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident_pages;
  const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
  out->Gauge("process_resident_memory_bytes", "Resident memory",
             page * static_cast<double>(resident_pages));
  out->Gauge("process_virtual_memory_bytes", "Virtual memory", page * static_cast<double>(pages));
  out->Gauge("process_open_fds", "Open file descriptors", CountDescriptors());
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  out->Gauge("process_max_fds", "Limit of open file descriptors", limit.rlim_cur);
}

}  // namespace

std::string MetricsText(const MetricSources& sources) {
  MetricFamilies out;
  CollectInfo(sources, sources.watcher->Describe(), &out);
  CollectVms(sources, &out);
  CollectStops(sources, &out);
  CollectEvents(sources, &out);
  CollectJournal(sources, &out);
  CollectStreams(sources, &out);
  CollectAccess(sources, &out);
  CollectWatcher(sources, &out);
  CollectLog(sources, &out);
  CollectProcess(&out);
  return prometheus::TextSerializer().Serialize(out.Take());
}

}  // namespace vmeventd
