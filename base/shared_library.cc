#include "base/shared_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace vmeventd {

absl::StatusOr<void*> LoadSharedLibrary(const char* file, absl::string_view advice,
                                        std::initializer_list<LibraryFunction> functions) {
  const auto missing = [&] {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " is missing (", dlerror(), "): ", advice));
  };
  void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return missing();
  for (const LibraryFunction& function : functions) {
    *function.address = dlsym(library, function.name);
    if (*function.address == nullptr) return missing();
  }
  return library;
}

void* FindFunction(void* library, const char* name) {
  void* const function = dlsym(library, name);
  if (function == nullptr) std::abort();
  return function;
}

}  // namespace vmeventd
