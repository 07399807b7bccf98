#include "watcher/libvirt/libvirt_link.h"

#include <sys/eventfd.h>

#include <memory>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/watcher/libvirt/test_domains.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

std::shared_ptr<const UniqueFd> NewWake() {
  return std::make_shared<const UniqueFd>(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

// A message that is handled late is no evidence about processes that began meanwhile.
TEST(LibvirtLinkTest, AListedDomainHasTheTimeAtWhichTheListWasMade) {
  const auto libvirt = std::make_shared<FakeLibvirt>();
  libvirt->SetActive({{kDomain, "running"}});
  DetachedThreads threads(1, [] {});
  LibvirtLink link(libvirt, NewWake(), &threads, LibvirtSpec(), "", /*finds_processes=*/false);
  link.Open();
  ASSERT_TRUE(threads.WaitForJobs(absl::InfiniteDuration()));
  const std::vector<LibvirtMessage> messages = link.Take();
  ASSERT_FALSE(messages.empty());
  const auto& listed = std::get<DomainsListed>(messages.front());
  EXPECT_LE(listed.domains.at(0).domain.reported_ticks, StartTicksNow());
  link.Close();
  threads.WaitForJobs(absl::InfiniteDuration());
}

}  // namespace
}  // namespace vmeventd
