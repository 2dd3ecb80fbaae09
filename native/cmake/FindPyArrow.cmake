# libarrow and libarrow_flight out of the installed pyarrow wheel. The wheel has no unversioned
# .so links, so the libraries are named in full; run time must see the same major (checked at
# import by flightbridge/_native).
execute_process(
  COMMAND
    ${Python_EXECUTABLE} -c
    "import os, pyarrow as pa; print(';'.join([os.path.dirname(pa.__file__), pa.__version__, pa.get_include(), '%d%02d' % (pa.cpp_version_info.major, pa.cpp_version_info.minor)]))"
  OUTPUT_VARIABLE pyarrow_facts
  OUTPUT_STRIP_TRAILING_WHITESPACE
  RESULT_VARIABLE pyarrow_failed)
if(pyarrow_failed)
  message(FATAL_ERROR "pyarrow cannot be imported by ${Python_EXECUTABLE}: pip install pyarrow")
endif()
list(GET pyarrow_facts 0 PYARROW_DIR)
list(GET pyarrow_facts 1 PYARROW_VERSION)
list(GET pyarrow_facts 2 PYARROW_INCLUDE_DIR)
list(GET pyarrow_facts 3 PYARROW_SOVERSION)
message(STATUS "pyarrow ${PYARROW_VERSION} in ${PYARROW_DIR}")

foreach(part arrow arrow_flight arrow_python)
  string(REPLACE "arrow_flight" "flight" target ${part})
  add_library(pyarrow::${target} SHARED IMPORTED)
  set(file ${PYARROW_DIR}/lib${part}.so.${PYARROW_SOVERSION})
  if(NOT EXISTS ${file})
    message(FATAL_ERROR "${file} is missing: this pyarrow is not a wheel with bundled libraries; "
                        "pip install --force-reinstall pyarrow==${PYARROW_VERSION}")
  endif()
  set_target_properties(pyarrow::${target} PROPERTIES
    IMPORTED_LOCATION ${file}
    INTERFACE_INCLUDE_DIRECTORIES ${PYARROW_INCLUDE_DIR})
endforeach()
target_link_libraries(pyarrow::flight INTERFACE pyarrow::arrow)

# Build tree: tests run against the wheel where it is. Installed: beside pyarrow in site-packages.
set(CMAKE_BUILD_RPATH ${PYARROW_DIR})
set(CMAKE_INSTALL_RPATH "$ORIGIN;$ORIGIN/../../pyarrow")
