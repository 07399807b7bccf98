#pragma once

#include <csignal>
#include <fstream>
#include <memory>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "tests/watcher/libvirt/sleeping_process.h"
#include "tests/watcher/libvirt/test_domains.h"
#include "tests/watcher/runs/child.h"

namespace vmeventd {

// A process that looks like the domain's QEMU, with its pid file.
class LibvirtProcessTest : public LibvirtSourceTest {
 protected:
  LibvirtProcessTest() {
    options_.process_tracking = true;
    directory_.MakeDirectory("qemu");
    StartProcess();
  }

  // Another one in its place, which has ended.
  void StartProcess() {
    process_.reset();
    process_ = StartSleeping("sh", "-uuid", kDomain.uuid);
    std::ofstream(directory_.Path("qemu/web1.pid")) << process_->pid() << "\n";
  }
  void KillProcess() {
    kill(process_->pid(), SIGKILL);
    process_->AwaitEnd();
    Step();
  }
  void LoseLibvirt() {
    libvirt_->SetOpenError(absl::UnavailableError("it is restarted"));
    libvirt_->Close("libvirt closed the connection");
    ASSERT_TRUE(UntilConnected(false));
  }
  // The end of its process is published before libvirt is back.
  void EndWhileLibvirtIsLost() {
    StartWithDomain();
    LoseLibvirt();
    process_.reset();
    ASSERT_TRUE(UntilCount(EventType::kStopped));
  }

  std::unique_ptr<Child> process_;
};

}  // namespace vmeventd
