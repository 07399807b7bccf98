#include "server/rpc/queries.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/error_reason.h"
#include "base/text.h"
#include "base/uuid.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/events/event_codec.h"
#include "server/rpc/page_token.h"

namespace vmeventd {
namespace {

// Room for the response's fields other than its list.
constexpr size_t kReservedBytes = size_t{8} << 10;
// A page of ListVms ends after this search.
constexpr absl::Duration kMaxSearch = absl::Milliseconds(10);
constexpr int kVmsALook = 16;

// Returns a text that is equal for all pages of one question to one journal.
template <typename Request>
std::string QuestionOf(const JournalIdentity& identity, Request request) {
  request.clear_page_token();
  request.clear_page_size();
  if constexpr (requires { request.clear_filter(); }) {
    if (request.filter().ByteSizeLong() == 0) request.clear_filter();  // which means the same
  }
  std::string text = absl::StrCat(identity.journal_id, "\n", Request::descriptor()->name(), "\n");
  google::protobuf::io::StringOutputStream stream(&text);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  request.SerializeToCodedStream(&coded);
  coded.Trim();
  return text;
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
    if (states_ != 0 && (states_ >> vm.state() & 1) == 0) return false;
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
  if (request.uuid().empty()) return {"name", absl::StrCat("named ", Quote(request.name()))};
  const std::string uuid = absl::StrCat("with the UUID ", request.uuid());
  if (request.name().empty()) return {"uuid", uuid};
  return {"uuid", absl::StrCat("named ", Quote(request.name()), " and ", uuid)};
}

// Picks the entry that a name, or a UUID, without a run id means.
absl::StatusOr<VmRecordPtr> PickVm(const std::vector<VmRecordPtr>& named,
                                   const v1::GetVmRequest& request) {
  const auto [field, described] = Described(request);
  std::vector<VmRecordPtr> running;
  VmRecordPtr unseen;   // a socket whose process was not seen yet
  VmRecordPtr stopped;  // the newest
  for (const VmRecordPtr& vm : named) {
    if (vm->stopped()) {
      if (stopped == nullptr || vm->last_sequence() > stopped->last_sequence()) stopped = vm;
    } else if (vm->run_id().empty()) {
      if (unseen == nullptr) unseen = vm;
    } else {
      running.push_back(vm);
    }
  }
  if (running.size() == 1) return running.front();
  if (running.size() > 1) {
    constexpr size_t kMaxListed = 10;
    const size_t listed = std::min(running.size(), kMaxListed);
    std::vector<absl::string_view> ids;
    for (size_t i = 0; i < listed; ++i) ids.push_back(running[i]->run_id());
    return WithReason(
        "SEVERAL_VMS_RUN",
        absl::FailedPreconditionError(absl::StrCat(
            field, ": ", running.size(), " VMs ", described, " run; set run_id to one of ",
            absl::StrJoin(ids, ", "), running.size() > listed ? ", ..." : "")));
  }
  if (unseen != nullptr) return unseen;
  if (stopped != nullptr) return stopped;
  return WithReason("NO_SUCH_VM",
                    absl::NotFoundError(absl::StrCat(field, ": no VM ", described, " is known")));
}

}  // namespace

std::optional<absl::StatusOr<std::string>> EventsQuery::Continue(
    const absl::StatusOr<JournalReader*>& journal) {
  if (!journal.ok()) return journal.status();
  const absl::StatusOr<bool> complete = listing_.Continue(*journal);
  if (!complete.ok()) return complete.status();
  if (!*complete && ++turns_ < kMaxTurns) return std::nullopt;
  v1::ListEventsResponse rest;
  if (listing_.next() != 0) {
    rest.set_next_page_token(
        MakePageToken(log_->identity().journal_id, question_, absl::StrCat(listing_.next())));
  }
  return absl::StrCat(listing_.events(), rest.SerializeAsString());
}

absl::StatusOr<std::unique_ptr<EventsQuery>> Queries::ListEvents(
    const v1::ListEventsRequest& request) const {
  absl::StatusOr<ListBounds> bounds = CheckListEvents(request);
  if (!bounds.ok()) return bounds.status();
  bounds->newest_first = request.newest_first();
  std::string question = QuestionOf(log_->identity(), request);
  if (!request.page_token().empty()) {
    const absl::StatusOr<std::string> position =
        ReadPageToken(log_->identity().journal_id, question, request.page_token());
    if (!position.ok()) return position.status();
    if (!absl::SimpleAtoi(*position, &bounds->from)) {
      return absl::InvalidArgumentError("page_token: its position is not a sequence");
    }
  }
  return std::unique_ptr<EventsQuery>(new EventsQuery(
      log_, std::move(question),
      EventListing(log_, EventMatcher(RequestFilter{request.filter(), request.any_of()}), *bounds,
                   kMaxResponseBytes - kReservedBytes)));
}

absl::StatusOr<std::string> Queries::ListVms(const v1::ListVmsRequest& request) const {
  const absl::StatusOr<int> page_size = CheckListVms(request);
  if (!page_size.ok()) return page_size.status();
  const JournalIdentity& identity = log_->identity();
  const std::string question = QuestionOf(identity, request);
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
  const EventLog::VmPage all = log_->Vms(position.empty() ? nullptr : &after);
  std::string out;
  v1::ListVmsResponse rest;
  const VmRecord* last = nullptr;
  int count = 0;
  const auto token_behind = [&](const VmRecord& vm) {
    return MakePageToken(identity.journal_id, question, PositionOf(vm));
  };
  int looked = 0;
  for (const VmRecordPtr& vm : all.vms) {
    if (++looked % kVmsALook == 0 && log_->clock().Now().monotonic >= until) {
      rest.set_next_page_token(token_behind(*last));
      break;
    }
    const VmRecord* const before = std::exchange(last, vm.get());
    if (!matcher.Matches(*vm)) continue;
    const bool room =
        count == 0 || out.size() + vm->encoded().size() <= kMaxResponseBytes - kReservedBytes;
    if (count == *page_size || !room) {
      rest.set_next_page_token(token_behind(*before));
      break;
    }
    out += ListedVmField(vm->encoded());
    ++count;
  }
  rest.set_sequence(all.sequence);
  rest.set_journal_id(identity.journal_id);
  return out + rest.SerializeAsString();
}

absl::StatusOr<std::string> Queries::GetVm(const v1::GetVmRequest& request) const {
  if (absl::Status status = CheckGetVm(request); !status.ok()) return status;
  static_assert(int{v1::GetVmResponse::kVmFieldNumber} ==
                int{v1::ListVmsResponse::kVmsFieldNumber});
  const std::optional<Uuid> uuid = ParseUuid(request.uuid());
  std::vector<VmRecordPtr> vms =
      uuid.has_value() ? log_->VmsWithUuid(*uuid) : log_->VmsNamed(request.name());
  std::erase_if(vms, [&](const VmRecordPtr& vm) {
    return (!request.name().empty() && vm->name() != request.name()) ||
           (!request.run_id().empty() && vm->run_id() != request.run_id());
  });
  if (vms.empty() && !request.run_id().empty()) {
    return WithReason("NO_SUCH_VM", absl::NotFoundError(absl::StrCat(
                                        "run_id: no run ", Quote(request.run_id()), " of a VM ",
                                        Described(request).second, " is known")));
  }
  const absl::StatusOr<VmRecordPtr> vm = PickVm(vms, request);
  if (!vm.ok()) return vm.status();
  return ListedVmField((*vm)->encoded());
}

}  // namespace vmeventd
