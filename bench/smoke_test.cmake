# A ctest of one benchmark on the CPU: run as `cmake -DBENCH=… -DBENCHMARK=… -DMAKE_CHECKPOINT=… -DFOLDER=… -P`.
# Fails unless the last line printed is JSON with the figures that are promised and the trace is JSON with events.
if(NOT BENCHMARK STREQUAL "book") # whose work is done elsewhere
  set(_profile --profile ${FOLDER}/trace.json --profile-seconds 1)
endif()
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
execute_process(COMMAND ${MAKE_CHECKPOINT} --preset tiny --out ${FOLDER}/tiny OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${BENCH} ${BENCHMARK} --checkpoint ${FOLDER}/tiny --utterances 1 --threads 1 --cfm-steps 1
                        ${_profile}
                OUTPUT_VARIABLE _printed COMMAND_ERROR_IS_FATAL ANY)
string(STRIP "${_printed}" _printed)
string(REGEX MATCH "[^\n]*$" _line "${_printed}")

# Fails unless the line has a number above zero at this path.
function(expect_positive)
  string(JSON _value ERROR_VARIABLE _error GET "${_line}" ${ARGN})
  if(_error OR NOT _value GREATER 0)
    message(FATAL_ERROR "${BENCHMARK}: expected a positive ${ARGN} in: ${_line} ${_error}")
  endif()
endfunction()
expect_positive(times_real_time)
expect_positive(resources cpu_cores_used)
expect_positive(resources peak_rss_gb)
if(BENCHMARK STREQUAL "decode")
  expect_positive(work weight_gb)
  expect_positive(work own_kv_gb)
  expect_positive(roofline copy_gb_per_second)
  expect_positive(roofline matmul_tflop_per_second)
  expect_positive(roofline share_of_roofline)
endif()

if(_profile)
  file(READ ${FOLDER}/trace.json _trace)
  string(JSON _num_events LENGTH "${_trace}" traceEvents)
  if(NOT _trace MATCHES "\"cat\": *\"cpu_op\"" OR _num_events LESS 100)
    message(FATAL_ERROR "${BENCHMARK}: the trace holds ${_num_events} events, or no operators")
  endif()
endif()
file(REMOVE_RECURSE ${FOLDER})
