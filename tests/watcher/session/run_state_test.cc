#include "watcher/session/run_state.h"

#include <cstdint>
#include <memory>

#include "google/protobuf/message.h"
#include "gtest/gtest.h"
#include "tests/support/filled_message.h"
#include "tests/support/saved_messages.h"
#include "tests/support/saved_run.h"

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

}  // namespace
}  // namespace vmeventd
