#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"

namespace vmeventd {

// A daemon that is away as a domain ends, of which libvirt may have kept the reason.
class LibvirtKeptEndTest : public LibvirtProcessTest {
 protected:
  LibvirtKeptEndTest() {
    directory_.MakeDirectory("logs");
    directory_.MakeDirectory("logs/qemu");
    options_.libvirt_logs = directory_.Path("logs");
    std::ofstream(directory_.Path("qemu/driver.pid")) << 1;
    LogStart(absl::Now());
  }
  void LogStart(absl::Time time) {
    std::ofstream(directory_.Path("logs/qemu/web1.log"), std::ios::app) << absl::FormatTime(
        "%Y-%m-%d %H:%M:%E3S%z: starting up libvirt version: 9.0.0\n", time, absl::UTCTimeZone());
  }
  void LogEnd(const std::string& reason) {
    std::ofstream(directory_.Path("logs/qemu/web1.log"), std::ios::app)
        << absl::FormatTime("%Y-%m-%d %H:%M:%E3S%z: shutting down, reason=", absl::Now(),
                            absl::UTCTimeZone())
        << reason << "\n";
  }
  void RestartLibvirtd() {
    std::filesystem::last_write_time(
        directory_.Path("qemu/driver.pid"),
        std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  }
  static DomainLifecycle KeptAs(std::optional<ManagerEnd> end, const std::string& text) {
    return {.what = DomainLifecycle::What::kStopped, .end = end, .text = text};
  }
  // A daemon that has followed the domain stops.
  void FollowAndStop() {
    StartConnected();
    StartDomain();
    ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->state == VmState::kRunning; }));
    watcher_.reset();
  }
  // The domain ends, and the next daemon begins.
  void EndAndRestart() {
    process_.reset();
    std::filesystem::remove(directory_.Path("qemu/web1.pid"));
    libvirt_->SetActive({});
    Restart();
  }
  void ExpectStopped(ShutdownClass shutdown_class, ShutdownCause cause) {
    ASSERT_TRUE(UntilCount(EventType::kStopped));
    EXPECT_EQ(LastStopped().shutdown->shutdown_class, shutdown_class) << LastStopped().message;
    EXPECT_EQ(LastStopped().shutdown->cause, cause) << LastStopped().message;
    Step();
    EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
    EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  }
  void ExpectUnknown(const std::string& why) {
    ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
    EXPECT_THAT(LastEvidence(), testing::Contains(testing::HasSubstr(why)));
  }
};

}  // namespace vmeventd
