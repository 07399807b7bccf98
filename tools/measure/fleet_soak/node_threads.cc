#include "tools/measure/fleet_soak/node_threads.h"

#include "base/clock.h"

namespace vmeventd::e2e {

NodeThreads::NodeThreads(int count) {
  for (int i = 0; i < count; ++i) threads_.emplace_back([this] { Run(); });
}

NodeThreads::~NodeThreads() {
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void NodeThreads::SetDue(FleetPublisher* publisher, absl::Time due) {
  Job& job = jobs_[publisher];
  due_.erase({job.due, publisher});
  job.due = due;
  due_.emplace(due, publisher);
  changed_.NotifyOne();
}

void NodeThreads::Add(FleetPublisher* publisher) {
  const MutexLock lock(&mutex_);
  SetDue(publisher, SteadyNow());
}

void NodeThreads::Wake(FleetPublisher* publisher) {
  const MutexLock lock(&mutex_);
  const auto job = jobs_.find(publisher);
  if (job == jobs_.end()) return;
  if (job->second.running) {
    job->second.woken = true;
  } else {
    SetDue(publisher, SteadyNow());
  }
}

void NodeThreads::Remove(FleetPublisher* publisher) {
  const MutexLock lock(&mutex_);
  while (jobs_.at(publisher).running) done_.Wait(&mutex_);
  due_.erase({jobs_.at(publisher).due, publisher});
  jobs_.erase(publisher);
}

// One thread waits until the next one is due; the others for it.
void NodeThreads::Wait(absl::Time now) {
  const absl::Time due = due_.empty() ? absl::InfiniteFuture() : due_.begin()->first;
  if (due >= awaited_) return changed_.Wait(&mutex_);
  awaited_ = due;
  changed_.WaitFor(&mutex_, due - now);
  if (awaited_ == due) awaited_ = absl::InfiniteFuture();
}

void NodeThreads::Run() {
  const MutexLock lock(&mutex_);
  while (!stopped_) {
    const absl::Time now = SteadyNow();
    if (due_.empty() || due_.begin()->first > now) {
      Wait(now);
      continue;
    }
    FleetPublisher* const publisher = due_.begin()->second;
    due_.erase(due_.begin());
    jobs_.at(publisher).running = true;
    changed_.NotifyOne();  // somebody waits for the next one
    mutex_.Unlock();
    const absl::Duration wait = publisher->Step();
    mutex_.Lock();
    Job& job = jobs_.at(publisher);
    job.running = false;
    SetDue(publisher,
           SteadyNow() + (std::exchange(job.woken, false) ? absl::ZeroDuration() : wait));
    done_.NotifyAll();
  }
}

}  // namespace vmeventd::e2e
