#include "server/handover.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/passed_descriptors.h"
#include "base/unique_fd.h"
#include "google/protobuf/io/zero_copy_stream_impl.h"
#include "server/events/event_codec.h"
#include "server/events/logged_event.h"
#include "server/host/service.h"
#include "spdlog/spdlog.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

constexpr char kStoredName[] = "vmeventd-handover";
// The first message has this text, and the number of sockets for exit statuses. Its descriptors are
// a file with an internal::Handover (a file, because it may be too large for the queue), that
// socket, and those of the trace. Each further message is one run (HandedRun::state), with its
// connection, if there is one, and its process, if it is tracked.
constexpr char kFormat[] = "vmeventd-handover-7";
constexpr size_t kMaxText = 2 * HandedRun::kMaxUnhandled;
constexpr size_t kMaxDescriptors = 64;  // in one message
// Maximum number of bytes in the queue. Without CAP_NET_ADMIN, net.core.wmem_max applies.
constexpr int kQueueBytes = 32 << 20;
// Longest wait for the service manager's answer.
constexpr absl::Duration kStoreTimeout = absl::Seconds(1);

absl::Status Send(int socket, std::string text, absl::Span<const int> descriptors) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  iovec data{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
  }
  if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
    return absl::ErrnoToStatus(errno, "sendmsg");
  return absl::OkStatus();
}

// Receives the next message, and returns its text, which is in `buffer`; empty: there is none. With
// `stays`, the message remains in the queue.
absl::StatusOr<absl::string_view> Receive(int socket, bool stays, absl::Span<char> buffer,
                                          std::vector<UniqueFd>* descriptors) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  iovec data{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const int flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC | (stays ? MSG_PEEK : 0);
  const ssize_t size = recvmsg(socket, &message, flags);
  if (size < 0) return absl::ErrnoToStatus(errno, "recvmsg");
  *descriptors = TakeDescriptors(&message);
  if ((message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0) {
    return absl::ResourceExhaustedError("out of file descriptors");
  }
  return absl::string_view(buffer.data(), static_cast<size_t>(size));
}

struct First {
  UniqueFd contents;
  UniqueFd exit_statuses;
  std::vector<UniqueFd> trace;
};

absl::StatusOr<First> ReceiveFirst(int socket, bool stays, absl::Span<char> buffer) {
  First first;
  const absl::StatusOr<absl::string_view> text = Receive(socket, stays, buffer, &first.trace);
  if (!text.ok()) return text.status();
  const std::vector<absl::string_view> words = absl::StrSplit(*text, ' ');
  size_t exits = 0;
  if (words.size() != 2 || words[0] != kFormat || !absl::SimpleAtoi(words[1], &exits) ||
      exits > 1 || first.trace.size() < 1 + exits) {
    return absl::InvalidArgumentError("another version of vmeventd wrote it");
  }
  first.contents = std::move(first.trace[0]);
  if (exits == 1) first.exit_statuses = std::move(first.trace[1]);
  first.trace.erase(first.trace.begin(), first.trace.begin() + 1 + static_cast<ptrdiff_t>(exits));
  return first;
}

absl::StatusOr<UniqueFd> WriteContents(const HandoverContents& contents) {
  internal::Handover handover;
  handover.set_journal_file(contents.log.end.file);
  handover.set_stored(contents.log.end.stored);
  handover.set_newest(contents.log.end.newest);
  for (const auto& [run_id, run] : contents.log.runs) {
    (*handover.mutable_states())[run_id] = run.payload;
    (*handover.mutable_last_sequences())[run_id] = run.last_sequence;
  }
  handover.set_journal_id(contents.log.journal_id);
  handover.set_knows_runs(contents.log.knows_runs);
  if (contents.log.watched_until > absl::InfinitePast()) {
    handover.set_watched_until(absl::ToUnixNanos(contents.log.watched_until));
  }
  const JournalBatch& unwritten = contents.log.unwritten;
  for (const EventPtr& event : unwritten.events) *handover.mutable_events() += event->field;
  for (const auto& [sequence, vm] : unwritten.stops) *handover.add_stops() = *vm;
  UniqueFd file(memfd_create("vmeventd-handover", MFD_CLOEXEC));
  if (!file.valid() || !handover.SerializeToFileDescriptor(file.get())) {
    return absl::ErrnoToStatus(errno, "memfd_create");
  }
  return file;
}

absl::StatusOr<internal::Handover> ReadContents(const UniqueFd& file) {
  google::protobuf::io::FileInputStream stream(file.get());
  internal::Handover handover;
  // A start that failed may have read it before.
  if (lseek(file.get(), 0, SEEK_SET) != 0 || !handover.ParseFromZeroCopyStream(&stream)) {
    return absl::InvalidArgumentError("the states of the runs cannot be read");
  }
  return handover;
}

HandedLog ReadLog(const internal::Handover& contents) {
  const JournalEnd end{contents.journal_file(), contents.stored(), contents.newest()};
  HandedLog log{contents.journal_id(), end, contents.knows_runs()};
  if (contents.has_watched_until()) {
    log.watched_until = absl::FromUnixNanos(contents.watched_until());
  }
  for (const auto& [run_id, state] : contents.states()) log.runs[run_id] = {state};
  for (const auto& [run_id, last] : contents.last_sequences()) {
    log.runs[run_id].last_sequence = last;
  }
  const auto list = Parsed<v1::ListEventsResponse>(contents.events());
  for (const v1::Event& event : list.events()) log.unwritten.Put(Logged(event));
  for (const v1::Vm& vm : contents.stops()) {
    log.unwritten.stops[vm.last_sequence()] = std::make_shared<const v1::Vm>(vm);
  }
  return log;
}

absl::StatusOr<HandedRun> ReadRun(absl::string_view text, std::vector<UniqueFd> descriptors) {
  HandedRun run;
  if (!run.state.ParseFromArray(text.data(), static_cast<int>(text.size())) ||
      run.state.run_id().empty()) {
    return absl::InvalidArgumentError("not a run that was handed over");
  }
  if (run.state.pid() != 0 && !descriptors.empty()) {
    run.process = std::move(descriptors.back());
    descriptors.pop_back();
  }
  if (!descriptors.empty()) run.connection = std::move(descriptors.front());
  return run;
}

absl::StatusOr<First> PeekFirst(int parcel) {
  std::array<char, 256> buffer;
  return ReceiveFirst(parcel, /*stays=*/true, absl::MakeSpan(buffer));
}

absl::StatusOr<HandedLog> PeekLog(int parcel, const JournalEnd& journal) {
  const absl::StatusOr<First> first = PeekFirst(parcel);
  if (!first.ok()) return first.status();
  const absl::StatusOr<internal::Handover> contents = ReadContents(first->contents);
  if (!contents.ok()) return contents.status();
  HandedLog log = ReadLog(*contents);
  if (log.end.MayBeSameJournal(journal)) return log;
  return absl::FailedPreconditionError("the journal has changed since the previous daemon stopped");
}

void Refuse(const absl::Status& why) {
  spdlog::warn("handover not usable, reconnecting to monitors: {}", std::string(why.message()));
}

absl::Status Unpack(int parcel, bool has_log, Handover* out) {
  std::vector<char> buffer(kMaxText);
  absl::StatusOr<First> first = ReceiveFirst(parcel, /*stays=*/false, absl::MakeSpan(buffer));
  if (!first.ok()) return first.status();
  out->exit_statuses = std::move(first->exit_statuses);
  for (;;) {
    std::vector<UniqueFd> descriptors;
    const absl::StatusOr<absl::string_view> text =
        Receive(parcel, /*stays=*/false, absl::MakeSpan(buffer), &descriptors);
    if (!text.ok()) return text.status();
    if (text->empty()) return absl::OkStatus();
    absl::StatusOr<HandedRun> run = ReadRun(*text, std::move(descriptors));
    if (!run.ok()) return run.status();
    if (!has_log) run->state.clear_run_id();
    out->runs.push_back(*std::move(run));
  }
}

}  // namespace

HandedLog LogOf(const EventLog& log, const OpenRuns& open) {
  HandedLog handed = log.HandOver();
  for (const auto& [run_id, state] : open.states) handed.runs[run_id] = {state};
  const auto vms = log.Vms([](const auto& known, uint64_t) { return known.ListAfter(nullptr); });
  for (const VmRecordPtr& vm : vms) {
    const auto run = handed.runs.find(vm->run_id);
    if (run != handed.runs.end()) run->second.last_sequence = vm->last_sequence;
  }
  return handed;
}

absl::StatusOr<UniqueFd> PackHandover(const HandoverContents& contents) {
  const absl::StatusOr<UniqueFd> states = WriteContents(contents);
  if (!states.ok()) return states.status();
  const std::vector<HandedRun>& runs = contents.open.runs;
  int ends[2] = {};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return absl::ErrnoToStatus(errno, "socketpair");
  UniqueFd parcel(ends[0]);
  const UniqueFd sender(ends[1]);
  if (setsockopt(sender.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kQueueBytes, sizeof(kQueueBytes)) !=
      0) {
    setsockopt(sender.get(), SOL_SOCKET, SO_SNDBUF, &kQueueBytes, sizeof(kQueueBytes));
  }
  std::vector<int> descriptors = {states->get()};
  const bool has_exits = contents.exit_statuses >= 0;
  if (has_exits) descriptors.push_back(contents.exit_statuses);
  descriptors.insert(descriptors.end(), contents.trace.begin(), contents.trace.end());
  absl::Status status =
      Send(sender.get(), absl::StrCat(kFormat, " ", has_exits ? 1 : 0), descriptors);
  if (!status.ok()) return status;
  for (size_t sent = 0; sent < runs.size(); ++sent) {
    const HandedRun& run = runs[sent];
    descriptors.clear();
    for (const UniqueFd* of : {&run.connection, &run.process}) {
      if (of->valid()) descriptors.push_back(of->get());
    }
    status = Send(sender.get(), run.state.SerializeAsString(), descriptors);
    if (status.ok()) continue;
    spdlog::warn("cannot hand over {} of {} VMs: {}; the next start reconnects to them",
                 runs.size() - sent, runs.size(), std::string(status.message()));
    break;
  }
  return parcel;
}

bool StoreHandover(const HandoverContents& contents) {
  const absl::StatusOr<UniqueFd> parcel = PackHandover(contents);
  absl::Status status = parcel.status();
  if (status.ok()) status = StoreDescriptor(kStoredName, parcel->get(), kStoreTimeout);
  if (status.ok()) {
    spdlog::info("handed {} VMs over to the service manager, for the next start",
                 contents.open.runs.size());
    const size_t events = contents.log.unwritten.events.size();
    if (events > 0) spdlog::info("handed over {} events that wait for the disk", events);
  } else {
    spdlog::warn("cannot hand over {} VMs: {}; the next start reconnects to them",
                 contents.open.runs.size(), std::string(status.message()));
  }
  return status.ok();
}

std::vector<VmRecordPtr> VmsOf(const SavedRuns& runs, Instant now) {
  std::vector<VmRecordPtr> vms;
  const SessionOptions session_options;
  for (const auto& [run_id, saved] : runs) {
    const absl::StatusOr<VmSession> run = VmSession::Restore(saved.payload, &session_options, now);
    if (!run.ok()) continue;  // the watcher logs it
    v1::Vm vm = run->Status();
    vm.set_last_sequence(saved.last_sequence);
    vms.push_back(std::make_shared<const VmRecord>(vm));
  }
  return vms;
}

UniqueFd TakeParcel() { return TakeStoredDescriptor(kStoredName); }

std::vector<UniqueFd> TraceIn(const UniqueFd& parcel) {
  absl::StatusOr<First> first = PeekFirst(parcel.get());
  return first.ok() ? std::move(first->trace) : std::vector<UniqueFd>();
}

std::optional<HandedLog> LogIn(const UniqueFd& parcel, const JournalEnd& journal) {
  if (!parcel.valid()) return std::nullopt;
  absl::StatusOr<HandedLog> log = PeekLog(parcel.get(), journal);
  if (log.ok()) return *std::move(log);
  Refuse(log.status());
  return std::nullopt;
}

Handover UnpackHandover(UniqueFd parcel, bool has_log) {
  Handover handover;
  if (!parcel.valid()) return handover;
  const absl::Status status = Unpack(parcel.get(), has_log, &handover);
  if (!status.ok() && has_log) {
    Refuse(status);
  } else if (has_log && !handover.runs.empty()) {
    spdlog::info("resuming {} VMs of the previous daemon", handover.runs.size());
  }
  Notify(absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", kStoredName));
  return handover;
}

}  // namespace vmeventd
