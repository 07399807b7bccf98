#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/consume/source.h"
#include "client/output/formatter.h"
#include "client/output/node_event.h"
#include "client/output/output.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

// The commands. Lists of what one daemon, several daemons or a fleet know are each written once,
// for a ListSource; the others ask each daemon one question. And the sources of the events of one
// daemon, and of several as one.

namespace vmeventd::client {

struct EventsCommand {
  v1::EventFilter filter;
  std::optional<absl::Time> since;
  std::optional<absl::Time> until;
  bool newest_first = false;
  std::optional<uint64_t> limit;  // at least 1
  std::optional<uint64_t> last;   // only the newest so many, at least 1; they are in memory

  // Limit of the events of the answer that count.
  uint64_t most() const { return last.value_or(limit.value_or(UINT64_MAX)); }
  bool counts(const NodeEvent& one) const { return one.event.has_vm() || AsksForGaps(filter); }
  // Returns whether a source must deliver the newest event first.
  bool reads_newest_first() const { return newest_first || last.has_value(); }
};

// Order of the rows of `vms`; the index of ValuesOf("--sort-by").
enum class VmOrder { kState, kName, kAge, kEnds, kClass, kTrouble };

struct VmsCommand {
  v1::EventFilter filter;  // no types; classes and causes are of the end that is shown
  std::vector<v1::VmState> states;
  bool include_stopped = false;
  bool runs = false;             // a row for each run instead of each VM, the newest first
  bool trouble = false;          // only VMs that need somebody: see output/trouble.h
  std::optional<VmOrder> order;  // default kState
};

// Counts of events.
struct StatsCommand {
  EventsCommand events;  // which; no limits. By default STOPPED alone
  v1::CountKey by = v1::COUNT_KEY_WHO;
  bool by_node = false;  // a count for each node, instead of `by`
  bool csv = false;
};

// Parts of the report that a node is asked for.
struct ReportQuestion {
  absl::Time since;  // reports the ends at or after this time
  std::function<absl::Time()> now = absl::Now;
  bool health = false;  // asks each service whether it serves
};

// A source of lists: one daemon, several, or a fleet. Calls block; one thread.
class ListSource {
 public:
  virtual ~ListSource() = default;

  // Returns whether to continue.
  using Take = std::function<bool(NodeEvent)>;
  // Reads the command's events, in the order of reads_newest_first(), until there are no more or
  // `take` returns false, which counts them: most() is a hint here. A failure of some nodes comes
  // after the events of the others.
  virtual std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) = 0;
  // Appends the runs of VMs that the filter chooses, which has no types, classes and causes, by
  // name and then by node; with a failure, those of the nodes that answered.
  virtual std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                         NodeVms* vms) = 0;
  // Appends what each node counted; keys may come several times. By node, the keys count for
  // nothing.
  virtual std::optional<Failure> CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                             NodeCounts* counts) = 0;
  // Appends what each node reports of itself, with the ends since a time. A node that does not
  // answer is a report too; the failure is then that of one of them.
  virtual std::optional<Failure> ReadReports(const ReportQuestion& question,
                                             NodeReports* reports) = 0;
  // Returns whether it knows each run of a VM, and not its newest alone.
  virtual bool knows_runs() const { return true; }
};

// Each prints the answer and returns nothing, or the failure. An output whose reader has gone is no
// failure. Of an empty list it prints nothing: what that means becomes `empty`.
std::optional<Failure> RunList(const EventsCommand& command, ListSource* source,
                               Formatter* formatter, Output* output, std::string* empty);
std::optional<Failure> RunList(const VmsCommand& command, ListSource* source, Formatter* formatter,
                               Output* output, std::string* empty);
std::optional<Failure> RunList(const StatsCommand& command, ListSource* source, absl::TimeZone zone,
                               Formatter* formatter, Output* output, std::string* empty);

// The UUIDs of the VMs that have one name in one place. Two of different UUIDs are two VMs; what
// has none is of the one that the place knows, as QEMU reports its UUID some time after its start.
class VmUuids {
 public:
  // A VM's name, cluster, node and source.
  using Place = std::tuple<std::string, std::string, std::string, std::string>;
  static Place PlaceOf(const v1::VmRef& vm, const MessageNode& node) {
    return {vm.name(), node.cluster, node.name, vm.source()};
  }
  void Add(const Place& place, const std::string& uuid) {
    if (!uuid.empty()) uuids_[place].insert(uuid);
  }
  // Returns the VM's UUID, where a run of it has `uuid`; empty: it has none, or is one of several.
  std::string Of(const Place& place, const std::string& uuid) const {
    const auto known = uuids_.find(place);
    const bool is_only = known != uuids_.end() && known->second.size() == 1;
    return uuid.empty() && is_only ? *known->second.begin() : uuid;
  }

 private:
  std::map<Place, std::set<std::string>> uuids_;
};

// One row for each VM: its run that lives, or else the newest; each run, where several live.
// `runs_known`: all of its runs are there, so that its ends can be counted. Pure.
NodeVms RowsOf(NodeVms runs, bool runs_known);
// Sorts the rows of `vms`: by state RUNNING first, and the stopped ones by the newest end; by
// trouble the worst first, and then by state. Pure.
void SortVms(const VmsCommand& command, NodeVms* vms, absl::Time now = absl::Now());

// The failure of a command whose output failed: none if the output's reader has gone.
std::optional<Failure> FromPrint(const absl::Status& status);
// Writes the text. Errors: see FromPrint().
std::optional<Failure> PrintText(const absl::StatusOr<std::string>& text, Output* output);

// The server's default applies if there is no ttl.
struct DeclareIntentCommand {
  std::string name;
  std::string run_id;  // empty: the one run of that name
  std::string actor;
  std::string reason;
  std::optional<absl::Duration> ttl;
  std::optional<absl::Time> started_before;
  std::string request_id{};
};

struct IntentsCommand {};

struct WithdrawIntentCommand {
  std::string intent_id;
};

struct InfoCommand {};

// The open WatchEvents streams.
struct StreamsCommand {};

// The question whether the server serves, by gRPC's health checking protocol.
struct HealthCommand {
  std::string service;  // empty: the server as a whole
  absl::Duration timeout = absl::Seconds(5);
  bool all = false;  // the server, and each service
};

// A daemon to ask. Copies share the connection.
struct DaemonNode {
  // Connects with the first request. A fault of the address or of its TLS files fails each request.
  explicit DaemonNode(ServerAddress server);
  // Explains why a request failed.
  Failure Explain(const grpc::Status& status) const;

  std::string name;  // shown with its answers; empty: it is asked alone
  ServerAddress address;
  absl::Status connected;  // of Connect(); the stubs are null if it failed
  std::shared_ptr<v1::VmEventService::StubInterface> stub;
  std::shared_ptr<grpc::health::v1::Health::StubInterface> health;
};

// Calls `ask` with each number below `count`, at most `at_once` of them together, each on another
// thread. Returns when all have returned.
inline constexpr size_t kAskedAtOnce = 64;
void AskAll(size_t count, const std::function<void(size_t)>& ask, size_t at_once = kAskedAtOnce);

// Notes all failures but the one that is returned: the first of a node that is away, else the
// first.
std::optional<Failure> ReportFailures(const std::vector<std::optional<Failure>>& failures,
                                      const PrintSentence& note);

// The servers to ask, and the output, whose pointers must outlive it; they may be null where a
// command does not use them.
struct CommandContext {
  explicit CommandContext(ServerAddress server, Formatter* shows = nullptr,
                          Output* prints = nullptr)
      : nodes{DaemonNode(std::move(server))}, formatter(shows), output(prints) {}
  CommandContext(std::vector<DaemonNode> servers, Formatter* shows, Output* prints,
                 PrintSentence print_note)
      : nodes(std::move(servers)), formatter(shows), output(prints), note(std::move(print_note)) {}

  std::vector<DaemonNode> nodes;  // at least one
  Formatter* formatter;
  Output* output;
  PrintSentence note = [](const std::string& /*sentence*/) {};
};

// Each asks all servers at once, prints what they answer in their order, and returns nothing, or a
// failure. It blocks for at most kRequestTimeout per request, or as the command states. An output
// whose reader has gone is no failure.
std::optional<Failure> RunCommand(const DeclareIntentCommand& command,
                                  const CommandContext& context);
std::optional<Failure> RunCommand(const WithdrawIntentCommand& command,
                                  const CommandContext& context);
std::optional<Failure> RunCommand(const InfoCommand& command, const CommandContext& context);
std::optional<Failure> RunCommand(const StreamsCommand& command, const CommandContext& context);
std::optional<Failure> RunCommand(const HealthCommand& command, const CommandContext& context);
// Prints the open intents.
std::optional<Failure> RunList(const IntentsCommand& command, ListSource* source,
                               Formatter* formatter, Output* output);

// The lists of one daemon.
class DaemonLists : public ListSource {
 public:
  explicit DaemonLists(DaemonNode daemon) : daemon_(std::move(daemon)) {}
  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                 NodeVms* vms) override;
  std::optional<Failure> ReadReports(const ReportQuestion& question, NodeReports* reports) override;
  std::optional<Failure> CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                     NodeCounts* counts) override;

 private:
  const DaemonNode daemon_;
};

struct NodeLists {
  std::string name;  // shown with its events and VMs
  std::unique_ptr<ListSource> lists;
};
// The lists of several nodes as one: events by time, where those of one node stay in order, and
// VMs by name. Asks all nodes at once, each on a thread of its own. A failed node is noted, the
// others' answers count; ReportFailures() makes the result then.
std::unique_ptr<ListSource> MergeLists(std::vector<NodeLists> nodes, PrintSentence note);

// The server's own state.
std::optional<Failure> ReadInfo(const DaemonNode& daemon, v1::GetServerInfoResponse* info);

// The services that were asked, and what each answered.
using ServiceStates = std::vector<std::pair<std::string, grpc::health::v1::HealthCheckResponse>>;
std::optional<Failure> ReadHealth(const HealthCommand& command, const DaemonNode& daemon,
                                  ServiceStates* states);

struct WhyCommand {
  v1::EventFilter filter;  // no types; empty only with a time
  bool markdown = false;   // for a ticket
  std::optional<absl::Time> since;
  std::optional<absl::Time> until;

  // Returns whether it asks for ends, by class, cause or time, and not for VMs.
  bool is_of_ends() const {
    return filter.classes_size() + filter.causes_size() > 0 || since || until;
  }
};

// The failure of a list that ran: a name or a glob of the filter that no VM has and no event of the
// journal names. `where`: see RunWhy().
std::optional<Failure> CheckNames(const v1::EventFilter& filter, absl::string_view where,
                                  ListSource* source);

// Names of the filter that are the UUIDs of VMs become its UUIDs. kUsage's code:
// other names are with them.
std::optional<Failure> TakeUuids(ListSource* source, v1::EventFilter* filter);

// Prints the story of each end that is asked for, the newest first; NOT_FOUND's code: there is
// none. Or else the story of each VM: it has one, also if it moved to another node. VMs of one name
// have a story each if their UUIDs differ, or if several of them run. A name that no VM has may be
// the pid of one: of the living run, else of the newest. NOT_FOUND's code if a name has none;
// `where` completes "is known" of that sentence, such as " in the fleet".
std::optional<Failure> RunWhy(const WhyCommand& command, absl::string_view where,
                              ListSource* source, Formatter* formatter, Output* output,
                              absl::Time now);

// `status`, for programs.
struct StatusCommand {};

struct TopCommand {
  absl::Duration interval = absl::Seconds(2);
  absl::Duration window = absl::Minutes(15);
  bool once = false;  // one frame, with the health of each node
};

struct TopEnvironment {
  bool live = false;  // draws until it is to quit; otherwise once
  // Style of a frame's tables, with a clock; and the lines of the screen.
  std::function<std::pair<TableStyle, size_t>()> style;
  std::function<bool(absl::Duration)> wait;  // waits for so long at most; true: it is to quit
};

// Draws frames. A server that fails later is shown in the frame, and asked again.
std::optional<Failure> RunTop(const TopCommand& command, ListSource* source, Output* output,
                              const TopEnvironment& environment);

// The nodes as they are, for programs.
std::optional<Failure> RunList(const StatusCommand& command, ListSource* source,
                               Formatter* formatter, Output* output);

// Ends a stream that is silent for so long, while it is read.
struct Silence {
  absl::Duration limit = absl::Seconds(30);       // three progress intervals
  std::function<absl::Time()> clock = SteadyNow;  // measures it
};

// Makes the source of one daemon's events. It continues over any number of streams with nothing
// lost or repeated, and relies on the contract: the sequences of one journal increase on a stream,
// and none is given twice; Progress opens every stream, names the journal, and gives the sequence
// up to which everything was sent, and everything is durable. A snapshot counts once it is
// complete; until then it is requested again. The position never passes what is not durable: the
// next stream sends that again, and it is dropped if it was shown.
std::unique_ptr<Source> WatchDaemon(WatchCommand command, ServerAddress address,
                                    ReconnectingSource::Environment environment,
                                    Silence silence = {});

// Merges what several nodes deliver, each on a thread of its own. The events of one node stay in
// order. Of those that several nodes have, the one that was observed first comes first, as far as
// they arrive together: an event waits at most `window` for the others, and a later one at most
// `longest_wait` behind older ones, so that no node holds up the others.
class EventMerger {
 public:
  // Items of one node that were added and not taken; Add() waits while there are so many.
  static constexpr size_t kMaxWaiting = 2000;

  struct Order {
    absl::Duration window = absl::Milliseconds(500);
    absl::Duration longest_wait = absl::Seconds(5);
    bool newest_first = false;
  };
  // Item of a node's source: one event alone, or none; Ended is its last.
  struct Item {
    size_t node = 0;
    Source::Item what;
  };

  // `clock` measures how long events wait; it is never set. Any thread.
  EventMerger(size_t nodes, Order order, std::function<absl::Time()> clock = SteadyNow)
      : order_(order), clock_(std::move(clock)), queues_(nodes) {}

  // Waits for room. False: no more is wanted.
  bool Add(Item item, const std::stop_token& stop);
  // Waits for items that need not wait any longer, and takes at most `max`. Empty: stopped, or none
  // came within `timeout`.
  std::vector<Item> Take(size_t max, const std::stop_token& stop,
                         absl::Duration timeout = absl::InfiniteDuration());

 private:
  struct Waiting {
    Item item;
    absl::Time arrival;
  };
  struct Queue {
    std::deque<Waiting> items;
    bool ended = false;  // nothing more comes
  };
  // The node whose item comes next; none: all wait. `next`: until then, unless more are added.
  std::optional<size_t> Find(absl::Time now, absl::Time* next) const;

  const Order order_;
  const std::function<absl::Time()> clock_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Queue> queues_;  // guarded by mutex_
};

struct WatchedNode {
  std::string name;  // shown with its events
  WatchCommand command;
  ServerAddress address;
};
// Watches several nodes at once, each on a thread of its own, and merges their events by time. A
// node that fails for good is reported, and the others continue; the watch fails when all nodes
// have. `stop` must outlive the source; any thread calls `note`, and `clock`, by which events wait.
std::unique_ptr<Source> WatchNodes(std::vector<WatchedNode> nodes, StopSource* stop,
                                   PrintSentence note,
                                   std::function<absl::Time()> clock = SteadyNow);

}  // namespace vmeventd::client
