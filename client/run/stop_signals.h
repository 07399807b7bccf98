#ifndef VMEVENTD_CLIENT_RUN_STOP_SIGNALS_H_
#define VMEVENTD_CLIENT_RUN_STOP_SIGNALS_H_

#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "client/connect/stop_source.h"

namespace vmeventd::client {

// While it exists, SIGINT, SIGTERM and SIGHUP stop `stop`, and so does a reader of standard output
// that goes away, even while nothing is written. A second signal ends the process at once.
//
// Create it before any other thread: it blocks the signals for later threads. It runs one thread of
// its own.
class StopSignals {
 public:
  // `stop` and `output_descriptor` must outlive it.
  static absl::StatusOr<std::unique_ptr<StopSignals>> Create(StopSource* stop,
                                                             int output_descriptor);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  StopSignals(int signals, int done, int output, StopSource* stop);
  void Wait(StopSource* stop) const;

  const int signals_;  // signalfd
  const int done_;     // eventfd: written by the destructor to end the thread
  const int output_;
  std::thread thread_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_STOP_SIGNALS_H_
