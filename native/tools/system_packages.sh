#!/bin/sh
# Makes sure that what the build and the tests need from the system is there: installs it through
# apt when root, else says what to install.
set -eu

missing=""
need() { # need PACKAGE CHECK...: notes PACKAGE as missing when CHECK fails
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has_header() { echo "#include <$1>" | ${CXX:-g++} -x c++ -E - ; }
has_venv() { ${PYTHON:-python3} -c 'import ensurepip, venv'; }
has_python_headers() {
  ${PYTHON:-python3} -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}
has_jdk() { javac -version; }
has_maven() { mvn -version; }

need g++ sh -c "command -v ${CXX:-g++}"
need python3-venv has_venv
need python3-dev has_python_headers
need openjdk-17-jdk-headless has_jdk
need maven has_maven
if command -v "${CXX:-g++}" >/dev/null 2>&1; then
  need libprotozero-dev has_header protozero/pbf_reader.hpp
  need libgtest-dev has_header gtest/gtest.h
else
  missing="$missing libprotozero-dev libgtest-dev"
fi
# Not needed, but compile times on two cores are: only asked for where it is free to install.
optional=""
command -v ccache >/dev/null 2>&1 || optional="ccache"

[ -n "$missing$optional" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "== installing system packages:$missing $optional"
  # Lists may be old or absent on a fresh machine; a failing refresh shows in the install below.
  DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null 2>&1 || true
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    $missing $optional >/dev/null
elif [ -n "$missing" ]; then
  echo "These system packages are missing and this user cannot install them. As root, run:" >&2
  echo "  apt-get install$missing" >&2
  exit 1
fi
