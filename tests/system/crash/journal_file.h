#pragma once

#include <string>

#include "tests/system/crash/history.h"

namespace vmeventd::crash {

// Reads the journal's file as docs/internals/journal.md describes it, into history->journal and
// journal_id. Throws if it cannot be read.
void ReadJournalFile(const std::string& path, History* history);

}  // namespace vmeventd::crash
