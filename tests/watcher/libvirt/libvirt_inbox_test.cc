#include "watcher/libvirt/libvirt_inbox.h"

#include <memory>
#include <variant>
#include <vector>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

const DomainName kListed = {"web1", "475852fa-ea74-4630-8eae-7a6231894c40", 3};

TEST(LibvirtInboxTest, WhatComesBeforeTheListWaitsForIt) {
  const std::shared_ptr<LibvirtInbox> inbox = LibvirtInbox::Create().value();
  inbox->Begin(1);
  inbox->Post(1, DomainChanged{kListed, {}});
  EXPECT_TRUE(inbox->Take().empty());
  inbox->PostList(1, {{kListed, "running"}});
  const std::vector<LibvirtInbox::Entry> entries = inbox->Take();
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_TRUE(std::holds_alternative<LinkOpened>(entries[0].message));
  EXPECT_TRUE(std::holds_alternative<DomainChanged>(entries[1].message));
  EXPECT_TRUE(std::holds_alternative<DomainListed>(entries[2].message));
  EXPECT_TRUE(std::holds_alternative<DomainsListed>(entries[3].message));
}

TEST(LibvirtInboxTest, WhatIsForgottenOrNotBegunIsNotTakenIn) {
  const std::shared_ptr<LibvirtInbox> inbox = LibvirtInbox::Create().value();
  inbox->Post(1, DomainChanged{kListed, {}});
  inbox->Begin(1);
  inbox->PostList(1, {});
  inbox->Forget(1);
  inbox->Post(1, DomainChanged{kListed, {}});
  EXPECT_TRUE(inbox->Take().empty());
}

}  // namespace
}  // namespace vmeventd
