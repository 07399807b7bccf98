// Any row of the journal is read as an event, a VM, or neither; none crashes the daemon, and what
// was read is written back unchanged.

#include <cstdlib>
#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "server/events/event_codec.h"
#include "server/events/logged_event.h"

namespace v1 = vmeventd::v1;

void Fuzz_journal_row(absl::string_view input) {
  const std::string row(input);
  v1::Event event = vmeventd::Parsed<v1::Event>(row);
  if (event.vm().ByteSizeLong() == 0) event.clear_vm();  // has no content, and is not stored
  event.set_durable(true);
  const auto again = vmeventd::Parsed<v1::ListEventsResponse>(vmeventd::Logged(event)->field);
  // Not by their bytes: the order of labels in them differs.
  using google::protobuf::util::MessageDifferencer;
  if (again.events_size() != 1 || !MessageDifferencer::Equals(again.events(0), event)) std::abort();
}
