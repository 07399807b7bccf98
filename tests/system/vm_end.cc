#include "tests/system/vm_end.h"

#include "gtest/gtest.h"

namespace vmeventd::e2e {

void ExpectEnd(const v1::Event& stopped, const VmEnd& end) {
  const v1::ShutdownDetail& is = stopped.shutdown();
  EXPECT_EQ(v1::ShutdownClass_Name(is.shutdown_class()), v1::ShutdownClass_Name(end.shutdown_class))
      << stopped.vm().name() << ": " << stopped.message();
  EXPECT_EQ(v1::ShutdownCause_Name(is.cause()), v1::ShutdownCause_Name(end.cause))
      << stopped.vm().name() << ": " << stopped.message();
}

std::vector<std::string> EvidenceOf(const v1::Event& stopped) {
  std::vector<std::string> what;
  for (const v1::Evidence& entry : stopped.shutdown().evidence()) what.push_back(entry.what());
  return what;
}

}  // namespace vmeventd::e2e
