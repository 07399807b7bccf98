#include "server/events/logged_event.h"

#include "absl/strings/string_view.h"
#include "server/events/event_codec.h"
#include "watcher/core/event_time.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {

LoggedEvent::LoggedEvent(const EventRecord& record) : EventRecord(record) {
  const size_t at = AppendEvent(record, &field);
  const absl::string_view bytes = field;
  event = bytes.substr(at, record.event.size());
  vm_ref = bytes.substr(bytes.size() - kDurableBytes - record.vm_ref.size(), record.vm_ref.size());
}

EventPtr Logged(v1::Event event) {
  const absl::Time since = EarliestTimeOf(event);
  const std::string vm_ref = Serialized(event.vm());
  event.clear_vm();
  event.clear_durable();
  const std::string rest = Serialized(event);
  return std::make_shared<const LoggedEvent>(
      EventRecord{.sequence = event.sequence(),
                  .type = event.type(),
                  .shutdown_class = event.shutdown().shutdown_class(),
                  .observe_time = FromTimestamp(event.observe_time()),
                  .since = since,
                  .event = rest,
                  .vm_ref = vm_ref});
}

}  // namespace vmeventd
