#include "server/handover.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/host/parcel.h"
#include "server/host/service_manager.h"
#include "server/host/shared_memory.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr char kStoreName[] = "vmeventd-runs";
// Of KeptRuns.
constexpr char kKeptName[] = "vmeventd-kept";
constexpr char kNotesName[] = "vmeventd-notes";
// A parcel with one message, the descriptors of the trace, which stays in it.
constexpr char kTraceName[] = "vmeventd-trace";
constexpr char kTraceText[] = "vmeventd-trace 1";
constexpr size_t kMaxTraceText = 64;
// Longest wait for the service manager's answer.
constexpr absl::Duration kStoreTimeout = absl::Seconds(1);

// The text of the parcel: this, the journal's id and its newest sequence; then a line a run: its
// socket's cookie, 0 if it has none, whether it has a pidfd, and what WriteHandedRun() makes of it.
constexpr char kFormat[] = "vmeventd-handover 1";

std::string FirstLine(const JournalEnd& journal) {
  return absl::StrCat(kFormat, " ", journal.journal_id, " ", journal.newest);
}

absl::StatusOr<HandedRun> ReadRun(absl::string_view line, std::vector<UniqueFd>* descriptors,
                                  size_t* next) {
  const std::pair<absl::string_view, absl::string_view> cookie =
      absl::StrSplit(line, absl::MaxSplits(' ', 1));
  const std::pair<absl::string_view, absl::string_view> tracked =
      absl::StrSplit(cookie.second, absl::MaxSplits(' ', 1));
  absl::StatusOr<HandedRun> run = ReadHandedRun(tracked.second);
  if (!run.ok()) return run;
  uint64_t expected = 0;
  const bool valid = absl::SimpleAtoi(cookie.first, &expected);
  const bool connected = expected != 0;
  const bool has_process = tracked.first == "1";
  if (!valid || *next + (connected ? 1 : 0) + (has_process ? 1 : 0) > descriptors->size() ||
      (connected ? expected != SocketCookie((*descriptors)[*next].get()) : !has_process)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the connection of ", run->run_id, " is another one"));
  }
  if (connected) run->connection = std::move((*descriptors)[(*next)++]);
  if (has_process) run->process = std::move((*descriptors)[(*next)++]);
  return run;
}

void TakeKeptRuns(const UniqueFd& parcel, const SharedMemory* notes, std::vector<HandedRun>* runs) {
  absl::StatusOr<std::vector<HandedRun>> kept = OpenKeptRuns(parcel, notes);
  if (!kept.ok()) {
    spdlog::warn("the VMs that were kept for a crash are connected to again: {}",
                 std::string(kept.status().message()));
    return;
  }
  if (kept->empty()) return;
  const bool complete = std::all_of(kept->begin(), kept->end(), [](const HandedRun& run) {
    return run.noted.has_value() || !run.connection.valid();
  });
  spdlog::warn("the daemon before this one did not stop in order: going on with {} VMs{}",
               kept->size(),
               complete ? "" : ", of which what some said in the last moment may be missing");
  for (HandedRun& run : *kept) runs->push_back(std::move(run));
}

}  // namespace

absl::StatusOr<UniqueFd> PackHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs,
                                      KeptRuns* kept) {
  std::string text = absl::StrCat(FirstLine(journal), "\n");
  std::vector<int> descriptors;
  for (const HandedRun& run : runs) {
    const bool tracked = run.process.valid();
    const bool connected = run.connection.valid();
    absl::StrAppend(&text, connected ? SocketCookie(run.connection.get()) : 0, " ", tracked ? 1 : 0,
                    " ", WriteHandedRun(run), "\n");
    if (connected) descriptors.push_back(run.connection.get());
    if (tracked) descriptors.push_back(run.process.get());
  }
  absl::StatusOr<UniqueFd> parcel = PackParcel(text, descriptors);
  if (!absl::IsAborted(parcel.status()) || kept == nullptr) return parcel;
  kept->Clear();
  return PackParcel(text, descriptors);
}

absl::StatusOr<Handover> OpenHandover(UniqueFd parcel, const JournalEnd& journal) {
  absl::StatusOr<Parcel> opened = OpenParcel(std::move(parcel));
  if (!opened.ok()) return opened.status();
  std::vector<absl::string_view> lines = absl::StrSplit(opened->text, '\n');
  if (!lines.back().empty()) return absl::InvalidArgumentError("its last line has no end");
  lines.pop_back();
  if (lines.empty() || !absl::StartsWith(lines[0], absl::StrCat(kFormat, " "))) {
    return absl::InvalidArgumentError("another version of vmeventd made it");
  }
  Handover handover;
  size_t next = 0;
  for (size_t i = 1; i < lines.size(); ++i) {
    absl::StatusOr<HandedRun> run = ReadRun(lines[i], &opened->descriptors, &next);
    if (!run.ok()) return run.status();
    handover.runs.push_back(*std::move(run));
  }
  if (next != opened->descriptors.size()) {
    return absl::InvalidArgumentError("it has descriptors of no run");
  }
  if (lines[0] != FirstLine(journal)) {
    handover.problem = "the journal is not as the daemon before this one left it";
    for (HandedRun& run : handover.runs) run.run_id.clear();
  }
  return handover;
}

std::vector<HandedRun> TakeHandover(const JournalEnd& journal) {
  std::vector<HandedRun> runs;
  std::set<std::string> names;
  std::vector<UniqueFd> kept;
  std::unique_ptr<SharedMemory> notes;
  bool stopped = false;
  const auto is_of_runs = [](absl::string_view name) { return name != kTraceName; };
  for (StoredDescriptor& stored : TakeStoredDescriptors(is_of_runs)) {
    names.insert(stored.name);
    if (stored.name == kKeptName) {
      kept.push_back(std::move(stored.fd));
      continue;
    }
    if (stored.name == kNotesName) {
      absl::StatusOr<std::unique_ptr<SharedMemory>> memory =
          SharedMemory::Open(std::move(stored.fd));
      if (memory.ok()) notes = *std::move(memory);
      continue;
    }
    if (stored.name != kStoreName) {
      spdlog::warn("the service manager passes a descriptor named {}, which is closed: not known",
                   stored.name);
      continue;
    }
    stopped = true;
    absl::StatusOr<Handover> handover = OpenHandover(std::move(stored.fd), journal);
    const std::string problem =
        handover.ok() ? handover->problem : std::string(handover.status().message());
    if (!problem.empty()) {
      spdlog::warn("the VMs that the daemon before this one handed over are connected to again: {}",
                   problem);
    }
    if (!handover.ok()) continue;
    for (HandedRun& run : handover->runs) runs.push_back(std::move(run));
  }
  for (const std::string& name : names) RemoveStoredDescriptors(name);
  if (!runs.empty()) {
    spdlog::info("going on with {} VMs of the daemon before this one", runs.size());
  }
  SocketCloser closer;  // to let go of a monitor may take long
  for (UniqueFd& parcel : kept) {
    if (!stopped) TakeKeptRuns(parcel, notes.get(), &runs);
    closer.Close(std::move(parcel));
  }
  return runs;
}

void StoreHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs, KeptRuns* kept) {
  const auto remove_kept = [] {
    RemoveStoredDescriptors(kKeptName);
    RemoveStoredDescriptors(kNotesName);
  };
  if (runs.empty()) return remove_kept();
  absl::StatusOr<UniqueFd> parcel = PackHandover(journal, runs, kept);
  const absl::Status status =
      parcel.ok() ? StoreDescriptor(kStoreName, parcel->get(), kStoreTimeout) : parcel.status();
  if (status.ok()) {
    remove_kept();
    spdlog::info("{} VMs are left to the service manager, for the next start", runs.size());
  } else {
    spdlog::warn("{} VMs cannot be left to the service manager: {}", runs.size(),
                 std::string(status.message()));
  }
}

absl::StatusOr<std::vector<UniqueFd>> TakeTrace() {
  const std::vector<StoredDescriptor> stored =
      TakeStoredDescriptors([](absl::string_view name) { return name == kTraceName; });
  std::vector<UniqueFd> descriptors;
  if (stored.empty()) return descriptors;
  absl::StatusOr<std::string> text = absl::InvalidArgumentError("no parcel of vmeventd");
  if (stored.size() == 1 && IsParcelSocket(stored[0].fd.get())) {
    text = ReceiveFromParcel(stored[0].fd.get(), kMaxTraceText, &descriptors, /*stays=*/true);
  }
  if (text.ok() && *text == kTraceText) return descriptors;
  RemoveStoredDescriptors(kTraceName);
  return text.ok() ? absl::InvalidArgumentError("another version of vmeventd made it")
                   : text.status();
}

absl::Status StoreTrace(const std::vector<int>& descriptors) {
  RemoveStoredDescriptors(kTraceName);
  if (descriptors.empty() || !HasServiceManager()) return absl::OkStatus();
  absl::StatusOr<ParcelSockets> sockets = MakeParcelSockets();
  if (!sockets.ok()) return sockets.status();
  absl::Status status = SendToParcel(sockets->sender.get(), kTraceText, descriptors);
  if (!status.ok()) return status;
  // Nobody waits for its answer: a trace that it does not keep ends with this process.
  return StoreDescriptor(kTraceName, sockets->parcel.get(), absl::ZeroDuration());
}

std::shared_ptr<KeptRuns> StoreKeptRuns() {
  if (!HasServiceManager()) return nullptr;
  absl::StatusOr<std::unique_ptr<KeptRuns>> kept = KeptRuns::Create();
  // Nobody waits for its answer: what it does not keep is as without it.
  absl::Status status = kept.status();
  for (const auto& [name, descriptor] :
       {std::pair(kNotesName, kept.ok() ? (*kept)->notes_descriptor() : -1),
        std::pair(kKeptName, kept.ok() ? (*kept)->descriptor() : -1)}) {
    if (status.ok()) status = StoreDescriptor(name, descriptor, absl::ZeroDuration());
  }
  if (status.ok()) return *std::move(kept);
  spdlog::warn("after a crash of vmeventd VMs will be connected to again: {}",
               std::string(status.message()));
  return nullptr;
}

}  // namespace vmeventd
