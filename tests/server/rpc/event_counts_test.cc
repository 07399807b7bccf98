#include "server/rpc/event_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/proto_text.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

// Who ended a VM of that source.
std::string Who(const std::string& shutdown, const std::string& source = "qmp:/run/vms") {
  v1::VmRef vm;
  vm.set_source(source);
  return WhoOf(FromText<v1::ShutdownDetail>(shutdown), vm);
}

TEST(EventCountsTest, WhoIsTheActorOrElseTheSenderTheManagerTheGuestOrTheHost) {
  const std::string intended = "intent { actor: 'alice' } sender { command: 'bash' } ";
  EXPECT_EQ(Who(intended + "shutdown_class: SHUTDOWN_CLASS_ADMIN"), "alice");
  EXPECT_EQ(Who(intended + "shutdown_class: SHUTDOWN_CLASS_CRASH"), "bash") << "it did not decide";
  EXPECT_EQ(Who("sender { executable: '/usr/sbin/virtqemud' uid: 0 }"), "virtqemud");
  EXPECT_EQ(Who("sender { executable: '/usr/sbin/virtqemud' command: 'rpc-virtqemud' }"),
            "virtqemud");
  EXPECT_EQ(Who("sender { executable: '/usr/bin/python3.11' command: 'janitor.py' }"),
            "janitor.py");
  EXPECT_EQ(Who("sender { command: 'bash' uid: 1000 }"), "bash (uid 1000)");
  EXPECT_EQ(Who("sender { command: 'kill' uid: 0 login_uid: 1000 login_user: 'bob' }"), "bob");
  EXPECT_EQ(Who("sender { command: 'kill' uid: 0 login_uid: 1000 }"), "kill (uid 1000)");
  EXPECT_EQ(Who("sender { pid: 7 }"), "pid 7");
  EXPECT_EQ(Who("sender { kernel: true }"), "the kernel");
  EXPECT_EQ(Who("sender { of_qemu: true command: 'x' }"), "QEMU itself");
  const std::string destroyed =
      "shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_DESTROY";
  EXPECT_EQ(Who(destroyed, "libvirt:qemu:///system"), "libvirt");
  EXPECT_EQ(Who(destroyed, "xen:dom0"), "xen");
  EXPECT_EQ(Who(destroyed, ""), "the manager");
  EXPECT_EQ(Who("shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_QUIT"),
            "the host");
  EXPECT_EQ(Who("shutdown_class: SHUTDOWN_CLASS_USER cause: SHUTDOWN_CAUSE_GUEST_POWEROFF"),
            "the guest");
  EXPECT_EQ(Who("shutdown_class: SHUTDOWN_CLASS_CRASH cause: SHUTDOWN_CAUSE_GUEST_PANIC"),
            "the guest");
  EXPECT_EQ(Who("shutdown_class: SHUTDOWN_CLASS_UNKNOWN cause: SHUTDOWN_CAUSE_UNOBSERVED"),
            "unknown");
}

// An event of that VM that was observed so many seconds after 1970.
void Add(EventCounts* counts, const std::string& vm, int64_t seconds = 0) {
  v1::VmRef ref;
  ref.set_name(vm);
  const std::string bytes = ref.SerializeAsString();
  counts->Add({.type = v1::EVENT_TYPE_STOPPED,
               .shutdown_class = v1::SHUTDOWN_CLASS_CRASH,
               .observe_time = absl::FromUnixSeconds(seconds),
               .vm_ref = bytes});
}

std::vector<std::string> Texts(const EventCounts& counts) {
  std::vector<std::string> texts;
  const v1::CountEventsResponse response = counts.Take();
  for (const v1::EventCount& one : response.counts()) {
    texts.push_back(absl::StrCat(one.key(), " ", one.events()));
  }
  return texts;
}

TEST(EventCountsTest, TheMostAreFirst) {
  EventCounts counts(v1::COUNT_KEY_VM, absl::ZeroDuration(), false);
  for (const char* vm : {"a", "b", "c", "b"}) Add(&counts, vm);
  counts.Add({.type = v1::EVENT_TYPE_GAP});  // of the node
  EXPECT_THAT(Texts(counts), ElementsAre("b 2", "a 1", "c 1"));
}

TEST(EventCountsTest, ADayBeginsWhereTheOffsetHasIt) {
  for (const auto& [offset, day] : {std::pair(0, "1970-01-01 1"), std::pair(2, "1970-01-02 1")}) {
    EventCounts counts(v1::COUNT_KEY_DAY, absl::Hours(offset), false);
    Add(&counts, "a", 23 * 60 * 60);
    EXPECT_THAT(Texts(counts), ElementsAre(day));
  }
}

TEST(EventCountsTest, HoursAndMinutesHaveTheirDay) {
  for (const auto& [key, text] : {std::pair(v1::COUNT_KEY_HOUR, "1970-01-02 01 1"),
                                  std::pair(v1::COUNT_KEY_MINUTE, "1970-01-02 01:05 1")}) {
    EventCounts counts(key, absl::Hours(2), false);
    Add(&counts, "a", 23 * 60 * 60 + 5 * 60);
    EXPECT_THAT(Texts(counts), ElementsAre(text));
  }
}

TEST(EventCountsTest, KeysBeyondTheLimitsAreCountedAsOthers) {
  EventCounts counts(v1::COUNT_KEY_VM, absl::ZeroDuration(), false);
  for (size_t i = 0; i < EventCounts::kMaxKeys + 5; ++i) Add(&counts, absl::StrCat(i));
  const v1::CountEventsResponse response = counts.Take();
  EXPECT_EQ(response.counts_size(), EventCounts::kMaxCounts);
  EXPECT_EQ(response.others(), EventCounts::kMaxKeys + 5 - EventCounts::kMaxCounts);
}

}  // namespace
}  // namespace vmeventd
