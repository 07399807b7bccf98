# Headers that nearly every source of the watcher includes; the sources reuse them from this target.
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/precompiled.cc CONTENT "")
add_library(vmeventd_watcher_precompiled STATIC ${CMAKE_CURRENT_BINARY_DIR}/precompiled.cc)
target_link_libraries(vmeventd_watcher_precompiled
  PRIVATE absl::flat_hash_map absl::statusor absl::strings absl::time
          nlohmann_json::nlohmann_json spdlog::spdlog vmeventd_contract Threads::Threads vmeventd_flags)
target_precompile_headers(vmeventd_watcher_precompiled PRIVATE
  <absl/container/flat_hash_map.h> <absl/status/statusor.h> <absl/strings/str_cat.h>
  <absl/time/time.h> <nlohmann/json.hpp> <spdlog/spdlog.h> <vmeventd/v1/vm_events.pb.h>)

# Covers targets that do not link spdlog: GCC compares the definitions.
function(vmeventd_watcher_precompiled_headers name)
  target_compile_definitions(${name} PRIVATE
    $<TARGET_PROPERTY:spdlog::spdlog,INTERFACE_COMPILE_DEFINITIONS>)
  target_precompile_headers(${name} REUSE_FROM vmeventd_watcher_precompiled)
endfunction()
