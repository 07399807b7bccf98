#pragma once

#include <string>

namespace vmeventd::e2e {

// Path of a program under test, "vmeventd" or "vmevents": in the folder that the environment
// variable VMEVENTD_PROGRAMS names, otherwise in the folder of the running test program.
std::string ProgramPath(const std::string& name);

// Path of a program that only tests use: always in the folder of the running test program.
std::string TestProgramPath(const std::string& name);

// Makes a copy of vmeventd in `directory` that every user can execute, even if the build tree is
// not accessible. Returns its path.
std::string CopyProgram(const std::string& directory);

// Returns whether the programs under test are built with a sanitizer, which makes them slower and
// larger: this test program is sanitized, and they are in its folder.
bool ProgramsAreSanitized();

}  // namespace vmeventd::e2e
