#include "watcher/session/end_detail.h"

#include <csignal>
#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "watcher/core/causes.h"

namespace vmeventd {
namespace {

std::string MessageOf(ShutdownCause cause, int signal, const SignalSender& sender) {
  v1::ShutdownDetail detail;
  detail.set_cause(ToProto(cause));
  detail.mutable_exit_signal()->set_number(signal);
  return StoppedMessage(detail, &sender);
}

TEST(StoppedMessageTest, TheCauseShowsWhetherTheMessageBeginsWithTheSender) {
  SignalSender direct = {.signal = SIGSEGV, .pid = 7, .uid = 0, .command = std::string("bash")};
  SignalSender of_container = direct;
  of_container.first_process = 8;
  of_container.first_signal = SIGTERM;
  const SignalSender in_last_words = {
      .signal = SIGSEGV, .pid = 7, .command = std::string("bash"), .from_last_words = true};
  for (const CauseTraits& traits : causes::kTable) {
    for (const SignalSender& sender : {direct, of_container, in_last_words}) {
      const std::string message = MessageOf(traits.cause, SIGSEGV, sender);
      EXPECT_EQ(absl::StartsWith(message, "bash (pid 7"), traits.begins_with_sender) << message;
    }
  }
  direct.of_qemu = true;
  EXPECT_EQ(MessageOf(ShutdownCause::kQemuCrashed, SIGABRT, direct),
            "QEMU was killed by SIGABRT: a crash of QEMU itself");
}

}  // namespace
}  // namespace vmeventd
