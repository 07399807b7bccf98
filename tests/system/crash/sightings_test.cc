#include "tests/system/crash/sightings.h"

#include <gtest/gtest.h>

namespace vmeventd::crash {
namespace {

v1::Event Powerdown(v1::VmState state, int64_t seconds) {
  v1::Event event;
  event.set_type(v1::EVENT_TYPE_POWERDOWN_REQUESTED);
  event.set_state(state);
  event.mutable_vm()->set_name("web1");
  event.mutable_vm()->set_pid(7);
  event.mutable_observe_time()->set_seconds(seconds);
  return event;
}

TEST(SightingsTest, AnEventInTheHandshakeWitnessesNothing) {
  Sightings sightings;
  sightings.Add(Powerdown(v1::VM_STATE_RUNNING, 100));
  sightings.Add(Powerdown(v1::VM_STATE_UNREACHABLE, 200));
  EXPECT_EQ(sightings.Of("web1", 7).heard_of, absl::FromUnixSeconds(100));
  sightings.Add(Powerdown(v1::VM_STATE_PAUSED, 300));
  EXPECT_EQ(sightings.Of("web1", 7).heard_of, absl::FromUnixSeconds(300));
}

}  // namespace
}  // namespace vmeventd::crash
