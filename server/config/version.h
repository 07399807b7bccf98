#ifndef VMEVENTD_SERVER_CONFIG_VERSION_H_
#define VMEVENTD_SERVER_CONFIG_VERSION_H_

namespace vmeventd {

// The project's version in the top CMakeLists.txt.
extern const char kVersion[];

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_CONFIG_VERSION_H_
