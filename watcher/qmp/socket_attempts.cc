#include "watcher/qmp/socket_attempts.h"

#include <utility>

namespace vmeventd {

SocketAttempts::SocketAttempts(RunContext* context, size_t specs, Delegate* delegate)
    : context_(context), delegate_(delegate), directories_(specs + 1) {
  for (int spec = -1; spec < static_cast<int>(specs); ++spec) {
    Of(spec).thread = std::make_unique<DirectoryThread>(
        context->loop, context->options->directory_patience, [this, spec] {
          delegate_->OnHangChange(spec);
          if (!first_scan_done_) CheckFirstScan();
        });
  }
}

void SocketAttempts::Begin(SocketSlot* slot, int descriptors, std::function<WithSlot()> task) {
  const int spec = slot->spec;
  slot->attempt = ++last_attempt_;
  context_->vm_descriptors += descriptors;
  ++Of(spec).under_way;
  ThreadOf(spec)->Run(
      [this, path = slot->path, attempt = slot->attempt, spec, descriptors,
       task = std::move(task)]() -> DirectoryThread::Then {
        return [this, path, attempt, spec, descriptors, then = task()]() mutable {
          context_->vm_descriptors -= descriptors;
          if (SocketSlot* const there = End(path, attempt, spec)) then(there);
        };
      },
      [this, path = slot->path, attempt = slot->attempt, spec, descriptors] {
        context_->vm_descriptors -= descriptors;
        End(path, attempt, spec);  // its directory is read once it answers
      });
}

SocketSlot* SocketAttempts::End(const std::string& path, uint64_t attempt, int spec) {
  --Of(spec).under_way;
  if (!first_scan_done_) {
    // The attempt may continue.
    context_->loop->AddTimer(context_->loop->Now().monotonic, [this] { CheckFirstScan(); });
  }
  SocketSlot* const slot = delegate_->FindSlot(path);
  if (slot == nullptr || slot->attempt != attempt) return nullptr;
  slot->attempt = 0;
  if (std::exchange(slot->try_again, false)) delegate_->TryAgain(slot);
  return slot;
}

void SocketAttempts::OnRead(int spec) {
  // Timers fire in their order: this one fires after those that try the existing sockets.
  context_->loop->AddTimer(context_->loop->Now().monotonic, [this, spec] {
    Of(spec).tried = true;
    CheckFirstScan();
  });
}

void SocketAttempts::CheckFirstScan() {
  for (size_t i = 1; i < directories_.size(); ++i) {
    const Directories& one = directories_[i];
    if (one.thread->hangs()) continue;
    if (!one.tried || one.under_way > 0) return;
  }
  first_scan_done_ = true;
}

}  // namespace vmeventd
