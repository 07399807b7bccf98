// Code that ThreadSanitizer cannot see, because Debian's Abseil is not compiled for it.

// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name for it
extern "C" const char* __tsan_default_suppressions() {
  // The table of errors' names is made once, under a lock of the compiler's.
  return "race:base_internal::StrError\n";
}
