#include "client/output/end_text.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/signal_name.h"
#include "client/output/enum_names.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "watcher/core/causes.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// "the kernel", its command, or "pid 7". Escaped.
std::string SenderName(const v1::SignalSender& sender) {
  if (sender.kernel()) return "the kernel";
  return sender.command().empty() ? absl::StrCat("pid ", sender.pid())
                                  : EscapeForTerminal(sender.command());
}

// Returns whether a STOPPED's message begins with the sender's command, or with "QEMU".
bool BeginsWithName(const v1::ShutdownDetail& shutdown) {
  return TraitsOf(static_cast<ShutdownCause>(shutdown.cause())).begins_with_sender &&
         !absl::StripAsciiWhitespace(shutdown.sender().command()).empty();
}

std::string CaveatSentence(int caveat, const v1::ShutdownDetail& shutdown) {
  switch (caveat) {
    case v1::SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED:
      return " A guest agent was connected, by which the host may have asked for it.";
    case v1::SHUTDOWN_CAVEAT_GUEST_AGENT_POSSIBLE:
      return " A guest agent may have been connected, by which the host may have asked for it.";
    case v1::SHUTDOWN_CAVEAT_POWERDOWN_EARLIER:
      return absl::StrCat(" The host had pressed the power button ",
                          DurationText(FromProtoDuration(shutdown.powerdown_age())), " earlier.");
    case v1::SHUTDOWN_CAVEAT_POWERDOWN_UNSEEN:
      return " vmeventd may have missed a press of the power button.";
    case v1::SHUTDOWN_CAVEAT_HOST_SHUTTING_DOWN:
      return " The host was shutting down, and may have asked for it.";
    case v1::SHUTDOWN_CAVEAT_NO_PANIC_DEVICE:
      return " QEMU has no panic device: the guest may have panicked.";
    default:
      return "";
  }
}

}  // namespace

std::string ClassWord(const v1::ShutdownDetail& shutdown) {
  return ShortName(shutdown.shutdown_class()) + (shutdown.caveats_size() > 0 ? "?" : "");
}

std::string CauseWords(v1::ShutdownCause cause) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(ShortName(cause)), {{"_", " "}});
}

std::string IntentPrefix(const v1::ShutdownDetail& shutdown) {
  if (!shutdown.has_intent()) return "";
  return absl::StrCat(EscapeForTerminal(shutdown.intent().actor()), ": ",
                      EscapeForTerminal(shutdown.intent().reason()), "; ");
}

std::string ShortEnd(const v1::ShutdownDetail& shutdown) {
  std::string text = absl::StrCat(IntentPrefix(shutdown), CauseWords(shutdown.cause()));
  if (shutdown.has_sender() && TraitsOf(static_cast<ShutdownCause>(shutdown.cause())).by_sender) {
    absl::StrAppend(&text, " by ", SenderName(shutdown.sender()));
  } else if (shutdown.exit_signal().number() != 0) {
    absl::StrAppend(&text, ", ", SignalName(shutdown.exit_signal().number()));
  } else if (shutdown.exit_code() != 0) {
    absl::StrAppend(&text, ", exit ", shutdown.exit_code());
  }
  return text;
}

std::string EndedBetween(const v1::ShutdownDetail& shutdown, absl::Time noticed,
                         absl::TimeZone zone, bool names_day) {
  if (!shutdown.has_last_seen_time()) return "";
  return absl::StrCat(
      "ended ", BetweenText(FromTimestamp(shutdown.last_seen_time()), noticed, zone, names_day));
}

std::string EndSentence(const v1::ShutdownDetail& shutdown, absl::string_view message) {
  std::string text = message.empty() ? CauseWords(shutdown.cause()) : EscapeForTerminal(message);
  // The name of a process stays as it is.
  const bool is_name = !message.empty() && BeginsWithName(shutdown);
  if (!is_name) text[0] = absl::ascii_toupper(static_cast<unsigned char>(text[0]));
  text += ".";
  if (shutdown.never_ran()) text += " The VM never ran in this QEMU.";
  for (const int caveat : shutdown.caveats()) text += CaveatSentence(caveat, shutdown);
  return text;
}

}  // namespace vmeventd::client
