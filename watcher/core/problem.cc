#include "watcher/core/problem.h"

namespace vmeventd {

v1::Problem ToProto(const Problem& problem) {
  v1::Problem out;
  out.set_code(ToProto(problem.code));
  out.set_text(problem.text);
  return out;
}

}  // namespace vmeventd
