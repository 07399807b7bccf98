#include "tests/system/crash/checks.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace vmeventd::crash {
namespace {

using RunKey = std::pair<std::string, int64_t>;  // name, pid

std::string Type(const v1::Event& event) {
  return std::string(absl::StripPrefix(v1::EventType_Name(event.type()), "EVENT_TYPE_"));
}

std::string Class(v1::ShutdownClass value) {
  return std::string(absl::StripPrefix(v1::ShutdownClass_Name(value), "SHUTDOWN_CLASS_"));
}

std::string Text(const v1::Event& event) {
  std::string text = absl::StrCat("#", event.sequence(), " ", Type(event));
  if (event.has_vm()) absl::StrAppend(&text, " ", event.vm().name(), "/", event.vm().pid());
  if (event.has_shutdown()) absl::StrAppend(&text, " ", Class(event.shutdown().shutdown_class()));
  return text;
}

using Journal = std::map<uint64_t, const v1::Event*>;  // keyed by sequence

// The journal's events by run id, in order; without those of the node as a whole.
std::map<std::string, std::vector<const v1::Event*>> ByRun(const History& history) {
  std::map<std::string, std::vector<const v1::Event*>> runs;
  for (const v1::Event& event : history.journal) {
    if (event.has_vm()) runs[event.vm().run_id()].push_back(&event);
  }
  return runs;
}

std::map<RunKey, const RunHistory*> ByProcess(const History& history) {
  std::map<RunKey, const RunHistory*> runs;
  for (const RunHistory& run : history.runs) runs[{run.name, run.pid}] = &run;
  return runs;
}

// Returns for each name how many processes have no run in the journal. One process may have ended
// while the daemon connected to it for the first time: its run is then one without a process.
std::map<std::string, int> ProcessesWithoutRun(const History& history) {
  std::set<RunKey> followed;
  for (const v1::Event& event : history.journal) {
    if (event.has_vm()) followed.insert({event.vm().name(), event.vm().pid()});
  }
  std::map<std::string, int> without;
  for (const RunHistory& run : history.runs) {
    if (!followed.contains({run.name, run.pid})) ++without[run.name];
  }
  return without;
}

std::string Describe(const RunHistory& run, const std::vector<const v1::Event*>& events) {
  std::string text = absl::StrCat("\n    the harness: ", absl::StrJoin(run.log, "; "));
  absl::StrAppend(&text, "\n    the journal: ",
                  absl::StrJoin(events, ", ", [](std::string* out, const v1::Event* event) {
                    absl::StrAppend(out, Text(*event));
                  }));
  if (!events.empty()) absl::StrAppend(&text, "\n    ", events.back()->message());
  return text;
}

uint64_t BeginOf(const StreamHistory& stream) {
  switch (stream.start) {
    case StreamStart::kOldest:
      return 0;
    case StreamStart::kAfter:
      return stream.after;
    case StreamStart::kSnapshot:
      // Nothing is promised before the snapshot is complete.
      return stream.snapshot_sequence.value_or(UINT64_MAX);
  }
  return 0;
}

void CheckDeliveries(const StreamHistory& stream, const Journal& journal, const std::string& where,
                     Findings* findings) {
  uint64_t last = BeginOf(stream);
  for (const Delivery& delivery : stream.deliveries) {
    last = std::max(last, delivery.passed);
    if (delivery.sequence <= last) {
      findings->push_back(absl::StrCat(where, "event ", delivery.sequence, " came after ", last));
    }
    last = delivery.sequence;
    if (!delivery.durable) continue;
    const auto stored = journal.find(delivery.sequence);
    if (stored != journal.end() && stored->second->SerializeAsString() == delivery.bytes) continue;
    v1::Event received;
    received.ParseFromString(delivery.bytes);
    findings->push_back(
        absl::StrCat(where, "received ", received.ShortDebugString(), ", and the journal ",
                     stored == journal.end() ? "does not have it"
                                             : "has " + stored->second->ShortDebugString()));
  }
}

void CheckComplete(const StreamHistory& stream, const Journal& journal, const std::string& where,
                   Findings* findings) {
  std::set<uint64_t> got;
  for (const Delivery& delivery : stream.deliveries) got.insert(delivery.sequence);
  const uint64_t begin = BeginOf(stream);
  for (auto it = journal.upper_bound(begin); it != journal.end() && it->first <= stream.position;
       ++it) {
    if (got.contains(it->first)) continue;
    findings->push_back(absl::StrCat(where, Text(*it->second), " was left out, between ", begin,
                                     " and ", stream.position));
  }
}

// `position`: where the client's streams before this one ended.
void CheckResumption(const StreamHistory& stream, const std::string& where, uint64_t* position,
                     Findings* findings) {
  if (stream.start == StreamStart::kAfter && stream.after != *position) {
    findings->push_back(
        absl::StrCat(where, "began after ", stream.after, " and not after ", *position));
  }
  for (const Delivery& delivery : stream.deliveries) {
    if (delivery.sequence > *position) {
      *position = delivery.sequence;
    } else {
      findings->push_back(absl::StrCat(where, "event ", delivery.sequence,
                                       " was repeated: all up to ", *position, " had arrived"));
    }
  }
  *position = std::max(*position, stream.position);
}

void CheckStreams(const History& history, Findings* findings) {
  Journal journal;
  for (const v1::Event& event : history.journal) journal[event.sequence()] = &event;
  for (const ClientHistory& client : history.clients) {
    uint64_t position = 0;
    for (size_t i = 0; i < client.streams.size(); ++i) {
      const StreamHistory& stream = client.streams[i];
      const std::string where = absl::StrCat("client ", client.name, ", stream ", i, ": ");
      if (stream.end == grpc::StatusCode::OUT_OF_RANGE ||
          stream.end == grpc::StatusCode::INVALID_ARGUMENT ||
          stream.end == grpc::StatusCode::DATA_LOSS || stream.end == grpc::StatusCode::INTERNAL) {
        findings->push_back(absl::StrCat(where, "after ", stream.after, " ended with code ",
                                         static_cast<int>(stream.end), ": ", stream.end_message));
      }
      if (!stream.journal_id.empty() && stream.journal_id != history.journal_id) {
        findings->push_back(absl::StrCat(where, "the journal was ", stream.journal_id,
                                         " and is now ", history.journal_id));
      }
      CheckDeliveries(stream, journal, where, findings);
      CheckComplete(stream, journal, where, findings);
      if (client.resumes) CheckResumption(stream, where, &position, findings);
    }
  }
}

void CheckJournal(const History& history, Findings* findings) {
  uint64_t expected = 1;
  for (const v1::Event& event : history.journal) {
    // After a kill a GAP names the sequences that were reserved, and no event has.
    const bool named = event.has_missing() && event.missing().first() <= expected &&
                       event.missing().last() + 1 >= event.sequence();
    if (event.sequence() != expected && !named) {
      findings->push_back(
          absl::StrCat("the journal continues with ", Text(event), " where ", expected, " is due"));
    }
    if (!event.durable()) findings->push_back(Text(event) + " is in the journal as not durable");
    expected = event.sequence() + 1;
  }
}

void CheckRuns(const History& history, Findings* findings) {
  const auto processes = ByProcess(history);
  std::map<RunKey, std::string> seen;
  std::map<std::string, int> spare = ProcessesWithoutRun(history);
  for (const auto& [run_id, events] : ByRun(history)) {
    const v1::VmRef& vm = events.front()->vm();
    const RunKey key{vm.name(), vm.pid()};
    const auto process = processes.find(key);
    const std::string where = absl::StrCat("run ", run_id, " (", vm.name(), "/", vm.pid(), "): ");
    std::string details;
    if (process != processes.end()) {
      details = Describe(*process->second, events);
      if (const auto [other, is_new] = seen.emplace(key, run_id); !is_new) {
        findings->push_back(absl::StrCat(where, "is run ", other->second, " already", details));
      }
    } else if (vm.pid() != 0 || --spare[vm.name()] < 0) {
      findings->push_back(absl::StrCat(where, "is no process of the harness"));
      continue;
    }
    const auto count = [&of_run = events](v1::EventType type) {
      return std::count_if(of_run.begin(), of_run.end(),
                           [type](const v1::Event* event) { return event->type() == type; });
    };
    const auto started = count(v1::EVENT_TYPE_STARTED);
    const auto stopped = count(v1::EVENT_TYPE_STOPPED);
    if (started != 1 || events.front()->type() != v1::EVENT_TYPE_STARTED) {
      findings->push_back(absl::StrCat(where, started, " STARTED, one is due, first", details));
    }
    if (stopped != 1 || events.back()->type() != v1::EVENT_TYPE_STOPPED) {
      findings->push_back(absl::StrCat(where, stopped, " STOPPED, one is due, last", details));
    }
  }
  for (const RunHistory& run : history.runs) {
    if (!run.must_be_published || seen.count({run.name, run.pid}) != 0) continue;
    findings->push_back(absl::StrCat(
        run.name, "/", run.pid, " was published and is not in the journal", Describe(run, {})));
  }
}

}  // namespace

Findings Check(const History& history) {
  Findings findings;
  CheckStreams(history, &findings);
  CheckJournal(history, &findings);
  CheckRuns(history, &findings);
  return findings;
}

}  // namespace vmeventd::crash
