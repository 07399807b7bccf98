#include "watcher/session/run_state.h"

#include <cstdint>
#include <memory>
#include <string>

#include "google/protobuf/message.h"
#include "gtest/gtest.h"
#include "tests/support/filled_message.h"
#include "tests/support/golden_file.h"
#include "tests/support/saved_messages.h"
#include "tests/support/saved_run.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

TEST(RunStateTest, EachFieldOfTheSavedMessageIsRestoredAndSavedAgain) {
  SavedMessages messages;
  const uint32_t format = ParseSaved(SaveRunState({})).format();
  for (const bool flag : {true, false}) {
    const std::unique_ptr<google::protobuf::Message> saved = messages.New("RunState");
    Fill(flag, saved.get());
    saved->GetReflection()->SetUInt32(saved.get(),
                                      saved->GetDescriptor()->FindFieldByName("format"), format);

    const auto restored = RestoreRunState(saved->SerializeAsString());
    ASSERT_TRUE(restored.ok()) << restored.status();
    const std::unique_ptr<google::protobuf::Message> again = messages.New("RunState");
    ASSERT_TRUE(again->ParseFromString(SaveRunState(*restored)));
    EXPECT_EQ(Differences(*saved, *again), "");
  }
}

// Inputs of another format are refused at their first byte.
TEST(RunStateTest, TheFuzzersSeedInputsHaveThisFormat) {
  const auto expect = [](const std::string& name, const std::string& saved) {
    ExpectGolden("tests/fuzz/corpus/saved_run/" + name, saved);
  };
  SavedMessages messages;
  const auto each_field = messages.New("RunState");
  Fill(true, each_field.get());
  each_field->GetReflection()->SetUInt32(each_field.get(),
                                         each_field->GetDescriptor()->FindFieldByName("format"),
                                         ParseSaved(SaveRunState({})).format());
  expect("each-field", each_field->SerializeAsString());

  RunningVm running;
  expect("running", running.saved);
  running.Declare();
  expect("intent", running.saved);
  RunningVm lost;
  lost.Closed();
  lost.Advance(absl::Minutes(1));
  expect("lost", lost.saved);
  RunningVm ending;
  ending.Event("POWERDOWN");
  ending.Shutdown("guest-shutdown");
  expect("shutdown", ending.saved);
  SessionDriver of_libvirt({}, true, /*has_shutdown_file=*/false, absl::InfiniteDuration(),
                           /*of_libvirt=*/true);
  of_libvirt.Ready();
  expect("libvirt", of_libvirt.saved);
}

}  // namespace
}  // namespace vmeventd
