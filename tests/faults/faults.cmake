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
          $<TARGET_FILE:audiobookd_engine>
          audiobookd::jobs
          audiobookd::storage
          PkgConfig::FAULTS_SYSTEMD
          spdlog::spdlog
          CLI11::CLI11
          Threads::Threads
          audiobookd_warnings)
add_dependencies(audiobookd-fake audiobookd_daemon audiobookd_engine audiobook-clip-decoder)

audiobookd_test_room(faults LIBRARIES audiobookd::jobs audiobookd::storage spdlog::spdlog)
target_sources(tests_faults PRIVATE daemon/process.cpp jobs/redis_fixture.cpp)
target_compile_definitions(tests_faults PRIVATE AUDIOBOOKD_PROGRAM="$<TARGET_FILE:audiobookd>"
                                                AUDIOBOOKD_FAKE_PROGRAM="$<TARGET_FILE:audiobookd-fake>")
add_dependencies(tests_faults audiobookd audiobookd-fake)
