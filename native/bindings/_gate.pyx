# distutils: language = c++
"""Listening, tokens and message sizes, for servers that are written in Python."""

from libc.stdint cimport int64_t
from libcpp cimport bool as c_bool
from libcpp.memory cimport unique_ptr
from libcpp.string cimport string
from pyarrow.includes.common cimport CStatus

from flightbridge import errors


cdef extern from * namespace "flightbridge" nogil:
    """
    #include "flightbridge/error.h"
    #include "flightbridge/gate.h"

    namespace {
    int StatusCode(const arrow::Status& status) {
      return static_cast<int>(flightbridge::CodeOf(status));
    }
    // Fills `gate` where the status is OK.
    arrow::Status OpenGate(const flightbridge::GateOptions& options,
                           std::unique_ptr<flightbridge::Gate>* gate) {
      auto opened = flightbridge::Gate::Open(options);
      if (opened.ok()) *gate = *std::move(opened);
      return opened.status();
    }
    }  // namespace
    """
    int StatusCode "StatusCode"(const CStatus&)

    cdef cppclass CGateOptions "flightbridge::GateOptions":
        string host
        int port
        c_bool tls
        string token_file
        c_bool insecure

    cdef cppclass CGate "flightbridge::Gate":
        CStatus Admit(const string&, const string&)

    CStatus OpenGate "OpenGate"(const CGateOptions&, unique_ptr[CGate]*)
    void LimitIpcMessages "flightbridge::LimitIpcMessages"(int64_t)


cdef _check(const CStatus& status):
    if not status.ok():
        raise errors.from_code(StatusCode(status), status.message().decode("utf-8", "replace"))


def limit_ipc_messages(int64_t max_bytes):
    """No IPC message that this thread opens from now on may be larger, decompressed."""
    LimitIpcMessages(max_bytes)


cdef class NativeGate:
    cdef unique_ptr[CGate] _gate

    def __cinit__(self, str host, int port, bint tls, str token_file, bint insecure):
        cdef CGateOptions options
        cdef CStatus status
        options.host = host.encode()
        options.port = port
        options.tls = tls
        options.token_file = token_file.encode("utf-8", "surrogateescape")
        options.insecure = insecure
        with nogil:
            status = OpenGate(options, &self._gate)
        _check(status)

    def admit(self, str authorization, str name):
        cdef string header = authorization.encode("utf-8", "surrogateescape")
        cdef string what = name.encode()
        cdef CStatus status
        with nogil:
            status = self._gate.get().Admit(header, what)
        _check(status)
