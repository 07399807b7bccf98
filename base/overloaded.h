#pragma once

namespace vmeventd {

// Visits a variant with a lambda for each of its types.
template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace vmeventd
