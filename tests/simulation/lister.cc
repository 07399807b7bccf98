#include "tests/simulation/lister.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/events/event_codec.h"
#include "server/rpc/queries.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::simulation {
namespace {

constexpr uint64_t kPastAll = std::numeric_limits<uint64_t>::max();

}  // namespace

Lister::Lister(int number, Kernel* kernel, Random* random, Story* story, const Judge* judge)
    : name_(absl::StrCat("lister ", number)),
      kernel_(kernel),
      random_(random),
      story_(story),
      judge_(judge) {
  Begin();
}

void Lister::Begin() {
  question_.Clear();
  token_.clear();
  question_.set_newest_first(random_->OneIn(2));
  done_ = question_.newest_first() ? kPastAll : 0;
  if (random_->OneIn(3)) {
    v1::EventFilter* const filter = question_.mutable_filter();
    if (random_->OneIn(2)) filter->add_vm_names(absl::StrCat("vm", 1 + random_->Below(3)));
    if (random_->OneIn(2)) filter->add_types(v1::EVENT_TYPE_STOPPED);
  }
  if (random_->OneIn(4)) {
    const absl::Time start =
        kernel_->Now().wall - random_->Between(absl::ZeroDuration(), absl::Hours(1));
    *question_.mutable_start_time() = ToTimestamp(start);
    if (random_->OneIn(2)) {
      *question_.mutable_end_time() =
          ToTimestamp(start + random_->Between(absl::Seconds(1), absl::Hours(2)));
    }
  }
}

bool Lister::Turn(Daemon* daemon) {
  if (kernel_->monotonic() < pause_until_) return false;
  if (call_ == nullptr) {
    for (int vm = 1; vm <= 6; ++vm) AskVm(daemon, absl::StrCat("vm", vm));
    Ask(daemon);
    return true;
  }
  if (!random_->OneIn(100)) return false;
  story_->Log(name_, "gives up its call");
  call_->cancelled = true;
  call_ = nullptr;
  return true;
}

void Lister::Ask(Daemon* daemon) {
  v1::ListEventsRequest request = question_;
  const auto call = std::make_shared<Call>();
  call->newest = judge_->newest();
  // Nothing is known of a journal before it is open.
  if (daemon->has_journal()) call->unbroken_from = daemon->log().range().unbroken_from;
  if (!token_.empty() && random_->OneIn(20)) {
    call->forged = true;
    request.set_newest_first(!request.newest_first());
  }
  if (!random_->OneIn(4)) request.set_page_size(static_cast<int32_t>(random_->Between(1, 40)));
  request.set_page_token(token_);
  story_->Log(name_, "asks for ", request.page_size(), " events ",
              question_.newest_first() ? "before " : "after ", done_,
              call->forged ? ", with the token of another question" : "");
  call_ = call;
  daemon->queries().ListEvents(
      request, name_, [call] { return call->cancelled; },
      [this, daemon, call](const absl::StatusOr<std::string>& answer) {
        if (kernel_->dead() || call_ != call) return;
        call_ = nullptr;
        OnAnswer(*daemon, *call, answer);
      });
}

// The end of a run may come after the next run's start: its exit status is waited for.
bool Lister::SeveralRun(const std::string& name) const {
  std::set<std::string> known;
  std::set<std::string> stopped;
  for (const auto& [sequence, entry] : judge_->entries()) {
    const v1::VmRef& vm = entry.event.vm();
    if (vm.name() != name) continue;
    known.insert(vm.run_id());
    if (entry.event.type() == v1::EVENT_TYPE_STOPPED) stopped.insert(vm.run_id());
  }
  return known.size() > stopped.size() + 1;
}

void Lister::AskVm(Daemon* daemon, const std::string& name) const {
  v1::GetVmRequest request;
  request.set_vm_name(name);
  // Stopped VMs of earlier daemons are known once the journal is open.
  if (!daemon->has_journal() || daemon->PumpIsDue()) return;
  const absl::StatusOr<std::string> answer = daemon->queries().GetVm(request);
  if (absl::IsFailedPrecondition(answer.status()) && SeveralRun(name)) return;
  const v1::Vm vm = Parsed<v1::GetVmResponse>(answer.value_or("")).vm();
  for (auto it = judge_->entries().rbegin(); it != judge_->entries().rend(); ++it) {
    const v1::Event& event = it->second.event;
    if (event.vm().name() != name) continue;
    if (it->second.lost) return;  // it may still be known
    if (answer.ok() && event.vm().run_id() == vm.ref().run_id()) {
      if (vm.last_sequence() < it->first) Fail("the VM's last event is not ", it->first);
      return;
    }
    if (event.type() != v1::EVENT_TYPE_STOPPED) continue;
    // A VM whose events were all dropped has none.
    const bool is_later = vm.state() != v1::VM_STATE_STOPPED || vm.last_sequence() == 0;
    if (!answer.ok() || !is_later) Fail(name, " is not the run that stopped last");
    return;
  }
}

void Lister::OnAnswer(const Daemon& daemon, const Call& call,
                      const absl::StatusOr<std::string>& answer) {
  pause_until_ = kernel_->monotonic() +
                 random_->Between(absl::ZeroDuration(),
                                  random_->OneIn(6) ? absl::Minutes(5) : absl::Seconds(20));
  if (!answer.ok()) {
    story_->Log(name_, "gets ", answer.status().ToString());
    story_->Reach("list ends with ", static_cast<int>(answer.status().code()));
  }
  // A start that reserves no sequences begins another journal.
  const bool is_another = !token_.empty() && token_journal_ != judge_->journal_id();
  if (is_another && absl::IsOutOfRange(answer.status())) return Begin();
  if (is_another && answer.ok()) return Fail("its token of another journal is taken");
  if (call.forged) {
    if (!absl::IsInvalidArgument(answer.status())) Fail("its token of another question is taken");
    return;
  }
  if (absl::IsUnavailable(answer.status())) return;  // tries again
  // Its earlier requests still wait.
  if (absl::IsResourceExhausted(answer.status())) return;
  if (absl::IsOutOfRange(answer.status())) {
    // The place of its token is at the next event or before that.
    const uint64_t retained = daemon.log().range().unbroken_from;
    const uint64_t next = FirstAfter(done_, token_newest_);
    if (token_.empty()) Fail("the list has no beginning");
    if (question_.newest_first() ? next >= retained : done_ + 1 >= retained) {
      Fail("the place of its token is retained, and refused");
    }
    return Begin();
  }
  if (!answer.ok()) return Fail(answer.status().ToString());
  v1::ListEventsResponse page;
  if (!page.ParseFromString(*answer)) return Fail("it got what is no page");
  if (answer->size() > Queries::kMaxResponseBytes) Fail("its page is too large");
  TakePage(daemon, call, page);
}

void Lister::TakePage(const Daemon& daemon, const Call& call, const v1::ListEventsResponse& page) {
  const bool newest_first = question_.newest_first();
  // A token whose position was deleted before it asked must have been refused. The position is
  // between what it has got and the next event.
  if (!token_.empty()) {
    const uint64_t next = FirstAfter(done_, token_newest_);
    if (next != 0 && (newest_first ? done_ - 1 : next) < call.unbroken_from) {
      Fail("the event ", next, " was deleted, and the list continued without it");
    }
  }
  // The pump learns later of what the writer has deleted.
  const uint64_t oldest = std::max(daemon.log().range().oldest, judge_->oldest());
  for (const v1::Event& event : page.events()) {
    const uint64_t sequence = event.sequence();
    if (newest_first ? sequence >= done_ : sequence <= done_) {
      return Fail("it got the event ", sequence, " after ", done_);
    }
    const auto it = judge_->entries().find(sequence);
    if (it == judge_->entries().end()) {
      return Fail("it got the event ", sequence, ", which was not published");
    }
    if (it->second.content != Judge::ContentOf(event)) Fail("it got another event ", sequence);
    if (!IsListed(event)) Fail("it did not ask for the event ", sequence);
    // Events after the question are not missed on the first page, newest first.
    if (newest_first) {
      Skip(sequence, std::min(done_, call.newest + 1), oldest);
    } else {
      Skip(done_, sequence, oldest);
    }
    done_ = sequence;
  }
  story_->Log(name_, "gets ", page.events_size(), " events, to ", done_);
  if (!page.next_page_token().empty()) {
    story_->Reach(newest_first ? "list: a page, newest first" : "list: a page");
    token_ = page.next_page_token();
    token_newest_ = judge_->newest();
    token_journal_ = judge_->journal_id();
    return;
  }
  story_->Reach(newest_first ? "list: the last page, newest first" : "list: the last page");
  if (newest_first) {
    Skip(0, std::min(done_, call.newest + 1), oldest);
  } else {
    Skip(done_, call.newest + 1, oldest);
  }
  Begin();
}

void Lister::Skip(uint64_t above, uint64_t below, uint64_t oldest) {
  for (auto it = judge_->entries().lower_bound(std::max(above + 1, oldest));
       it != judge_->entries().end() && it->first < below; ++it) {
    if (it->second.lost || !IsListed(it->second.event) || judge_->MayBeThinned(it->first)) continue;
    // The event may be dropped, and its GAP comes later.
    if (judge_->drops() && !it->second.event.durable()) continue;
    return Fail("it did not get the event ", it->first);
  }
}

bool Lister::IsListed(const v1::Event& event) const {
  const v1::EventFilter& filter = question_.filter();
  if (!event.vm().name().empty()) {  // a GAP of the node passes every filter
    if (filter.vm_names_size() > 0 && !absl::c_linear_search(filter.vm_names(), event.vm().name()))
      return false;
    if (filter.types_size() > 0 && !absl::c_linear_search(filter.types(), event.type()))
      return false;
  }
  const absl::Time time = FromTimestamp(event.observe_time());
  if (question_.has_start_time() && time < FromTimestamp(question_.start_time())) return false;
  // An end that nobody saw when it happened may have happened earlier.
  absl::Time since = time;
  if (event.shutdown().has_last_seen_time()) {
    since = std::min(time, FromTimestamp(event.shutdown().last_seen_time()));
  } else if (event.unwatched().has_start()) {
    since = std::min(time, FromTimestamp(event.unwatched().start()));
  }
  return !question_.has_end_time() || since < FromTimestamp(question_.end_time());
}

uint64_t Lister::FirstAfter(uint64_t done, uint64_t newest) const {
  uint64_t first = 0;
  for (const auto& [sequence, entry] : judge_->entries()) {
    if (sequence > newest || entry.lost || !IsListed(entry.event)) continue;
    if (judge_->MayBeThinned(sequence)) continue;
    if (question_.newest_first()) {
      if (sequence < done) first = sequence;
    } else if (sequence > done) {
      return sequence;
    }
  }
  return first;
}

}  // namespace vmeventd::simulation
