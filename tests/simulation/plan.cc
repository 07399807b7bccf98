#include "tests/simulation/plan.h"

#include "tests/simulation/random.h"

namespace vmeventd::simulation {

Plan PlanOf(uint64_t seed) {
  Random random(seed ^ 0x706c616e);
  Plan plan{.seed = seed};
  plan.names = random.Between(1, 6);
  plan.lives = random.Between(5, 40);
  plan.kills = random.OneIn(3) ? 0 : random.Between(1, 8);
  plan.power_losses = random.OneIn(2) ? 0 : random.Between(0, plan.kills);
  plan.faults = random.OneIn(2) ? 0 : random.Between(1, 5);
  plan.clock_steps = random.OneIn(3) ? random.Between(1, 4) : 0;
  plan.stops = random.OneIn(2) ? random.Between(1, 4) : 0;
  plan.readers = random.Between(0, 3);
  plan.calm = random.OneIn(4) ? 1 : 0;
  plan.listers = random.OneIn(2) ? 0 : random.Between(1, 2);
  plan.shortages = random.OneIn(2) ? 0 : random.Between(1, 4);
  // Answers that lists get of two journals are not judged.
  if (random.OneIn(6)) {
    plan.damages = random.Between(1, 3);
    plan.listers = 0;
    plan.stops += 2;  // a start finds it
    plan.kills += 2;
  }
  if (plan.shortages == 0 && random.OneIn(2)) {
    plan.domains = random.Between(1, 4);
    plan.libvirtd_ends = random.Between(0, 6);
  }
  plan.handover = random.OneIn(2) ? 1 : 0;
  return plan;
}

}  // namespace vmeventd::simulation
