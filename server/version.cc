#include "server/version.h"

namespace vmeventd {

const char kVersion[] = VMEVENTD_VERSION;

}  // namespace vmeventd
