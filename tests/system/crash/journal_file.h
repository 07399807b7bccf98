#ifndef VMEVENTD_TESTS_SYSTEM_CRASH_JOURNAL_FILE_H_
#define VMEVENTD_TESTS_SYSTEM_CRASH_JOURNAL_FILE_H_

#include <string>

#include "tests/system/crash/history.h"

namespace vmeventd::crash {

// Reads the journal's file as docs/journal.md describes it, into history->journal and journal_id.
// Throws if it cannot be read.
void ReadJournalFile(const std::string& path, History* history);

}  // namespace vmeventd::crash

#endif  // VMEVENTD_TESTS_SYSTEM_CRASH_JOURNAL_FILE_H_
