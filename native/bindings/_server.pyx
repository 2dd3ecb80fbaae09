# distutils: language = c++
"""The native server. Use :class:`flightbridge.Server`; this module only converts."""

from libc.stdint cimport int64_t
from libcpp cimport bool as c_bool
from libcpp.memory cimport unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector
from pyarrow.includes.common cimport CStatus

from flightbridge import errors


cdef extern from "<chrono>" namespace "std::chrono" nogil:
    cdef cppclass milliseconds:
        milliseconds(int64_t)


cdef extern from * namespace "flightbridge" nogil:
    """
    #include "flightbridge/error.h"
    #include "flightbridge/proto/commands.h"
    #include "flightbridge/server.h"

    namespace {
    int StatusCode(const arrow::Status& status) {
      return static_cast<int>(flightbridge::CodeOf(status));
    }
    // False leaves `server` alone and fills `status`.
    bool StartServer(const flightbridge::ServerOptions& options,
                     std::unique_ptr<flightbridge::Server>* server, arrow::Status* status) {
      auto started = flightbridge::Server::Start(options);
      *status = started.status();
      if (started.ok()) *server = *std::move(started);
      return status->ok();
    }
    arrow::Status StatusFor(const flightbridge::Server& server, const std::string& authorization,
                            std::string* out) {
      auto status = server.StatusFor(authorization);
      if (status.ok()) *out = status->Encode();
      return status.status();
    }
    arrow::Status FeedsFor(const flightbridge::Server& server, const std::string& authorization,
                           std::vector<std::string>* out) {
      auto feeds = server.FeedsFor(authorization);
      if (!feeds.ok()) return feeds.status();
      for (const auto& feed : *feeds) out->push_back(feed.Encode());
      return arrow::Status::OK();
    }
    }  // namespace
    """
    int StatusCode "StatusCode"(const CStatus&)

    cdef cppclass ProtoFeedInfo "flightbridge::proto::FeedInfo":
        string Encode() const

    cdef cppclass ProtoServerStatus "flightbridge::proto::ServerStatus":
        string Encode() const

    cdef cppclass CServerOptions "flightbridge::ServerOptions":
        string host
        int port
        string data_dir
        int64_t memory_limit_bytes
        int64_t spill_limit_bytes
        milliseconds put_wait
        milliseconds job_ttl
        int64_t max_batch_bytes
        int64_t max_streams
        int64_t max_feeds
        string token_file
        string tls_cert
        string tls_key
        string tls_client_ca
        string peers
        string peer_token_file
        string peer_tls_ca
        int data_port
        c_bool insecure

    cdef cppclass CServer "flightbridge::Server":
        string host()
        int port()
        string uri()
        ProtoServerStatus status()
        vector[ProtoFeedInfo] feeds()
        CStatus Stop(milliseconds)

    c_bool ChecksIncomingIpc "flightbridge::ChecksIncomingIpc"()
    c_bool StartServer "StartServer"(const CServerOptions&, unique_ptr[CServer]*, CStatus*)
    CStatus StatusFor "StatusFor"(const CServer&, const string&, string*)
    CStatus FeedsFor "FeedsFor"(const CServer&, const string&, vector[string]*)


def checks_incoming_ipc():
    """Whether messages from outside are checked before Arrow decodes them."""
    return ChecksIncomingIpc()


cdef object _error(const CStatus& status):
    return errors.from_code(StatusCode(status), status.message().decode("utf-8", "replace"))


cdef class NativeServer:
    cdef unique_ptr[CServer] _server

    def __cinit__(self, str host, int port, str data_dir, int64_t memory_limit_bytes,
                  int64_t spill_limit_bytes, int64_t put_wait_ms, int64_t job_ttl_ms,
                  int64_t max_batch_bytes, int64_t max_streams, int64_t max_feeds, str token_file, tls, peers,
                  bint insecure, int data_port):
        cdef CServerOptions options
        cdef CStatus status
        cdef c_bool started
        options.host = host.encode()
        options.port = port
        options.data_dir = data_dir.encode("utf-8", "surrogateescape")
        options.memory_limit_bytes = memory_limit_bytes
        options.spill_limit_bytes = spill_limit_bytes
        options.put_wait = milliseconds(put_wait_ms)
        options.job_ttl = milliseconds(job_ttl_ms)
        options.max_batch_bytes = max_batch_bytes
        options.max_streams = max_streams
        options.max_feeds = max_feeds
        options.token_file = token_file.encode("utf-8", "surrogateescape")
        options.tls_cert, options.tls_key, options.tls_client_ca = [
            path.encode("utf-8", "surrogateescape") for path in tls]
        options.peers, options.peer_token_file, options.peer_tls_ca = [
            text.encode("utf-8", "surrogateescape") for text in peers]
        options.insecure = insecure
        options.data_port = data_port
        with nogil:
            started = StartServer(options, &self._server, &status)
        if not started:
            raise _error(status)

    def __dealloc__(self):
        with nogil:
            self._server.reset()

    @property
    def host(self):
        return self._server.get().host().decode()

    @property
    def port(self):
        return self._server.get().port()

    @property
    def uri(self):
        return self._server.get().uri().decode()

    def status(self):
        cdef string encoded
        with nogil:
            encoded = self._server.get().status().Encode()
        return <bytes>encoded

    def feeds(self):
        cdef vector[string] encoded
        cdef vector[ProtoFeedInfo] found
        cdef size_t i
        with nogil:
            found = self._server.get().feeds()
            for i in range(found.size()):
                encoded.push_back(found[i].Encode())
        return [<bytes>item for item in encoded]

    def status_for(self, str authorization):
        cdef string header = authorization.encode("utf-8", "surrogateescape")
        cdef string encoded
        cdef CStatus status
        with nogil:
            status = StatusFor(self._server.get()[0], header, &encoded)
        if not status.ok():
            raise _error(status)
        return <bytes>encoded

    def feeds_for(self, str authorization):
        cdef string header = authorization.encode("utf-8", "surrogateescape")
        cdef vector[string] encoded
        cdef CStatus status
        with nogil:
            status = FeedsFor(self._server.get()[0], header, &encoded)
        if not status.ok():
            raise _error(status)
        return [<bytes>item for item in encoded]

    def stop(self, int64_t grace_ms):
        cdef CStatus status
        with nogil:
            status = self._server.get().Stop(milliseconds(grace_ms))
        if not status.ok():
            raise _error(status)
