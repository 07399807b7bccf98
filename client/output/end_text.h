#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

// Texts for the end of a VM, for tables, `why`, commands and mails.

namespace vmeventd::client {

// The class for a table: "USER?" if a caveat casts doubt on it.
std::string ClassWord(const v1::ShutdownDetail& shutdown);

// "guest poweroff" for GUEST_POWEROFF.
std::string CauseWords(v1::ShutdownCause cause);

// The end's intent, to stand before its description: "alice: ticket 4711; ". Escaped.
std::string IntentPrefix(const v1::ShutdownDetail& shutdown);

// The end in a few words: its intent; the cause; then the sender of the signal that ended the VM
// or, without a sender, the exit status: "host kill by virtqemud", "qemu crashed, SIGSEGV".
// Escaped.
std::string ShortEnd(const v1::ShutdownDetail& shutdown);

// "ended between 2026-07-01 11:45:46 and 11:46:00" for an end that nobody saw and that was noticed
// at the second time; "" for any other end. `names_day`: see BetweenText().
std::string EndedBetween(const v1::ShutdownDetail& shutdown, absl::Time noticed,
                         absl::TimeZone zone, bool names_day = true);

// The end in the words of the STOPPED's `message` (if empty, the cause), and what makes it
// doubtful. One or more escaped sentences, without the intent.
std::string EndSentence(const v1::ShutdownDetail& shutdown, absl::string_view message);

}  // namespace vmeventd::client
