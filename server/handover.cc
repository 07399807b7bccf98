#include "server/handover.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/host/parcel.h"
#include "server/host/service_manager.h"
#include "server/host/shared_memory.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// Names of KeptRuns' parcel, and of the memory of what is read.
constexpr char kKeptName[] = "vmeventd-kept";
constexpr char kNotesName[] = "vmeventd-notes";
// Name of the memory with WriteHandover()'s text.
constexpr char kSaidName[] = "vmeventd-runs";
constexpr size_t kMaxSaidBytes = size_t{64} << 20;
// Name of the socket that receives exit statuses.
constexpr char kExitsName[] = "vmeventd-exits";
// Name of the parcel with one message, the descriptors of the trace, which stays in it.
constexpr char kTraceName[] = "vmeventd-trace";
constexpr char kTraceText[] = "vmeventd-trace 1";
constexpr size_t kMaxTraceText = 64;
// Longest wait for the service manager's answer.
constexpr absl::Duration kStoreTimeout = absl::Seconds(1);

// The text's first line is this, the cookie of the parcel's socket, the journal's id and its newest
// sequence; a line a run, by WriteHandedRun(), follows.
constexpr char kFormat[] = "vmeventd-handover 3";

std::string BeginOf(int parcel) { return absl::StrCat(kFormat, " ", SocketCookie(parcel), " "); }
std::string TextOf(const JournalEnd& journal) {
  return absl::StrCat(journal.journal_id, " ", journal.newest);
}

// The runs of `parcel`, with what was noted or said of them.
std::vector<HandedRun> TakeRuns(const UniqueFd& parcel, const SharedMemory* notes,
                                const SharedMemory* said, const JournalEnd& journal) {
  absl::StatusOr<std::vector<HandedRun>> runs = OpenKeptRuns(parcel, notes);
  if (!runs.ok()) {
    spdlog::warn("the VMs of the daemon before this one are connected to again: {}",
                 std::string(runs.status().message()));
    return {};
  }
  if (runs->empty()) return {};
  if (said != nullptr) {
    const absl::Status status =
        ReadHandover({said->bytes().data(), said->bytes().size()}, journal, parcel.get(), &*runs);
    if (status.ok()) {
      const auto known = std::count_if(runs->begin(), runs->end(),
                                       [](const HandedRun& run) { return !run.run_id.empty(); });
      spdlog::info("going on with {} VMs of the daemon before this one", known);
      return *std::move(runs);
    }
    if (absl::IsFailedPrecondition(status)) {
      spdlog::warn("the VMs of the daemon before this one are connected to again: {}",
                   std::string(status.message()));
      return *std::move(runs);
    }
    spdlog::warn("what the daemon before this one said of its VMs is not used: {}",
                 std::string(status.message()));
  }
  const bool complete = std::all_of(runs->begin(), runs->end(), [](const HandedRun& run) {
    return run.noted.has_value() || !run.connection.valid();
  });
  spdlog::warn(
      "{}: going on with {} VMs{}",
      said == nullptr ? "the daemon before this one did not stop in order" : "as after a crash",
      runs->size(), complete ? "" : ", of which what some said in the last moment may be missing");
  return *std::move(runs);
}

}  // namespace

std::string WriteHandover(const JournalEnd& journal, int parcel,
                          const std::vector<HandedRun>& runs) {
  std::string text = absl::StrCat(BeginOf(parcel), TextOf(journal), "\n");
  for (const HandedRun& run : runs) absl::StrAppend(&text, WriteHandedRun(run), "\n");
  return text;
}

absl::Status ReadHandover(absl::string_view text, const JournalEnd& journal, int parcel,
                          std::vector<HandedRun>* runs) {
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (!lines.back().empty()) return absl::InvalidArgumentError("its last line has no end");
  lines.pop_back();
  if (lines.empty() || !absl::ConsumePrefix(&lines[0], BeginOf(parcel))) {
    return absl::InvalidArgumentError("another version of vmeventd wrote it, or of other VMs");
  }
  absl::flat_hash_map<std::string, HandedRun> said;
  for (size_t i = 1; i < lines.size(); ++i) {
    absl::StatusOr<HandedRun> run = ReadHandedRun(lines[i]);
    if (!run.ok()) return run.status();
    std::string run_id = run->run_id;
    said.emplace(std::move(run_id), *std::move(run));
  }
  const bool same_journal = lines[0] == TextOf(journal);
  for (HandedRun& run : *runs) {
    const auto it = said.find(run.run_id);
    if (!same_journal || it == said.end()) {
      run.run_id.clear();
      continue;
    }
    it->second.connection = std::move(run.connection);
    it->second.process = std::move(run.process);
    run = std::move(it->second);
  }
  return same_journal ? absl::OkStatus()
                      : absl::FailedPreconditionError(
                            "the journal is not as the daemon before this one left it");
}

std::vector<HandedRun> TakeHandover(const JournalEnd& journal) {
  std::set<std::string> names;
  std::vector<UniqueFd> parcels;
  std::unique_ptr<SharedMemory> notes;
  std::unique_ptr<SharedMemory> said;
  const auto is_of_runs = [](absl::string_view name) {
    return name != kTraceName && name != kExitsName;
  };
  for (StoredDescriptor& stored : TakeStoredDescriptors(is_of_runs)) {
    names.insert(stored.name);
    if (stored.name == kKeptName) {
      parcels.push_back(std::move(stored.fd));
      continue;
    }
    absl::StatusOr<std::unique_ptr<SharedMemory>> memory = absl::InvalidArgumentError("not known");
    if (stored.name == kNotesName || stored.name == kSaidName) {
      memory = SharedMemory::Open(std::move(stored.fd));
    }
    if (memory.ok()) {
      (stored.name == kNotesName ? notes : said) = *std::move(memory);
    } else {
      spdlog::warn("the service manager passes a descriptor named {}, which is closed: {}",
                   stored.name, std::string(memory.status().message()));
    }
  }
  for (const std::string& name : names) RemoveStoredDescriptors(name);
  std::vector<HandedRun> runs;
  SocketCloser closer;  // closing a monitor's connection may take long
  for (UniqueFd& parcel : parcels) {
    for (HandedRun& run : TakeRuns(parcel, notes.get(), said.get(), journal)) {
      runs.push_back(std::move(run));
    }
    closer.Close(std::move(parcel));
  }
  return runs;
}

void StoreHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs,
                   const KeptRuns& kept, int exit_status_socket) {
  if (runs.empty()) {
    RemoveStoredDescriptors(kKeptName);
    RemoveStoredDescriptors(kNotesName);
    return;
  }
  const std::string text = WriteHandover(journal, kept.descriptor(), runs);
  absl::StatusOr<std::unique_ptr<SharedMemory>> said = absl::ResourceExhaustedError(
      absl::StrCat("more than ", kMaxSaidBytes >> 20, " MiB are to be said of them"));
  if (text.size() <= kMaxSaidBytes) {
    said = SharedMemory::Create(kSaidName, text.size(), /*held_bytes=*/0);
  }
  absl::Status status = said.status();
  if (status.ok() && exit_status_socket >= 0) {
    status = StoreDescriptor(kExitsName, exit_status_socket, absl::ZeroDuration());
  }
  if (status.ok()) {
    std::memcpy((*said)->bytes().data(), text.data(), text.size());
    status = StoreDescriptor(kSaidName, (*said)->descriptor(), kStoreTimeout);
  }
  if (status.ok()) {
    spdlog::info("{} VMs are left to the service manager, for the next start", runs.size());
  } else {
    spdlog::warn("the next start goes on with {} VMs as after a crash: {}", runs.size(),
                 std::string(status.message()));
  }
}

std::shared_ptr<UniqueFd> TakeExitStatusSocket() {
  std::vector<StoredDescriptor> stored =
      TakeStoredDescriptors([](absl::string_view name) { return name == kExitsName; });
  if (stored.empty()) return nullptr;
  RemoveStoredDescriptors(kExitsName);
  return std::make_shared<UniqueFd>(std::move(stored.back().fd));
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
  // Nobody waits for its answer: runs that it does not keep are as without it.
  absl::Status status = kept.status();
  for (const auto& [name, descriptor] :
       {std::pair(kNotesName, kept.ok() ? (*kept)->notes_descriptor() : -1),
        std::pair(kKeptName, kept.ok() ? (*kept)->descriptor() : -1)}) {
    if (status.ok()) status = StoreDescriptor(name, descriptor, absl::ZeroDuration());
  }
  if (status.ok()) return *std::move(kept);
  spdlog::warn("after a restart of vmeventd VMs will be connected to again: {}",
               std::string(status.message()));
  return nullptr;
}

}  // namespace vmeventd
