# Debian's hardening flags, and binding of all symbols at start. Only in optimised builds without
# sanitizers: fortified functions need optimisation and disturb sanitizers.
if(CMAKE_BUILD_TYPE MATCHES "^(Release|RelWithDebInfo)$" AND NOT VMEVENTD_SANITIZE)
  add_compile_definitions(_FORTIFY_SOURCE=2)
  add_compile_options(-fPIE -fstack-protector-strong -fstack-clash-protection)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    add_compile_options(-fcf-protection)
  endif()
  add_link_options(-pie -Wl,-z,relro,-z,now)
endif()
