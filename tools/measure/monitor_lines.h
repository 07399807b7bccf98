#pragma once

namespace vmeventd::bench {

// Lines of a VM's monitor: the greeting, two lines that each cause one event, and the last one
// before its end.
inline constexpr char kGreetingLine[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
    "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
inline constexpr char kStopLine[] =
    "{\"timestamp\": {\"seconds\": 1790000000, \"microseconds\": 123456}, \"event\": \"STOP\"}\r\n";
inline constexpr char kResumeLine[] =
    "{\"timestamp\": {\"seconds\": 1790000000, \"microseconds\": 123456}, \"event\": "
    "\"RESUME\"}\r\n";
inline constexpr char kShutdownLine[] =
    "{\"timestamp\": {\"seconds\": 1790000000, \"microseconds\": 0}, \"event\": \"SHUTDOWN\", "
    "\"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}\r\n";

}  // namespace vmeventd::bench
