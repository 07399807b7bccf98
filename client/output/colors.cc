#include "client/output/colors.h"

namespace vmeventd::client {

Color ColorOf(v1::VmState state) {
  switch (state) {
    case v1::VM_STATE_RUNNING:
      return Color::kGreen;
    case v1::VM_STATE_UNREACHABLE:
      return Color::kYellow;
    case v1::VM_STATE_STOPPED:
      return Color::kDim;
    default:
      return Color::kCyan;
  }
}

Color ColorOf(v1::ShutdownClass shutdown_class) {
  switch (shutdown_class) {
    case v1::SHUTDOWN_CLASS_USER:
      return Color::kGreen;
    case v1::SHUTDOWN_CLASS_ADMIN:
      return Color::kBlue;
    case v1::SHUTDOWN_CLASS_CRASH:
      return Color::kRed;
    case v1::SHUTDOWN_CLASS_UNKNOWN:
      return Color::kYellow;
    default:
      return Color::kNone;
  }
}

}  // namespace vmeventd::client
