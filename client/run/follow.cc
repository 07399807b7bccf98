#include <poll.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/commands/unknown_names.h"
#include "client/commands/uuid_names.h"
#include "client/output/count_text.h"
#include "client/output/time_text.h"
#include "client/run/console.h"
#include "client/run/run.h"
#include "client/run/stop_signals.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/delivery.h"
#include "client/sinks/sinks.h"
#include "client/sources/make_source.h"
#include "client/sources/servers.h"
#include "client/sources/watch_positions.h"
#include "client/sources/watch_start.h"

namespace vmeventd::client {

ExitCode RunFollow(FollowCommand command, const CommandLine& line, Formatter* formatter) {
  // Runs before anything that may start a thread.
  StopSource& stop = StopBySignals(STDOUT_FILENO);
  v1::EventFilter& filter = command.watch.filter;
  if (!filter.vm_names().empty() && !command.watch.wait) {
    const auto lists =
        ListsOf(line.servers, line.is_json(), [](const std::string& /*sentence*/) {});
    auto unknown = TakeUuids(lists.get(), &filter);
    if (!unknown) unknown = CheckNames(filter, InvocationOf(line.servers), lists.get());
    if (unknown && unknown->code == ExitCode::kUsage) return Fail(*unknown);
    // The watch explains every other failure.
    if (unknown && unknown->code == ExitCode::kNotFound) {
      PrintNote(absl::StrCat(unknown->sentence, " (waiting for it)"));
    }
  }
  Delivery::Options options = {.servers = CursorKeys(line.servers),
                               .count = command.count,
                               .counts_gaps = command.asks_for_gaps()};
  std::unique_ptr<CursorFile> cursor;
  if (!command.cursor_file.empty()) {
    auto opened = CursorFile::Open(command.cursor_file, options.servers);
    if (!opened.ok()) return Fail(opened.status());
    cursor = *std::move(opened);
  }
  const CursorFile::Positions positions = cursor ? cursor->positions() : CursorFile::Positions();
  if (command.last) {
    const auto failure =
        SetStart(line.servers, positions, *command.last, PrintNote, &command.watch);
    if (failure) return Fail(*failure);
  }
  DescriptorOutput output(STDOUT_FILENO);
  // Programs get the node's name even if there is only one daemon.
  command.watch.named = line.is_json() || command.sink != nullptr;
  const WatchSinkKind& kind = command.sink ? *command.sink : *AllSinks().of_watch.front();
  const auto sink = kind.make({command, formatter, &output, &stop, PrintNote});
  const auto source = MakeSource(command.watch, line.servers, positions, &stop, PrintNote);
  options.consumer = sink.get();
  options.cursor = cursor.get();
  Delivery delivery(std::move(options));
  auto timed_out = std::async(std::launch::async, [&] {
    const bool over = command.timeout && !stop.WaitFor(*command.timeout);
    if (over) stop.Stop();
    return over;
  });
  const ExitCode code = delivery.Run(source.get(), PrintNote);
  stop.Stop();
  // A reader that closes its end is no interruption.
  pollfd reader = {STDOUT_FILENO, 0, 0};
  if (code == ExitCode::kInterrupted && poll(&reader, 1, 0) > 0) return ExitCode::kOk;
  if (!timed_out.get() || code != ExitCode::kInterrupted) return code;
  PrintNote(absl::StrCat("--timeout: fewer than ", CountText(*command.count, "event"),
                         " came and were handled within ", DurationText(*command.timeout)));
  return ExitCode::kFailed;
}

}  // namespace vmeventd::client
