#pragma once

#include <curl/curl.h>

#include "absl/status/status.h"
#include "base/shared_library.h"

// libcurl, loaded when a push needs it: it brings 26 libraries, which every command would load.

namespace vmeventd::client {

// The library's functions in use.
#define VMEVENTD_CURL_FUNCTIONS(F) \
  F(curl_easy_cleanup)             \
  F(curl_easy_getinfo)             \
  F(curl_easy_header)              \
  F(curl_easy_init)                \
  F(curl_easy_setopt)              \
  F(curl_easy_strerror)            \
  F(curl_free)                     \
  F(curl_global_init)              \
  F(curl_multi_add_handle)         \
  F(curl_multi_cleanup)            \
  F(curl_multi_info_read)          \
  F(curl_multi_init)               \
  F(curl_multi_perform)            \
  F(curl_multi_poll)               \
  F(curl_multi_remove_handle)      \
  F(curl_multi_wakeup)             \
  F(curl_slist_append)             \
  F(curl_slist_free_all)           \
  F(curl_url)                      \
  F(curl_url_cleanup)              \
  F(curl_url_get)                  \
  F(curl_url_set)

struct CurlFunctions {
  VMEVENTD_CURL_FUNCTIONS(VMEVENTD_FUNCTION_MEMBER)
};

// Loads and initialises the library by the first call, which precedes any other thread.
// FAILED_PRECONDITION: it is missing, and names the package to install.
const absl::Status& LoadCurl();
// Filled by LoadCurl(), and constant from then on.
const CurlFunctions& Curl();

// Deleter of the library's objects.
struct CurlFree {
  void operator()(char* text) const { Curl().curl_free(text); }
  void operator()(CURLU* url) const { Curl().curl_url_cleanup(url); }
  void operator()(curl_slist* list) const { Curl().curl_slist_free_all(list); }
};

}  // namespace vmeventd::client
