#pragma once

namespace vmeventd {

// The form of log lines.
enum class LogFormat { kText, kJson };

}  // namespace vmeventd
