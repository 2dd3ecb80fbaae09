# Compiles proto/ for C++ (our structs over protozero) and for Python (grpcio-tools), and writes
# the facts of this build that flightbridge/_native checks at import.
find_path(PROTOZERO_INCLUDE_DIR protozero/pbf_reader.hpp)
if(NOT PROTOZERO_INCLUDE_DIR)
  message(FATAL_ERROR "protozero headers are missing: apt-get install libprotozero-dev")
endif()
include_directories(SYSTEM ${PROTOZERO_INCLUDE_DIR})

set(proto_root ${CMAKE_SOURCE_DIR}/proto)
set(commands ${proto_root}/flightbridge/v1/commands.proto)
set(journal ${proto_root}/flightbridge/v1/journal.proto) # C++ only
set(coordinator ${proto_root}/flightbridge/v1/coordinator.proto)
set(FB_GENERATED_DIR ${CMAKE_BINARY_DIR}/generated)
set(FB_GENERATED_PYTHON_DIR ${CMAKE_BINARY_DIR}/generated_python)
set(messages_header ${FB_GENERATED_DIR}/flightbridge/proto/commands.h)
set(messages_py ${FB_GENERATED_PYTHON_DIR}/flightbridge/v1/commands_pb2.py)

add_custom_command(
  OUTPUT ${messages_header}
  COMMAND ${Python_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/tools/gen_messages.py
          ${messages_header} ${proto_root} flightbridge/v1/commands.proto
          flightbridge/v1/journal.proto
  DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tools/gen_messages.py ${commands} ${journal}
  COMMENT "Compiling proto/ for C++")
file(MAKE_DIRECTORY ${FB_GENERATED_PYTHON_DIR}/flightbridge/v1)
file(WRITE ${FB_GENERATED_PYTHON_DIR}/flightbridge/v1/__init__.py
     "\"\"\"Control messages of the FlightBridge protocol, generated from proto/flightbridge/v1.\"\"\"\n")
add_custom_command(
  OUTPUT ${messages_py}
  COMMAND ${Python_EXECUTABLE} -m grpc_tools.protoc -I${proto_root}
          --python_out=${FB_GENERATED_PYTHON_DIR} --pyi_out=${FB_GENERATED_PYTHON_DIR}
          --grpc_python_out=${FB_GENERATED_PYTHON_DIR}
          flightbridge/v1/commands.proto flightbridge/v1/coordinator.proto
  COMMAND ${CMAKE_COMMAND} -E rm -f
          ${FB_GENERATED_PYTHON_DIR}/flightbridge/v1/commands_pb2_grpc.py
  DEPENDS ${commands} ${coordinator}
  COMMENT "Compiling proto/ for Python")
add_custom_target(fb_messages ALL DEPENDS ${messages_header} ${messages_py})

set(FB_BUILD_INFO ${CMAKE_BINARY_DIR}/_build_info.py)
file(GENERATE OUTPUT ${FB_BUILD_INFO} CONTENT
"\"\"\"Facts of the build, written by CMake.\"\"\"

VERSION = \"${PROJECT_VERSION}\"
PYARROW_VERSION = \"${PYARROW_VERSION}\"
COMPILER = \"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\"
BUILD_TYPE = \"${CMAKE_BUILD_TYPE}\"
SANITIZE = \"${FB_SANITIZE}\"
")
