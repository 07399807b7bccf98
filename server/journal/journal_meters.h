#ifndef VMEVENTD_SERVER_JOURNAL_JOURNAL_METERS_H_
#define VMEVENTD_SERVER_JOURNAL_JOURNAL_METERS_H_

#include "base/counter.h"
#include "base/latency_histogram.h"

namespace vmeventd {

// How the journal's writing goes. The pump counts, any thread reads.
struct JournalMeters {
  LatencyHistogram commits;  // each transaction, its sync to the disk included
  Counter write_errors;      // transactions that failed
  Counter given_up_events;   // that were published and are in no journal
  Counter given_up_runs;     // saves of open runs, likewise
  Counter retention_errors;  // times in which what is too old could not be deleted
  Counter replacements;      // corrupt journals that were moved aside, by this daemon's run
  Level backlog_bytes;       // of updates that wait while the journal cannot be written
  Level backlog_events;
  Level oldest_event_ns;  // when the oldest event kept was observed, since 1970; 0: none is
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_JOURNAL_METERS_H_
