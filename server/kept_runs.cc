#include "server/kept_runs.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

struct KeptEntry {
  uint64_t serial = 0;
  uint32_t socket_owner = 0;
  absl::string_view run_id;
  UniqueFd connection;
  UniqueFd process;
};

namespace {

// First line of a message; then a line for each run: its serial, the user whose socket it was found
// at, its descriptors (0: a pidfd, 1: a connection, 2: a connection and a pidfd), its id.
constexpr char kFirstLine[] = "vmeventd-kept 1\n";
enum : uint32_t { kProcess = 0, kConnection = 1, kBoth = 2 };
constexpr size_t kMaxText = 64 << 10;
constexpr size_t kMaxRunId = 1000;
constexpr size_t kMaxLine = kMaxRunId + 64;
// Queue size for the messages of kMaxRuns, as far as the kernel permits it.
constexpr int kQueueBytes = 4 << 20;

// Limits of untidy messages, and of those tidied in one turn.
constexpr size_t kSpareMessages = 32;
constexpr size_t kSpareEntries = 64;
constexpr size_t kMessagesATurn = 8;

ReadNotes::Limits LimitsOf(size_t max_runs) { return {.runs = static_cast<uint32_t>(max_runs)}; }

// The entries of a message, whose text outlives them.
absl::StatusOr<std::vector<KeptEntry>> ReadEntries(absl::string_view text,
                                                   std::vector<UniqueFd> descriptors) {
  const absl::Status wrong = absl::InvalidArgumentError("another version of vmeventd made it");
  if (!absl::ConsumePrefix(&text, kFirstLine)) return wrong;
  std::vector<KeptEntry> entries;
  size_t next = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 3));
    KeptEntry entry;
    uint32_t kind = 0;
    if (parts.size() != 4 || !absl::SimpleAtoi(parts[0], &entry.serial) ||
        !absl::SimpleAtoi(parts[1], &entry.socket_owner) || !absl::SimpleAtoi(parts[2], &kind) ||
        kind > kBoth || next + (kind == kBoth ? 2 : 1) > descriptors.size()) {
      return wrong;
    }
    entry.run_id = parts[3];
    if (kind != kProcess) entry.connection = std::move(descriptors[next++]);
    if (kind != kConnection) entry.process = std::move(descriptors[next++]);
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

// A message being built.
struct KeptRuns::Message {
  std::string text = kFirstLine;
  std::vector<int> descriptors;
  size_t runs = 0;

  bool full() const { return runs == kRunsOfMessage || text.size() + kMaxLine > kMaxText; }
  void Add(absl::string_view run_id, uint64_t serial, const Descriptors& of) {
    const bool connected = of.connection >= 0;
    const bool tracked = of.process >= 0;
    const uint32_t kind = !connected ? kProcess : tracked ? kBoth : kConnection;
    absl::StrAppend(&text, serial, " ", of.socket_owner, " ", kind, " ", run_id, "\n");
    if (connected) descriptors.push_back(of.connection);
    if (tracked) descriptors.push_back(of.process);
    ++runs;
  }
};

absl::StatusOr<std::unique_ptr<KeptRuns>> KeptRuns::Create(size_t max_runs) {
  absl::StatusOr<ParcelSockets> sockets = MakeParcelSockets();
  if (!sockets.ok()) return sockets.status();
  // Messages that wait count for the sender.
  if (setsockopt(sockets->sender.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kQueueBytes,
                 sizeof(kQueueBytes)) != 0) {
    setsockopt(sockets->sender.get(), SOL_SOCKET, SO_SNDBUF, &kQueueBytes, sizeof(kQueueBytes));
  }
  absl::StatusOr<std::unique_ptr<SharedMemory>> memory =
      SharedMemory::Create("vmeventd-notes", ReadNotes::BytesFor(LimitsOf(max_runs)),
                           /*held_bytes=*/ReadNotes::kFirstBytes);
  if (!memory.ok()) return memory.status();
  return std::unique_ptr<KeptRuns>(new KeptRuns(*std::move(sockets), *std::move(memory), max_runs));
}

KeptRuns::KeptRuns(ParcelSockets sockets, std::unique_ptr<SharedMemory> memory, size_t max_runs)
    : max_runs_(max_runs),
      sockets_(std::move(sockets)),
      memory_(std::move(memory)),
      notes_(memory_->bytes(), LimitsOf(max_runs), SocketCookie(sockets_.parcel.get())) {}

std::unique_ptr<ReadNotes::Stream> KeptRuns::Keep(const std::string& run_id,
                                                  const Descriptors& descriptors) {
  Forget(run_id);
  if (open_.size() >= max_runs_ || run_id.size() > kMaxRunId) {
    LeaveOut(run_id, absl::ResourceExhaustedError(
                         absl::StrCat("more than ", max_runs_, " VMs are followed")));
    return nullptr;
  }
  open_[run_id] = ++last_serial_;
  added_.push_back({run_id, last_serial_, descriptors});
  return descriptors.connection < 0 ? nullptr : notes_.Open(last_serial_);
}

void KeptRuns::Forget(const std::string& run_id) {
  const auto it = open_.find(run_id);
  if (it == open_.end()) return;
  const uint64_t serial = it->second;
  open_.erase(it);
  added_.erase(std::remove_if(added_.begin(), added_.end(),
                              [serial](const Added& added) { return added.serial == serial; }),
               added_.end());
}

void KeptRuns::EndTurn(const SinkProgress& progress) {
  notes_.EndTurn(progress);
  if (!added_.empty()) SendAdded();
  if (IsUntidy()) Tidy();
  kept_.Set(open_.size());
}

void KeptRuns::LeaveOut(const std::string& run_id, const absl::Status& why) {
  open_.erase(run_id);
  if (left_out_.value() == 0) {
    spdlog::warn("after a crash of vmeventd not all VMs will be followed without a gap: {}",
                 std::string(why.message()));
  }
  left_out_.Add();
}

void KeptRuns::SendAdded() {
  const std::vector<Added> all = std::exchange(added_, {});
  bool one_by_one = false;
  for (size_t at = 0; at < all.size();) {
    Message message;
    size_t end = at;
    do {
      message.Add(all[end].run_id, all[end].serial, all[end].descriptors);
    } while (++end < all.size() && !message.full() && !one_by_one);
    const absl::Status status = Send(message);
    if (!status.ok() && message.runs > 1) {
      one_by_one = true;  // the process of one has ended in this turn
      continue;
    }
    if (!status.ok()) LeaveOut(all[at].run_id, status);
    at = end;
  }
}

absl::Status KeptRuns::Send(const Message& message) {
  absl::Status status = SendToParcel(sockets_.sender.get(), message.text, message.descriptors);
  if (!status.ok()) return status;
  ++messages_;
  entries_ += message.runs;
  return status;
}

bool KeptRuns::IsUntidy() const {
  // A run whose end is not committed still has its notes.
  const size_t needed = std::max(open_.size(), notes_.size());
  return messages_ > kSpareMessages + 2 * needed / kRunsOfMessage ||
         entries_ > kSpareEntries + 2 * needed;
}

std::vector<KeptEntry> KeptRuns::Receive(std::string* text) {
  std::vector<UniqueFd> descriptors;
  absl::StatusOr<std::string> message =
      ReceiveFromParcel(sockets_.parcel.get(), kMaxText, &descriptors);
  --messages_;
  if (!message.ok()) {  // no descriptor was left, so its runs are not known
    left_out_.Add();
    return {};
  }
  *text = *std::move(message);
  absl::StatusOr<std::vector<KeptEntry>> entries = ReadEntries(*text, std::move(descriptors));
  if (!entries.ok()) return {};  // it is this process's own
  entries_ -= entries->size();
  const auto has_ended = [this](KeptEntry& entry) {
    const auto it = open_.find(entry.run_id);
    const bool open = it != open_.end() && it->second == entry.serial;
    if (open || notes_.Has(entry.serial)) return false;
    // This may be the connection's last descriptor.
    if (entry.connection.valid()) closer_.Close(std::move(entry.connection));
    return true;
  };
  entries->erase(std::remove_if(entries->begin(), entries->end(), has_ended), entries->end());
  return *std::move(entries);
}

void KeptRuns::Tidy() {
  Message message;
  std::vector<KeptEntry> held;  // entries in `message`
  const auto send = [&] {
    if (held.empty()) return;
    if (const absl::Status status = Send(message); !status.ok()) {
      for (const KeptEntry& entry : held) LeaveOut(std::string(entry.run_id), status);
    }
    message = {};
    held.clear();
  };
  std::vector<std::string> texts(std::min(kMessagesATurn, messages_));
  for (std::string& text : texts) {
    for (KeptEntry& entry : Receive(&text)) {
      if (message.full()) send();
      message.Add(entry.run_id, entry.serial,
                  {entry.connection.get(), entry.process.get(), entry.socket_owner});
      held.push_back(std::move(entry));
    }
  }
  send();
}

absl::StatusOr<std::vector<HandedRun>> OpenKeptRuns(const UniqueFd& parcel,
                                                    const SharedMemory* notes,
                                                    size_t max_messages) {
  if (!IsParcelSocket(parcel.get())) return absl::InvalidArgumentError("no parcel of vmeventd");
  absl::flat_hash_map<uint64_t, NotedReads> noted;  // keyed by serial
  if (notes != nullptr) {
    const absl::Span<char> bytes = notes->bytes();
    auto found = ReadNotes::ReadBack({bytes.data(), bytes.size()}, SocketCookie(parcel.get()));
    if (found.ok()) noted = *std::move(found);
  }
  struct Newest {
    uint64_t serial = 0;
    HandedRun run;
  };
  absl::flat_hash_map<std::string, Newest> newest;
  for (size_t messages = 0;; ++messages) {
    if (messages == max_messages) return absl::InvalidArgumentError("it has no end");
    std::vector<UniqueFd> descriptors;
    const absl::StatusOr<std::string> text =
        ReceiveFromParcel(parcel.get(), kMaxText, &descriptors);
    if (absl::IsUnavailable(text.status()) || (text.ok() && text->empty())) break;
    if (!text.ok()) return text.status();
    absl::StatusOr<std::vector<KeptEntry>> entries = ReadEntries(*text, std::move(descriptors));
    if (!entries.ok()) return entries.status();
    for (KeptEntry& entry : *entries) {
      Newest& known = newest[entry.run_id];
      if (known.serial > entry.serial) continue;
      known.serial = entry.serial;
      known.run.after_crash = true;
      known.run.run_id = std::string(entry.run_id);
      known.run.socket_owner = entry.socket_owner;
      known.run.connection = std::move(entry.connection);
      known.run.process = std::move(entry.process);
    }
  }
  std::vector<HandedRun> runs;
  runs.reserve(newest.size());
  for (auto& [run_id, kept] : newest) {
    if (const auto of = noted.find(kept.serial); of != noted.end()) {
      kept.run.noted = std::move(of->second);
    }
    runs.push_back(std::move(kept.run));
  }
  return runs;
}

}  // namespace vmeventd
