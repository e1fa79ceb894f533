# Sets `out` to the architectures of this machine's GPUs, as in 90-real, from what the driver's tool says; empty where there
# is none. CMake's own "native" is known from 3.24 on only.
function(gyrus_gpu_architectures out)
  execute_process(
    COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE said
    RESULT_VARIABLE status
    ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(found "")
  if(status STREQUAL "0")
    string(REGEX MATCHALL "[0-9]+\\.[0-9]+" capabilities "${said}")
    list(REMOVE_DUPLICATES capabilities)
    foreach(capability ${capabilities})
      string(REPLACE "." "" number "${capability}")
      list(APPEND found "${number}-real")
    endforeach()
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()
