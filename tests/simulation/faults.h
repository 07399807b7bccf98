#pragma once

#include <string>

#include "absl/strings/str_cat.h"

namespace vmeventd::simulation {

// Reasons for which a daemon may not see all of a life's end; its class may then be UNKNOWN.
enum class Fault {
  kNone,
  kLives,
  kNobodyKnows,
  kProcessUnknown,
  kMayHaveMigrated,
  kGuestMayEndIt,
  kNeverAsked,
  kBeforeFirstList,
  kNotAllRead,
  kResetMissed,
  kSnapshot,
  kAskedLate,
  kNotReported,
  kEndedUnattended,
  kStatusUnreadable,
  kSenderUnrecorded,
  kMonitorUnfollowed,
  kMayBeUpAgain,
};

struct FaultText {
  Fault id;
  const char* sentence;  // what the judge says of a life
  const char* why;
};

// In the order of Fault; docs/internals/testing.md has this table.
inline constexpr FaultText kFaults[] = {
    {Fault::kLives, "it lives",
     "its process is not known, and the end of its socket or of its launcher counts"},
    {Fault::kNobodyKnows, "nobody knows who ended it",
     "QEMU exits with 0 and reports nothing, or the host goes down"},
    {Fault::kProcessUnknown, "its process was not known",
     "a launcher listened for it, and it sent nothing; or it had ended before it was found"},
    {Fault::kMayHaveMigrated, "it may live on where it was migrated to",
     "it is killed while its last pages are sent"},
    {Fault::kGuestMayEndIt, "its guest may have ended it",
     "QEMU exits with 1 or more, and has a device by which its guest can end it"},
    {Fault::kNeverAsked, "it was never asked for its run state",
     "what it was before the first connection is not known"},
    {Fault::kBeforeFirstList, "libvirt reported it before its first list",
     "the list may be older or newer"},
    {Fault::kNotAllRead, "not all that it reported was read and written",
     "nobody listened, or a daemon was killed before it had written what it read"},
    {Fault::kResetMissed, "a reset of it may have been missed",
     "its monitor was lost since a panic, an expiry of its watchdog or a press"},
    {Fault::kSnapshot, "it may have returned to a snapshot",
     "it was resumed since then, and QEMU does not report a return"},
    {Fault::kAskedLate, "its run state was not asked for in time",
     "only that shows a migration that is complete, and an internal error"},
    {Fault::kNotReported, "libvirt has not reported its end", "its reports may be missing too"},
    {Fault::kEndedUnattended, "its process ended while no daemon or another one ran",
     "its end was not seen"},
    {Fault::kStatusUnreadable, "its exit status cannot be read",
     "the kernel is before 6.15, or its parent was late to reap it"},
    {Fault::kSenderUnrecorded, "nobody recorded who sent its signal",
     "the kernel has no records, or no daemon read them then"},
    {Fault::kMonitorUnfollowed, "its monitor was not followed then",
     "what it reported at its end is not known"},
    {Fault::kMayBeUpAgain, "it may have come up again",
     "its QEMU stays when its guest is down, and was not followed to its end"},
};

static_assert([] {
  int id = static_cast<int>(Fault::kNone);
  for (const FaultText& fault : kFaults) {
    if (static_cast<int>(fault.id) != ++id) return false;
  }
  return id == static_cast<int>(Fault::kMayBeUpAgain);
}());

// Returns the sentence of a fault that is not kNone.
inline const char* SentenceOf(Fault fault) { return kFaults[static_cast<int>(fault) - 1].sentence; }

// The table in Markdown.
inline std::string FaultTable() {
  std::string table = "| fault | why |\n|---|---|\n";
  for (const FaultText& fault : kFaults) {
    absl::StrAppend(&table, "| ", fault.sentence, " | ", fault.why, " |\n");
  }
  return table;
}

}  // namespace vmeventd::simulation
