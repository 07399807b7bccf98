#include "tests/support/programs.h"

#include <cstdlib>
#include <filesystem>

namespace vmeventd::e2e {
namespace {

constexpr char kFolder[] = "VMEVENTD_PROGRAMS";

}  // namespace

std::string ProgramPath(const std::string& name) {
  const char* const folder = std::getenv(kFolder);
  if (folder == nullptr) return TestProgramPath(name);
  return std::filesystem::absolute(folder) / name;
}

std::string TestProgramPath(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

std::string CopyProgram(const std::string& directory) {
  const std::string copy = directory + "/vmeventd";
  std::filesystem::copy_file(ProgramPath("vmeventd"), copy);
  std::filesystem::permissions(copy, std::filesystem::perms(0755));
  return copy;
}

bool ProgramsAreSanitized() {
#ifdef VMEVENTD_SANITIZED
  return std::getenv(kFolder) == nullptr;
#else
  return false;
#endif
}

}  // namespace vmeventd::e2e
