#pragma once

#include "base/rare.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The steps that precede a run's STOPPED: first its shutdown file, which the evidence may decide
// before the process is gone, then QEMU's last words. Each is requested at most once for an end,
// and STOPPED waits for its answer. Pure.
class EndSteps {
 public:
  // Call it when the process is gone, or ended with its host.
  void OnGone() {
    gone_ = true;
    facts_.emplace();
  }
  bool gone() const { return gone_; }
  // Last words, numbers and core of a run that is gone, as far as they are known; null: it is not
  // gone.
  v1::ShutdownDetail* facts() { return facts_.get(); }
  const v1::ShutdownDetail* facts() const { return facts_.get(); }

  // Returns whether an answer is due, for which STOPPED waits.
  bool waits() const { return file_requested() || words_ == Step::kRequested; }

  bool file_due() const { return file_ == Step::kUndone; }
  bool file_requested() const { return file_ == Step::kRequested; }
  void RequestFile() { file_ = Step::kRequested; }
  // The file's creation or removal was tried, or was not to be. Returns whether it was this step;
  // false: the file of a supposed end was taken back. A step that `failed` before the process is
  // gone is due again then: the disk may have room by then.
  bool OnFileDone(bool failed) {
    if (!file_requested()) return false;
    file_ = failed && !gone_ ? Step::kUndone : Step::kDone;
    return true;
  }
  // Call it when the VM lives on: the file is due again at its next end, and an answer that is on
  // its way no longer counts.
  void OnVmRevived() { file_ = Step::kUndone; }

  bool words_due() const { return words_ == Step::kUndone; }
  void RequestWords() { words_ = Step::kRequested; }
  // Takes over what was read. Returns whether it was waited for.
  bool OnWordsRead(const v1::ShutdownDetail& read) {
    if (words_ != Step::kRequested) return false;
    words_ = Step::kDone;
    facts_->MergeFrom(read);
    return true;
  }

 private:
  enum class Step { kUndone, kRequested, kDone };

  bool gone_ = false;
  Step file_ = Step::kUndone;
  Step words_ = Step::kUndone;
  Rare<v1::ShutdownDetail> facts_;
};

}  // namespace vmeventd
