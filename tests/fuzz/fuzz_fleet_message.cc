// What a NATS server and other publishers may send: answers of JetStream, the places of deliveries,
// origins and payloads.

#include <cstdlib>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/fleet/fleet_message.h"
#include "client/nats/ack_subject.h"
#include "client/nats/jetstream.h"
#include "tests/support/answering_nats.h"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

void Fuzz_fleet_message(absl::string_view input) {
  using namespace vmeventd;  // NOLINT(google-build-using-namespace): it calls nothing else
  (void)client::ParseAckSubject(input);
  client::AnsweringNats nats{std::string(input)};
  (void)client::ReadStreamState(&nats, "S");
  (void)client::Store(&nats, "S", {}, absl::Seconds(1));
  (void)client::ReadMessage(&nats, "S", 1);
  // A journal's ID that is empty would be that of no journal.
  v1::Event event;
  const auto origin = client::ParseFleetMessage(
      {.subject = "vmevents.v1.c.n.vm.paused",
       .headers = {{"ce-source", std::string(input)}, {"ce-type", "vmevents.v1.paused"}}},
      &event);
  if (origin.ok() && origin->journal_id.empty()) std::abort();
  (void)client::ParsePayload(input, &event);
  v1::Vm vm;
  (void)client::ParsePayload(input, &vm);
  v1::NodeHeartbeat heartbeat;
  (void)client::ParsePayload(input, &heartbeat);
}
