// For AddressSanitizer and an Abseil that is built without it, as Debian 13's is: Abseil's headers,
// compiled here, poison the free slots of a table, and its library, which fills them, never takes
// that back.

extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allow_user_poisoning=0"; }
