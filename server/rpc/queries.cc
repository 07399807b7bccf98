#include "server/rpc/queries.h"

#include <openssl/evp.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/error_reason.h"
#include "base/mutex.h"
#include "base/quote.h"
#include "base/uuid.h"
#include "server/eventlog/event_listing.h"
#include "server/events/event_codec.h"
#include "server/events/event_matcher.h"
#include "server/events/event_record.h"
#include "server/events/vm_record.h"
#include "server/rpc/event_counts.h"
#include "server/rpc/request_checks.h"
#include "server/stream/read_error.h"
#include "watcher/core/event_types.h"
#include "watcher/node/several_vms_run.h"

namespace vmeventd {
namespace {

// Room for the response's fields other than its list.
constexpr size_t kReservedBytes = size_t{8} << 10;
// A page of ListVms ends after this search.
constexpr absl::Duration kMaxSearch = absl::Milliseconds(10);
constexpr int kVmsALook = 16;

// Returns a text that is the same for all pages of one listing, for the page token.
template <typename Request>
std::string QuestionOf(Request request) {
  request.clear_page_token();
  if constexpr (requires { request.clear_page_size(); }) request.clear_page_size();
  if constexpr (requires { request.clear_filter(); }) {
    if (request.filter().ByteSizeLong() == 0) request.clear_filter();  // which means the same
  }
  return absl::StrCat(Request::descriptor()->name(), "\n", Serialized(request));
}

constexpr size_t kHashBytes = 8;

std::string Hash(absl::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<const char*>(digest), kHashBytes);
}

// Makes a page token: a journal, the hash of a question, and a position in its answer. It is no
// secret: a client that makes one gets only events that it could list anyway.
std::string MakePageToken(absl::string_view journal_id, absl::string_view question,
                          absl::string_view position) {
  // The hash over all of it shows that the text is a page token, even if it belongs to another
  // question.
  const std::string bytes = absl::StrCat(Hash(journal_id), Hash(question), position);
  return absl::WebSafeBase64Escape(absl::StrCat(Hash(bytes), bytes));
}

// Returns the position. INVALID_ARGUMENT: it is not a page token, or belongs to another question.
// OUT_OF_RANGE: it belongs to another journal.
absl::StatusOr<std::string> ReadPageToken(absl::string_view journal_id, absl::string_view question,
                                          absl::string_view token) {
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(token, &bytes) || bytes.size() < 3 * kHashBytes ||
      bytes.substr(0, kHashBytes) != Hash(bytes.substr(kHashBytes))) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_token: ", Quote(token), " is not a page token"));
  }
  if (bytes.substr(kHashBytes, kHashBytes) != Hash(journal_id)) {
    return WithReason(
        "JOURNAL_REPLACED",
        absl::OutOfRangeError(
            "page_token: it is from before the journal was replaced; start again without a token"));
  }
  if (bytes.substr(2 * kHashBytes, kHashBytes) != Hash(question)) {
    return absl::InvalidArgumentError(
        "page_token: it was issued for a request with other fields; only page_size may change");
  }
  return bytes.substr(3 * kHashBytes);
}

// Decides which VMs a ListVms request selects.
class VmMatcher {
 public:
  explicit VmMatcher(const v1::ListVmsRequest& request) : stopped_(request.include_stopped()) {
    v1::EventFilter filter;
    *filter.mutable_vm_names() = request.vm_names();
    *filter.mutable_sources() = request.sources();
    *filter.mutable_uuids() = request.uuids();
    *filter.mutable_labels() = request.labels();
    vms_ = EventMatcher(filter);
    for (const int state : request.states()) states_ |= 1u << state;
    if ((states_ >> v1::VM_STATE_STOPPED & 1) != 0) stopped_ = true;
  }

  bool Matches(const VmRecord& vm) const {
    if (vm.stopped() && !stopped_) return false;
    if (states_ != 0 && (states_ >> vm.state & 1) == 0) return false;
    return vms_.MatchesVm(vm);
  }

 private:
  EventMatcher vms_;
  bool stopped_;
  unsigned states_ = 0;  // a bit a value; 0: all
};

// A key as a token's position. No name or path contains a zero byte.
std::string PositionOf(const VmRecord& vm) {
  const VmKey key = vm.key();
  return absl::StrJoin({key.name, key.run_id, key.path}, absl::string_view("\0", 1));
}

// Describes the VM that a request names, for errors: its field, and "named "web1"" or "with the
// UUID ...".
std::pair<std::string, std::string> Described(const v1::GetVmRequest& request) {
  if (request.uuid().empty()) return {"vm_name", absl::StrCat("named ", Quote(request.vm_name()))};
  const std::string uuid = absl::StrCat("with the UUID ", request.uuid());
  if (request.vm_name().empty()) return {"uuid", uuid};
  return {"uuid", absl::StrCat("named ", Quote(request.vm_name()), " and ", uuid)};
}

// Picks the VM for a request that has a name or a UUID, but no run id.
absl::StatusOr<VmRecordPtr> PickVm(const std::vector<VmRecordPtr>& named,
                                   const v1::GetVmRequest& request) {
  const auto [field, described] = Described(request);
  std::vector<VmRecordPtr> running;
  VmRecordPtr unseen;   // a socket whose process was not seen yet
  VmRecordPtr stopped;  // the newest
  for (const VmRecordPtr& vm : named) {
    if (vm->stopped()) {
      if (stopped == nullptr || vm->last_sequence > stopped->last_sequence) stopped = vm;
    } else if (vm->run_id.empty()) {
      if (unseen == nullptr) unseen = vm;
    } else {
      running.push_back(vm);
    }
  }
  if (running.size() == 1) return running.front();
  if (running.size() > 1) {
    std::vector<absl::string_view> ids;
    ids.reserve(running.size());
    for (const VmRecordPtr& vm : running) ids.emplace_back(vm->run_id);
    return SeveralVmsRun(field, described, std::move(ids));
  }
  if (unseen != nullptr) return unseen;
  if (stopped != nullptr) return stopped;
  return WithReason("NO_SUCH_VM",
                    absl::NotFoundError(absl::StrCat(field, ": no VM ", described, " is known")));
}

}  // namespace

// A list whose answer waits for the journal. Any thread.
class Queries::WaitingList {
 public:
  WaitingList(std::function<bool()> cancelled, Answer answer)
      : cancelled_(std::move(cancelled)), answer_(std::move(answer)) {}

  // Returns whether it was answered, or is not wanted any more.
  bool over() {
    const MutexLock lock(&mutex_);
    return answer_ == nullptr || cancelled_();
  }
  // Answers, unless it has answered before.
  void Finish(const absl::StatusOr<std::string>& answer) {
    Answer finish;
    {
      const MutexLock lock(&mutex_);
      finish = std::exchange(answer_, nullptr);
    }
    if (finish != nullptr) finish(answer);
  }

 private:
  Mutex mutex_;
  const std::function<bool()> cancelled_;
  Answer answer_ ABSL_GUARDED_BY(mutex_);  // null: it was answered
};

void Queries::ListEvents(const v1::ListEventsRequest& request, const std::string& peer,
                         const std::function<bool()>& cancelled, const Answer& answer) {
  const absl::StatusOr<v1::ListEventsRequest> list = CheckListEvents(request);
  if (!list.ok()) return answer(list.status());
  const auto finish = [](const EventListing& listing, const std::string& next_token) {
    v1::ListEventsResponse rest;
    rest.set_next_page_token(next_token);
    return absl::StrCat(listing.events(), rest.SerializeAsString());
  };
  Collect({QuestionOf(request), request.page_token(), *list, nullptr, finish}, peer, cancelled,
          answer);
}

void Queries::CountEvents(const v1::CountEventsRequest& request, const std::string& peer,
                          const std::function<bool()>& cancelled, const Answer& answer) {
  const absl::StatusOr<v1::ListEventsRequest> list = CheckCountEvents(request);
  if (!list.ok()) return answer(list.status());
  const auto counts = std::make_shared<EventCounts>(
      request.by(), absl::Seconds(request.utc_offset().seconds()), NamesGaps(request.filter()));
  const auto finish = [counts](const EventListing& /*listing*/, const std::string& next_token) {
    v1::CountEventsResponse response = counts->Take();
    response.set_next_page_token(next_token);
    return response.SerializeAsString();
  };
  Collect({QuestionOf(request), request.page_token(), *list,
           [counts](const EventRecord& event) { counts->Add(event); }, finish},
          peer, cancelled, answer);
}

void Queries::Collect(Page page, const std::string& peer, const std::function<bool()>& cancelled,
                      const Answer& answer) {
  uint64_t from = 0;
  if (!page.token.empty()) {
    const absl::StatusOr<std::string> position =
        ReadPageToken(log_->identity().journal_id, page.question, page.token);
    if (!position.ok()) return answer(position.status());
    if (!absl::SimpleAtoi(*position, &from)) {
      return answer(absl::InvalidArgumentError("page_token: its position is not a sequence"));
    }
  }
  if (absl::Status hung = log_->CheckReads(); !hung.ok()) return answer(hung);
  const auto listing = std::make_shared<EventListing>(
      log_, std::move(page.list), from, kMaxResponseBytes - kReservedBytes, std::move(page.count));
  const auto waiting = std::make_shared<WaitingList>(cancelled, answer);
  {
    const MutexLock lock(&mutex_);
    waiting_.push_back(waiting);
  }
  log_->PostQuery(peer,
                  [log = log_, question = page.question, finish = page.finish, waiting,
                   listing](const absl::StatusOr<JournalReader*>& journal) -> absl::StatusOr<bool> {
                    absl::StatusOr<bool> done = absl::CancelledError("the call was cancelled");
                    if (!waiting->over()) done = listing->Continue(journal);
                    if (!done.ok()) waiting->Finish(ReadError(done.status()));
                    if (!done.ok() || !*done) return done;
                    const std::string token =
                        listing->next() == 0 ? ""
                                             : MakePageToken(log->identity().journal_id, question,
                                                             absl::StrCat(listing->next()));
                    waiting->Finish(finish(*listing, token));
                    return true;
                  });
}

void Queries::EndHung() {
  const absl::Status hung = log_->CheckReads();
  std::vector<std::weak_ptr<WaitingList>> waiting;
  {
    const MutexLock lock(&mutex_);
    std::erase_if(waiting_, [](const auto& each) { return each.expired(); });
    if (!hung.ok()) waiting = waiting_;
  }
  for (const std::weak_ptr<WaitingList>& each : waiting) {
    if (const auto list = each.lock()) list->Finish(hung);
  }
}

absl::StatusOr<std::string> Queries::ListVms(const v1::ListVmsRequest& request) const {
  const absl::StatusOr<int> page_size = CheckListVms(request);
  if (!page_size.ok()) return page_size.status();
  const JournalIdentity& identity = log_->identity();
  const std::string question = QuestionOf(request);
  std::string position;
  VmKey after;
  if (!request.page_token().empty()) {
    absl::StatusOr<std::string> read =
        ReadPageToken(identity.journal_id, question, request.page_token());
    if (!read.ok()) return read.status();
    position = *std::move(read);
    const std::vector<absl::string_view> parts = absl::StrSplit(position, '\0');
    if (parts.size() != 3) {
      return absl::InvalidArgumentError("page_token: its position is not a VM");
    }
    after = {parts[0], parts[1], parts[2]};
  }

  const absl::Duration until = log_->clock().Now().monotonic + kMaxSearch;
  const VmMatcher matcher(request);
  const auto [vms, sequence] = log_->Vms([&](const VmRegistry& known, uint64_t newest) {
    return std::pair(known.ListAfter(position.empty() ? nullptr : &after), newest);
  });
  std::string out;
  v1::ListVmsResponse rest;
  const VmRecord* last = nullptr;
  int count = 0;
  int looked = 0;
  for (const VmRecordPtr& vm : vms) {
    const bool late = ++looked % kVmsALook == 0 && log_->clock().Now().monotonic >= until;
    const bool matches = !late && matcher.Matches(*vm);
    const bool room =
        count == 0 || out.size() + vm->encoded.size() <= kMaxResponseBytes - kReservedBytes;
    if (late || (matches && (count == *page_size || !room))) {
      rest.set_next_page_token(MakePageToken(identity.journal_id, question, PositionOf(*last)));
      break;
    }
    last = vm.get();
    if (!matches) continue;
    AppendField(v1::ListVmsResponse::kVmsFieldNumber, vm->encoded, &out);
    ++count;
  }
  rest.set_sequence(sequence);
  rest.set_journal_id(identity.journal_id);
  return out + rest.SerializeAsString();
}

absl::StatusOr<std::string> Queries::GetVm(const v1::GetVmRequest& request) const {
  if (absl::Status status = CheckGetVm(request); !status.ok()) return status;
  std::vector<VmRecordPtr> vms = log_->Vms([&](const VmRegistry& known, uint64_t) {
    return known.Named(request.vm_name(), ParseUuid(request.uuid()));
  });
  std::erase_if(vms, [&](const VmRecordPtr& vm) {
    return !request.run_id().empty() && vm->run_id != request.run_id();
  });
  if (vms.empty() && !request.run_id().empty()) {
    return WithReason("NO_SUCH_VM", absl::NotFoundError(absl::StrCat(
                                        "run_id: no run ", Quote(request.run_id()), " of a VM ",
                                        Described(request).second, " is known")));
  }
  const absl::StatusOr<VmRecordPtr> vm = PickVm(vms, request);
  if (!vm.ok()) return vm.status();
  std::string out;
  AppendField(v1::GetVmResponse::kVmFieldNumber, (*vm)->encoded, &out);
  return out;
}

}  // namespace vmeventd
