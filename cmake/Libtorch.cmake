# Defines the imported target `audiobookd::torch` and, where CUDA is built, enables the CUDA language.
#
# libtorch comes from the PyPI wheel `torch` (scripts/setup puts it into .deps/libtorch) or from
# -DLIBTORCH_ROOT=<site-packages/torch>. Its own TorchConfig.cmake is not used: it refuses to configure a
# CPU program against the CUDA wheel on a machine without the CUDA toolkit.

if(NOT LIBTORCH_ROOT)
  set(_local ${CMAKE_CURRENT_SOURCE_DIR}/.deps/libtorch/torch)
  if(EXISTS ${_local}/lib/libtorch.so)
    set(LIBTORCH_ROOT ${_local})
  else()
    execute_process(COMMAND python3 -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
                    OUTPUT_VARIABLE LIBTORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
if(NOT EXISTS "${LIBTORCH_ROOT}/lib/libtorch.so")
  message(FATAL_ERROR "libtorch not found: run `make setup`, or pass -DLIBTORCH_ROOT=<site-packages/torch>")
endif()
set(LIBTORCH_ROOT "${LIBTORCH_ROOT}" CACHE PATH "The torch package of a Python installation" FORCE)
get_filename_component(_site ${LIBTORCH_ROOT} DIRECTORY)

set(AUDIOBOOKD_WITH_CUDA OFF)
if(NOT AUDIOBOOKD_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a-real)
  endif()
  check_language(CUDA)
  # The wheel's CUDA libraries must be there too: `make setup` leaves them out where nvcc is missing.
  file(GLOB _cublas ${_site}/nvidia/cu13/lib/libcublas.so.13 ${_site}/nvidia/*/lib/libcublas.so.1*)
  if(CMAKE_CUDA_COMPILER AND _cublas AND EXISTS ${LIBTORCH_ROOT}/lib/libtorch_cuda.so)
    set(AUDIOBOOKD_WITH_CUDA ON)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    # CMake 3.25 does not know how to ask this nvcc for C++20.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  elseif(AUDIOBOOKD_CUDA STREQUAL "ON")
    message(FATAL_ERROR "AUDIOBOOKD_CUDA=ON, but nvcc or the CUDA libraries of libtorch are missing "
                        "(nvcc: ${CMAKE_CUDA_COMPILER}; libtorch: ${LIBTORCH_ROOT})")
  endif()
endif()
if(AUDIOBOOKD_WITH_CUDA)
  message(STATUS "audiobookd: CUDA build (nvcc ${CMAKE_CUDA_COMPILER_VERSION}, sm ${CMAKE_CUDA_ARCHITECTURES})")
else()
  message(STATUS "audiobookd: CPU build (no GPU code)")
endif()

add_library(audiobookd_torch INTERFACE)
add_library(audiobookd::torch ALIAS audiobookd_torch)
target_include_directories(audiobookd_torch SYSTEM INTERFACE ${LIBTORCH_ROOT}/include
                                                             ${LIBTORCH_ROOT}/include/torch/csrc/api/include)
target_link_directories(audiobookd_torch INTERFACE ${LIBTORCH_ROOT}/lib)
# at::parallel_for is inline and needs OpenMP; its runtime is the one that libtorch brings.
target_compile_options(audiobookd_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
file(GLOB _gomp ${LIBTORCH_ROOT}/lib/libgomp*.so*)
target_link_libraries(audiobookd_torch INTERFACE ${_gomp})
file(GLOB _nvidia_libs ${_site}/nvidia/*/lib ${_site}/cusparselt/lib)
foreach(_dir ${_nvidia_libs})
  target_link_options(audiobookd_torch INTERFACE -Wl,-rpath-link,${_dir})
endforeach()
target_link_options(audiobookd_torch INTERFACE -Wl,-rpath,${LIBTORCH_ROOT}/lib)
# libtorch.so exports parts of a libstdc++ of its own, among them a std::filesystem::remove_all that crashes: the
# system's library must come first in the order in which symbols are looked up.
target_link_libraries(audiobookd_torch INTERFACE -Wl,--no-as-needed stdc++ -Wl,--as-needed)
if(AUDIOBOOKD_WITH_CUDA)
  # libtorch_cuda registers its kernels when loaded, so it must be linked although nothing names its symbols.
  target_link_libraries(audiobookd_torch INTERFACE -Wl,--no-as-needed torch torch_cpu torch_cuda c10_cuda c10
                                                   -Wl,--as-needed CUDA::cudart)
  # The engine calls cuBLASLt itself: the very library that libtorch brings, so that there is one in the process.
  file(GLOB _cublaslt ${_site}/nvidia/cu13/lib/libcublasLt.so.13 ${_site}/nvidia/*/lib/libcublasLt.so.1*)
  list(GET _cublaslt 0 _cublaslt)
  get_filename_component(_cublas_dir ${_cublaslt} DIRECTORY)
  get_filename_component(_cublaslt ${_cublaslt} NAME)
  target_link_libraries(audiobookd_torch INTERFACE -L${_cublas_dir} -l:${_cublaslt} -Wl,-rpath,${_cublas_dir})
  target_compile_definitions(audiobookd_torch INTERFACE AUDIOBOOKD_WITH_CUDA=1)
else()
  # Not libtorch.so: it does nothing but need both libtorch_cpu and libtorch_cuda, and the latter's libraries may be
  # missing here.
  target_link_libraries(audiobookd_torch INTERFACE torch_cpu c10)
endif()
