# Writes OUT, in which each suite of the GoogleTest program PROGRAM is one ctest test:
#
#   cmake -D PROGRAM=FILE -D OUT=FILE -D PROPERTIES=LIST -D EXCLUSIVE=REGEX -P discover_suites.cmake
#
# Tests that take a millisecond would otherwise take the time of their program's start.
execute_process(COMMAND ${PROGRAM} --gtest_list_tests
  OUTPUT_VARIABLE listed COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "\\;" listed "${listed}")
string(REPLACE "\n" ";" lines "${listed}")
set(tests "")
foreach(line IN LISTS lines)
  if(line MATCHES "^([A-Za-z0-9_/]+)\\.( |$)")
    set(suite ${CMAKE_MATCH_1})
    string(APPEND tests "add_test(${suite} ${PROGRAM} --gtest_filter=${suite}.*)\n"
      "set_tests_properties(${suite} PROPERTIES ${PROPERTIES})\n")
    if(EXCLUSIVE AND suite MATCHES "^(${EXCLUSIVE})$")
      string(APPEND tests "set_tests_properties(${suite} PROPERTIES RESOURCE_LOCK exclusive)\n")
    endif()
  endif()
endforeach()
if(NOT tests)
  message(FATAL_ERROR "${PROGRAM} lists no suite")
endif()
file(WRITE ${OUT} "${tests}")
