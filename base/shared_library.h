#pragma once

#include <initializer_list>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// A function of a library, and where to store its address.
struct LibraryFunction {
  const char* name;
  void** address;
};

// Loads a shared library, which the system's loader finds by its name, and finds its functions.
// Both stay valid until the process ends. FAILED_PRECONDITION: the library or a function is
// missing; the message contains `advice`, which tells what to install.
absl::StatusOr<void*> LoadSharedLibrary(const char* file, absl::string_view advice,
                                        std::initializer_list<LibraryFunction> functions = {});

// Members of a struct of functions: VMEVENTD_FUNCTION_MEMBER(curl_easy_init).
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration takes none.
#define VMEVENTD_FUNCTION_MEMBER(name) decltype(&::name) name = nullptr;
// One LibraryFunction for a member of `functions`, an object of such a struct, and a comma.
#define VMEVENTD_FUNCTION_ENTRY(name) {#name, reinterpret_cast<void**>(&functions.name)},

// A function of a loaded library that was not named to LoadSharedLibrary(): the program is built
// for this version of the library, which has it. VMEVENTD_FUNCTION_OF(libcurl, curl_easy_init)().
void* FindFunction(void* library, const char* name);
#define VMEVENTD_FUNCTION_OF(library, name)                                \
  ([] {                                                                    \
    static auto* const vmeventd_function =                                 \
        reinterpret_cast<decltype(&::name)>(FindFunction(library, #name)); \
    return vmeventd_function;                                              \
  }())

}  // namespace vmeventd
