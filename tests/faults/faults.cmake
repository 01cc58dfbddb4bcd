# Faults: real processes of the daemon with a fake engine, killed, stopped and cut off.
#
# audiobookd-fake is the whole program, but instead of the engine's library it links tests/faults/programs/fake_engine.cpp: it
# needs no libtorch and starts in milliseconds. Never installed.
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
pkg_check_modules(FAULTS_SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)
add_executable(audiobookd-fake ${PROJECT_SOURCE_DIR}/daemon/main.cpp faults/programs/fake_engine.cpp)
target_include_directories(audiobookd-fake PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(audiobookd-fake PRIVATE AUDIOBOOKD_VERSION="${PROJECT_VERSION}")
# The libraries' files alone: what they link themselves is libtorch. Of the engine's only hashes are taken.
target_link_libraries(
  audiobookd-fake
  PRIVATE $<TARGET_FILE:audiobookd_daemon>
          $<TARGET_FILE:audiobookd_ctl>
          $<TARGET_FILE:audiobookd_engine>
          audiobookd::jobs
          audiobookd::storage
          PkgConfig::FAULTS_SYSTEMD
          spdlog::spdlog
          CLI11::CLI11
          Threads::Threads
          audiobookd_warnings)
add_dependencies(audiobookd-fake audiobookd_daemon audiobookd_ctl audiobookd_engine audiobook-clip-decoder)

add_library(clock_shim MODULE faults/programs/clock_shim.cpp)
target_link_libraries(clock_shim PRIVATE audiobookd_warnings)

# What the tests and the programs below share.
file(GLOB _harness CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/faults/*.cpp)
list(FILTER _harness EXCLUDE REGEX "_test\\.cpp$")
add_library(faults_harness STATIC ${_harness} daemon/process.cpp jobs/redis_fixture.cpp storage/s3/fake_s3.cpp)
target_include_directories(faults_harness PUBLIC ${PROJECT_SOURCE_DIR})
target_link_libraries(faults_harness PUBLIC audiobookd::jobs audiobookd::storage spdlog::spdlog
                                            nlohmann_json::nlohmann_json GTest::gtest
                                     PRIVATE audiobookd_warnings)
target_compile_definitions(faults_harness PUBLIC AUDIOBOOKD_PROGRAM="$<TARGET_FILE:audiobookd>"
                                                 AUDIOBOOKD_FAKE_PROGRAM="$<TARGET_FILE:audiobookd-fake>"
                                                 AUDIOBOOKCTL_PROGRAM="$<TARGET_FILE:audiobookctl>"
                                                 AUDIOBOOKD_CLOCK_SHIM="$<TARGET_FILE:clock_shim>"
                                                 AUDIOBOOKD_MAKE_CHECKPOINT="$<TARGET_FILE:make-checkpoint>"
                                                 AUDIOBOOKD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
add_dependencies(faults_harness audiobookd audiobookctl audiobookd-fake clock_shim make-checkpoint)

audiobookd_test_room(faults LIBRARIES faults_harness)

foreach(_program chaos recovery)
  add_executable(audiobook-${_program} faults/programs/${_program}.cpp)
  target_link_libraries(audiobook-${_program} PRIVATE faults_harness CLI11::CLI11 audiobookd_warnings)
endforeach()
# A short one every time; `make chaos` runs a long one. The seed is fixed: another one is another test.
add_test(NAME faults.Chaos COMMAND audiobook-chaos --seconds 30 --workers 8 --seed 1)
set_tests_properties(faults.Chaos PROPERTIES LABELS fault TIMEOUT 900 ENVIRONMENT OMP_NUM_THREADS=1 PROCESSORS 2)
