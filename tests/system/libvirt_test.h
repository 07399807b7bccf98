#pragma once

// The fixture of the tests with a real libvirtd and its domains.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/libvirt/libvirtd.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {

inline DomainOptions LinuxGuest() { return {.linux_guest = true}; }

class LibvirtTest : public E2eTest {
 protected:
  void SetUp() override {
    if (!CanRunLibvirtd()) GTEST_SKIP() << "needs root and libvirtd";
    libvirtd_ = MakeLibvirtd();
  }
  void TearDown() override { libvirtd_.reset(); }

  DaemonOptions LibvirtOptions(const std::vector<std::string>& uris) const {
    std::vector<std::string> arguments;
    for (const std::string& uri : uris) arguments.insert(arguments.end(), {"--libvirt", uri});
    return Options(arguments);
  }
  void Follow(const std::vector<std::string>& uris) { StartDaemonAndStream(LibvirtOptions(uris)); }
  void Follow() { Follow({libvirtd().uri()}); }
  Libvirtd& libvirtd() { return *libvirtd_; }
  void DropLibvirtd() { libvirtd_.reset(); }
  virtual std::shared_ptr<Libvirtd> MakeLibvirtd() const {
    return std::make_shared<Libvirtd>(dir() / "a");
  }

  void ExpectOneStopped(const std::string& name = "vm1") {
    const std::vector<v1::Event> events = stream().EventsOf(name);
    EXPECT_EQ(std::count_if(
                  events.begin(), events.end(),
                  [](const v1::Event& event) { return event.type() == v1::EVENT_TYPE_STOPPED; }),
              1);
    EXPECT_EQ(events.front().type(), v1::EVENT_TYPE_STARTED) << TypesOf(events);
    EXPECT_EQ(events.back().type(), v1::EVENT_TYPE_STOPPED) << TypesOf(events);
  }
  bool Connected() {
    const v1::GetServerInfoResponse info = daemon().GetServerInfo();
    return info.libvirt_connections_size() > 0 && info.libvirt_connections(0).connected();
  }

 private:
  std::shared_ptr<Libvirtd> libvirtd_;
};

}  // namespace vmeventd::e2e
