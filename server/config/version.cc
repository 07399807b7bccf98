#include "server/config/version.h"

namespace vmeventd {

const char kVersion[] = VMEVENTD_VERSION;

}  // namespace vmeventd
