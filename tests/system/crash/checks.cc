#include "tests/system/crash/checks.h"

#include <fnmatch.h>

#include <algorithm>
#include <iterator>
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

// Visits each stream of each client, with its name.
template <typename Visitor>
void ForEachStream(const History& history, const Visitor& visitor) {
  for (const ClientHistory& client : history.clients) {
    for (size_t i = 0; i < client.streams.size(); ++i) {
      visitor(client, client.streams[i],
              absl::StrCat("client ", client.name, ", stream ", i, ": "));
    }
  }
}

// The journal, indexed by sequence.
class JournalIndex {
 public:
  explicit JournalIndex(const History& history) {
    for (const v1::Event& event : history.journal) events_[event.sequence()] = &event;
  }
  const v1::Event* Find(uint64_t sequence) const {
    const auto found = events_.find(sequence);
    return found == events_.end() ? nullptr : found->second;
  }
  // Visits the events in (after, last].
  template <typename Visitor>
  void ForEach(uint64_t after, uint64_t last, const Visitor& visitor) const {
    for (auto it = events_.upper_bound(after); it != events_.end() && it->first <= last; ++it) {
      visitor(*it->second);
    }
  }

 private:
  std::map<uint64_t, const v1::Event*> events_;
};

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

// By name, how many processes no run of the journal has. One of them may have ended as the daemon
// connected to it for the first time: a run without a process is what it said by then.
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

// The life of the daemon at `time`; -1: none.
int LifeAt(const History& history, absl::Time time) {
  for (size_t i = history.lives.size(); i-- > 0;) {
    if (history.lives[i].begin <= time) {
      return time <= history.lives[i].end ? static_cast<int>(i) : -1;
    }
  }
  return -1;
}

absl::Time ObserveTime(const v1::Event& event) {
  return absl::FromUnixSeconds(event.observe_time().seconds()) +
         absl::Nanoseconds(event.observe_time().nanos());
}

// Visits each ended run of the journal that belongs to a process of the harness.
template <typename Visitor>
void ForEachStopped(const History& history, const Visitor& visitor) {
  const auto processes = ByProcess(history);
  for (const auto& [run_id, events] : ByRun(history)) {
    const v1::Event& last = *events.back();
    if (last.type() != v1::EVENT_TYPE_STOPPED) continue;  // CheckRuns reports it
    const auto process = processes.find({last.vm().name(), last.vm().pid()});
    if (process == processes.end() || process->second->acts.empty()) continue;  // likewise
    visitor(*process->second, events, last);
  }
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

void CheckOrder(const StreamHistory& stream, const std::string& where, Findings* findings) {
  uint64_t last = BeginOf(stream);
  for (const Delivery& delivery : stream.deliveries) {
    if (delivery.sequence <= last) {
      findings->push_back(absl::StrCat(where, "event ", delivery.sequence, " came after ", last));
    }
    last = delivery.sequence;
  }
}

void CheckComplete(const StreamHistory& stream, const v1::EventFilter& filter,
                   const JournalIndex& journal, const std::string& where, Findings* findings) {
  std::set<uint64_t> got;
  for (const Delivery& delivery : stream.deliveries) got.insert(delivery.sequence);
  journal.ForEach(BeginOf(stream), stream.position, [&](const v1::Event& event) {
    const bool passes = Passes(event, filter);
    if (passes == (got.count(event.sequence()) != 0)) return;
    findings->push_back(absl::StrCat(where, Text(event),
                                     passes ? " was left out" : " does not match the filter",
                                     ", between ", BeginOf(stream), " and ", stream.position));
  });
}

}  // namespace

bool Passes(const v1::Event& event, const v1::EventFilter& filter) {
  if (!event.has_vm() && event.type() == v1::EVENT_TYPE_GAP) return true;
  const auto named = [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), event.vm().name().c_str(), 0) == 0;
  };
  const auto& names = filter.vm_names();
  const auto& types = filter.types();
  const auto& classes = filter.classes();
  return (names.empty() || std::any_of(names.begin(), names.end(), named)) &&
         (types.empty() || std::count(types.begin(), types.end(), event.type()) > 0) &&
         (classes.empty() ||
          (event.has_shutdown() &&
           std::count(classes.begin(), classes.end(), event.shutdown().shutdown_class()) > 0));
}

Findings CheckNothingIsLost(const History& history) {
  Findings findings;
  const JournalIndex journal(history);
  ForEachStream(history,
                [&](const ClientHistory&, const StreamHistory& stream, const std::string& where) {
                  for (const Delivery& delivery : stream.deliveries) {
                    if (!delivery.durable) continue;
                    const v1::Event* const kept = journal.Find(delivery.sequence);
                    if (kept != nullptr && kept->SerializeAsString() == delivery.bytes) continue;
                    v1::Event received;
                    received.ParseFromString(delivery.bytes);
                    findings.push_back(absl::StrCat(
                        where, "received ", received.ShortDebugString(), ", and the journal ",
                        kept == nullptr ? "does not have it" : "has " + kept->ShortDebugString()));
                  }
                });
  return findings;
}

Findings CheckStreamsAreComplete(const History& history) {
  Findings findings;
  const JournalIndex journal(history);
  ForEachStream(history, [&](const ClientHistory& client, const StreamHistory& stream,
                             const std::string& where) {
    CheckOrder(stream, where, &findings);
    CheckComplete(stream, client.filter, journal, where, &findings);
  });
  return findings;
}

Findings CheckResumption(const History& history) {
  Findings findings;
  std::map<const ClientHistory*, uint64_t> positions;
  ForEachStream(history, [&](const ClientHistory& client, const StreamHistory& stream,
                             const std::string& where) {
    if (stream.end == grpc::StatusCode::OUT_OF_RANGE ||
        stream.end == grpc::StatusCode::INVALID_ARGUMENT ||
        stream.end == grpc::StatusCode::DATA_LOSS || stream.end == grpc::StatusCode::INTERNAL) {
      findings.push_back(absl::StrCat(where, "after ", stream.after, " ended with code ",
                                      static_cast<int>(stream.end), ": ", stream.end_message));
    }
    if (!stream.journal_id.empty() && stream.journal_id != history.journal_id) {
      findings.push_back(absl::StrCat(where, "the journal was ", stream.journal_id, " and is now ",
                                      history.journal_id));
    }
    if (!client.resumes) return;
    uint64_t& position = positions[&client];
    if (stream.start == StreamStart::kAfter && stream.after != position) {
      findings.push_back(
          absl::StrCat(where, "began after ", stream.after, " and not after ", position));
    }
    for (const Delivery& delivery : stream.deliveries) {
      if (delivery.sequence > position) {
        position = delivery.sequence;
      } else {
        findings.push_back(absl::StrCat(where, "event ", delivery.sequence,
                                        " was repeated: all up to ", position, " had arrived"));
      }
    }
    position = std::max(position, stream.position);
  });
  return findings;
}

Findings CheckSnapshots(const History& history) {
  Findings findings;
  ForEachStream(
      history, [&](const ClientHistory&, const StreamHistory& stream, const std::string& where) {
        if (!stream.snapshot_sequence.has_value()) return;
        std::set<std::string> open;
        for (const v1::Event& event : history.journal) {
          if (!event.has_vm() || event.sequence() > *stream.snapshot_sequence) continue;
          if (event.type() == v1::EVENT_TYPE_STARTED) open.insert(event.vm().run_id());
          if (event.type() == v1::EVENT_TYPE_STOPPED) open.erase(event.vm().run_id());
        }
        std::set<std::string> listed;
        for (const v1::Vm& vm : stream.snapshot) {
          if (!vm.ref().run_id().empty()) listed.insert(vm.ref().run_id());
        }
        if (open == listed) return;
        findings.push_back(absl::StrCat(where, "the snapshot as of ", *stream.snapshot_sequence,
                                        " has the runs ", absl::StrJoin(listed, " "),
                                        ", and open were ", absl::StrJoin(open, " ")));
      });
  return findings;
}

Findings CheckJournal(const History& history) {
  Findings findings;
  uint64_t expected = 1;
  for (const v1::Event& event : history.journal) {
    // After a kill a GAP names the sequences that were reserved, and no event has.
    const bool named = event.has_missing() && event.missing().first() <= expected &&
                       event.missing().last() + 1 >= event.sequence();
    if (event.sequence() != expected && !named) {
      findings.push_back(
          absl::StrCat("the journal continues with ", Text(event), " where ", expected, " is due"));
    }
    if (!event.durable()) findings.push_back(Text(event) + " is in the journal as not durable");
    expected = event.sequence() + 1;
  }
  const auto same = [](const v1::Event& a, const v1::Event& b) {
    return a.SerializeAsString() == b.SerializeAsString();
  };
  if (!std::equal(history.journal.begin(), history.journal.end(), history.listed.begin(),
                  history.listed.end(), same)) {
    findings.push_back(absl::StrCat("ListEvents returns ", history.listed.size(),
                                    " events that are not the ", history.journal.size(),
                                    " of the journal"));
  }
  if (!std::equal(history.journal.rbegin(), history.journal.rend(),
                  history.listed_newest_first.begin(), history.listed_newest_first.end(), same)) {
    findings.push_back("ListEvents with newest_first is not the journal from its end");
  }
  return findings;
}

Findings CheckRuns(const History& history) {
  Findings findings;
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
        findings.push_back(absl::StrCat(where, "is run ", other->second, " already", details));
      }
    } else if (vm.pid() != 0 || --spare[vm.name()] < 0) {
      findings.push_back(absl::StrCat(where, "is no process of the harness"));
      continue;
    }
    const auto count = [&events = events](v1::EventType type) {
      return std::count_if(events.begin(), events.end(),
                           [type](const v1::Event* event) { return event->type() == type; });
    };
    const auto started = count(v1::EVENT_TYPE_STARTED);
    const auto stopped = count(v1::EVENT_TYPE_STOPPED);
    if (started != 1 || events.front()->type() != v1::EVENT_TYPE_STARTED) {
      findings.push_back(absl::StrCat(where, started, " STARTED, one is due, first", details));
    }
    if (stopped != 1 || events.back()->type() != v1::EVENT_TYPE_STOPPED) {
      findings.push_back(absl::StrCat(where, stopped, " STOPPED, one is due, last", details));
    }
  }
  for (const RunHistory& run : history.runs) {
    if (!run.must_be_published || seen.count({run.name, run.pid}) != 0) continue;
    findings.push_back(absl::StrCat(run.name, "/", run.pid,
                                    " was published and is not in the journal", Describe(run, {})));
  }
  return findings;
}

Findings CheckClasses(const History& history) {
  Findings findings;
  ForEachStopped(history, [&](const RunHistory& run, const auto& events, const v1::Event& stopped) {
    const int life = LifeAt(history, ObserveTime(stopped));
    const bool all_seen = std::all_of(run.acts.begin(), run.acts.end(), [life](const Act& act) {
      return act.seen_by >= 0 && act.seen_by == life;
    });
    const v1::ShutdownClass says = stopped.shutdown().shutdown_class();
    if (!all_seen || says == TrueClass(run)) return;
    findings.push_back(absl::StrCat(run.name, "/", run.pid, ": STOPPED says ", Class(says),
                                    ", observed by life ", life, " of the daemon, which ended by ",
                                    history.lives[static_cast<size_t>(life)].how, "; it is ",
                                    Class(TrueClass(run)), Describe(run, events)));
  });
  return findings;
}

Findings CheckFiles(const History& history) {
  Findings findings;
  ForEachStopped(history, [&](const RunHistory& run, const auto& events, const v1::Event& stopped) {
    const v1::ShutdownClass says = stopped.shutdown().shutdown_class();
    const std::string where = absl::StrCat(run.name, "/", run.pid, ": ");
    const bool user = says == v1::SHUTDOWN_CLASS_USER;
    const bool superseded = ObserveTime(stopped) >= run.next_began;
    if (stopped.shutdown().shutdown_file_written() != user && !superseded) {
      findings.push_back(absl::StrCat(where, "STOPPED says ", Class(says), " and the file ",
                                      user ? "not " : "", "written", Describe(run, events)));
    }
    if (!run.file_after.has_value()) return;
    if (says != v1::SHUTDOWN_CLASS_UNKNOWN) {
      if (*run.file_after == user) return;
    } else {
      if (!run.file_before.has_value() || *run.file_after == *run.file_before) return;
      // An earlier life that knew the class, but could not publish it, has handled the file.
      if (*run.file_after == (TrueClass(run) == v1::SHUTDOWN_CLASS_USER)) return;
    }
    findings.push_back(absl::StrCat(where, "STOPPED says ", Class(says), " and the file is ",
                                    *run.file_after ? "" : "not ", "there", Describe(run, events)));
  });
  return findings;
}

Findings CheckListing(const History& history) {
  Findings findings;
  std::set<std::string> stopped;
  for (const v1::Event& event : history.journal) {
    if (event.type() == v1::EVENT_TYPE_STOPPED) stopped.insert(event.vm().run_id());
  }
  for (const v1::Vm& vm : history.vms) {
    if (vm.ref().run_id().empty()) continue;  // a socket without a process
    if (vm.state() != v1::VM_STATE_STOPPED) {
      findings.push_back(absl::StrCat("ListVms: ", vm.ref().name(), "/", vm.ref().pid(), " is ",
                                      v1::VmState_Name(vm.state()), ", and it has ended"));
    }
    if (stopped.erase(vm.ref().run_id()) == 0) {
      findings.push_back(absl::StrCat("ListVms: run ", vm.ref().run_id(),
                                      " is not in the journal, or is listed twice"));
    }
  }
  for (const std::string& run_id : stopped) {
    findings.push_back(absl::StrCat("ListVms: the stopped run ", run_id, " is missing"));
  }
  return findings;
}

Findings CheckProbes(const History& history) {
  Findings findings;
  for (const Probe& probe : history.probes) {
    if (probe.answer == probe.expected) continue;
    findings.push_back(absl::StrCat(probe.what, ": code ", static_cast<int>(probe.answer), " (",
                                    probe.message, ") and not ", static_cast<int>(probe.expected)));
  }
  return findings;
}

Findings CheckAll(const History& history) {
  Findings all;
  for (const auto check :
       {CheckNothingIsLost, CheckStreamsAreComplete, CheckResumption, CheckSnapshots, CheckJournal,
        CheckRuns, CheckClasses, CheckFiles, CheckListing, CheckProbes}) {
    Findings findings = check(history);
    std::move(findings.begin(), findings.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace vmeventd::crash
