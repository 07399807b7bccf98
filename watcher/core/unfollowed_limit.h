#pragma once

namespace vmeventd {

// Maximum number of unfollowed sockets that GetServerInfo lists.
inline constexpr int kMaxUnfollowed = 1000;

}  // namespace vmeventd
