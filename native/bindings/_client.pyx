# distutils: language = c++
"""The native client. Use :func:`flightbridge.connect`; this module only converts."""

from cpython.exc cimport PyErr_SetObject
from libc.stdint cimport int32_t, int64_t
from libcpp cimport bool as c_bool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector
from pyarrow.includes.common cimport CResult, CStatus
from pyarrow.includes.libarrow cimport CRecordBatch, CRecordBatchReader, CSchema
from pyarrow.lib cimport (
    RecordBatchReader,
    pyarrow_unwrap_batch,
    pyarrow_unwrap_schema,
    pyarrow_wrap_schema,
)

from flightbridge import errors


cdef extern from "flightbridge/proto/commands.h" namespace "flightbridge::proto" nogil:
    cdef cppclass ProtoFeedInfo "flightbridge::proto::FeedInfo":
        pass
    cdef cppclass ProtoServerStatus "flightbridge::proto::ServerStatus":
        pass
    cdef cppclass ProtoPutResult "flightbridge::proto::PutResult":
        pass


cdef extern from "<chrono>" namespace "std::chrono" nogil:
    cdef cppclass milliseconds:
        milliseconds(int64_t)


cdef extern from "flightbridge/client.h" namespace "flightbridge" nogil:
    cdef cppclass CTlsOptions "flightbridge::TlsOptions":
        string ca
        string client_cert
        string client_key
        string override_hostname

    cdef cppclass CClientOptions "flightbridge::ClientOptions":
        string uri
        string token
        CTlsOptions tls
        double timeout_s
        string transport

    cdef cppclass CPutStream "flightbridge::PutStream":
        CStatus Write(const CRecordBatch&)
        CResult[ProtoPutResult] Finish()
        void Abort()

    cdef cppclass CClient "flightbridge::Client":
        @staticmethod
        CResult[unique_ptr[CClient]] Connect(const CClientOptions&)
        CResult[vector[ProtoFeedInfo]] ListFeeds()
        CResult[string] Transport()
        CResult[ProtoFeedInfo] DescribeFeed(const string&)
        CResult[shared_ptr[CSchema]] GetSchema(const string&)
        CResult[ProtoServerStatus] Status()
        CStatus DropFeed(const string&, c_bool)
        CResult[ProtoFeedInfo] WaitFeed(const string&, int64_t, milliseconds)
        CResult[unique_ptr[CPutStream]] OpenPut(
            const string&, const string&, int64_t, int64_t, const shared_ptr[CSchema]&)
        CStatus AbortWrite(const string&, const string&)


cdef extern from "client_glue.h" namespace "flightbridge::bindings" nogil:
    int StatusCode(const CStatus&)
    CStatus Take[T](CResult[T], T*)
    CStatus TakeShared[T](CResult[unique_ptr[T]], shared_ptr[T]*)
    CStatus TakeEncoded[M](CResult[M], string*)
    CStatus TakeFeeds(CResult[vector[ProtoFeedInfo]], vector[string]*)
    CStatus Begin(CClient*, const string&, string*)
    CStatus Commit(CClient*, const string&, string*)
    CStatus Confirm(CClient*, const string&, string*)
    CStatus Statistics(CClient*, const string&, string*)
    CStatus EndFeed(CClient*, const string&, string*)
    CStatus OpenReader(CClient*, const string&, CStatus (*)(const CStatus&),
                       shared_ptr[CRecordBatchReader]*)


cdef extern from "arrow/python/common.h" namespace "arrow::py":
    CStatus ConvertPyError()


cdef object _error(const CStatus& status):
    return errors.from_code(StatusCode(status), status.message().decode("utf-8", "replace"))


cdef int _check(const CStatus& status) except -1:
    if status.ok():
        return 0
    raise _error(status)


# pyarrow raises the Python error inside such a status as it is.
cdef CStatus _with_python_error(const CStatus& status) noexcept with gil:
    error = _error(status)
    PyErr_SetObject(type(error), error)
    return ConvertPyError()


cdef class NativePut:
    """One DoPut stream. The caller serialises its calls."""

    cdef shared_ptr[CPutStream] _put

    def write(self, batch not None):
        cdef shared_ptr[CRecordBatch] native = pyarrow_unwrap_batch(batch)
        cdef CStatus status
        if native.get() == NULL:
            raise TypeError(f"expected a pyarrow.RecordBatch, got {type(batch).__name__}")
        with nogil:
            status = self._put.get().Write(native.get()[0])
        _check(status)

    def finish(self):
        cdef string encoded
        cdef CStatus status
        with nogil:
            status = TakeEncoded[ProtoPutResult](self._put.get().Finish(), &encoded)
        _check(status)
        return <bytes>encoded

    def abort(self):
        with nogil:
            self._put.get().Abort()

    def __dealloc__(self):
        with nogil:
            self._put.reset()


# A request and its answer, both encoded.
ctypedef CStatus (*RoundTrip)(CClient*, const string&, string*) noexcept nogil


cdef class NativeClient:
    """One connection. Thread-safe: each call keeps the client alive until it returns."""

    cdef shared_ptr[CClient] _client

    def __cinit__(self, str uri not None, credentials not None, double timeout_s,
                  str transport not None):
        cdef CClientOptions options
        cdef CStatus status
        options.uri = uri.encode("utf-8", "surrogateescape")
        options.token = credentials.token.encode("utf-8", "surrogateescape")
        options.tls.ca = credentials.tls_ca.encode("utf-8", "surrogateescape")
        options.tls.client_cert = credentials.tls_client_cert.encode("utf-8", "surrogateescape")
        options.tls.client_key = credentials.tls_client_key.encode("utf-8", "surrogateescape")
        options.tls.override_hostname = credentials.tls_override_hostname.encode(
            "utf-8", "surrogateescape")
        options.timeout_s = timeout_s
        options.transport = transport.encode()
        with nogil:
            status = TakeShared[CClient](CClient.Connect(options), &self._client)
        _check(status)

    def __dealloc__(self):
        with nogil:
            self._client.reset()

    def close(self):
        cdef shared_ptr[CClient] closing
        closing.swap(self._client)  # under the GIL, as are the copies that _open() makes
        with nogil:
            closing.reset()

    cdef shared_ptr[CClient] _open(self) except *:
        if self._client.get() == NULL:
            raise errors.FailedPreconditionError("this client is closed: connect again")
        return self._client

    def feeds(self):
        cdef shared_ptr[CClient] client = self._open()
        cdef vector[string] encoded
        cdef CStatus status
        with nogil:
            status = TakeFeeds(client.get().ListFeeds(), &encoded)
        _check(status)
        return [<bytes>item for item in encoded]

    def feed(self, str name not None):
        cdef shared_ptr[CClient] client = self._open()
        cdef string feed = name.encode("utf-8", "surrogateescape")
        cdef string encoded
        cdef CStatus status
        with nogil:
            status = TakeEncoded[ProtoFeedInfo](client.get().DescribeFeed(feed), &encoded)
        _check(status)
        return <bytes>encoded

    def schema(self, str name not None):
        cdef shared_ptr[CClient] client = self._open()
        cdef string feed = name.encode("utf-8", "surrogateescape")
        cdef shared_ptr[CSchema] schema
        cdef CStatus status
        with nogil:
            status = Take[shared_ptr[CSchema]](client.get().GetSchema(feed), &schema)
        _check(status)
        return pyarrow_wrap_schema(schema)

    def transport(self):
        cdef shared_ptr[CClient] client = self._open()
        cdef string way
        cdef CStatus status
        with nogil:
            status = Take[string](client.get().Transport(), &way)
        _check(status)
        return way.decode()

    def status(self):
        cdef shared_ptr[CClient] client = self._open()
        cdef string encoded
        cdef CStatus status
        with nogil:
            status = TakeEncoded[ProtoServerStatus](client.get().Status(), &encoded)
        _check(status)
        return <bytes>encoded

    def drop(self, str name not None, bint if_exists):
        cdef shared_ptr[CClient] client = self._open()
        cdef string feed = name.encode("utf-8", "surrogateescape")
        cdef CStatus status
        with nogil:
            status = client.get().DropFeed(feed, if_exists)
        _check(status)

    def wait_feed(self, str name not None, int64_t generation, int64_t timeout_ms):
        cdef shared_ptr[CClient] client = self._open()
        cdef string feed = name.encode("utf-8", "surrogateescape")
        cdef string encoded
        cdef CStatus status
        with nogil:
            status = TakeEncoded[ProtoFeedInfo](
                client.get().WaitFeed(feed, generation, milliseconds(timeout_ms)), &encoded)
        _check(status)
        return <bytes>encoded

    cdef bytes _ask(self, RoundTrip call, bytes request):
        cdef shared_ptr[CClient] client = self._open()
        cdef string encoded = request
        cdef string answer
        cdef CStatus status
        with nogil:
            status = call(client.get(), encoded, &answer)
        _check(status)
        return <bytes>answer

    def begin_write(self, bytes request not None):
        return self._ask(Begin, request)

    def confirm_position(self, bytes position not None):
        return self._ask(Confirm, position)

    def statistics(self, bytes request not None):
        return self._ask(Statistics, request)

    def end_feed(self, str name not None):
        return self._ask(EndFeed, name.encode("utf-8", "surrogateescape"))

    def open_put(self, str name not None, str job_id not None, int64_t partition,
                 int64_t attempt, schema not None):
        cdef shared_ptr[CClient] client = self._open()
        cdef string feed = name.encode("utf-8", "surrogateescape")
        cdef string job = job_id.encode("utf-8", "surrogateescape")
        cdef shared_ptr[CSchema] native = pyarrow_unwrap_schema(schema)
        cdef NativePut put = NativePut.__new__(NativePut)
        cdef CStatus status
        if native.get() == NULL:
            raise TypeError(f"expected a pyarrow.Schema, got {type(schema).__name__}")
        with nogil:
            status = TakeShared[CPutStream](
                client.get().OpenPut(feed, job, partition, attempt, native), &put._put)
        _check(status)
        return put

    def commit_write(self, bytes request not None):
        return self._ask(Commit, request)

    def abort_write(self, str name not None, str job_id not None):
        cdef shared_ptr[CClient] client = self._open()
        cdef string feed = name.encode("utf-8", "surrogateescape")
        cdef string job = job_id.encode("utf-8", "surrogateescape")
        cdef CStatus status
        with nogil:
            status = client.get().AbortWrite(feed, job)
        _check(status)

    def read(self, bytes ticket not None):
        cdef shared_ptr[CClient] client = self._open()
        cdef string encoded = ticket
        cdef shared_ptr[CRecordBatchReader] native
        cdef RecordBatchReader reader
        cdef CStatus status
        with nogil:
            status = OpenReader(client.get(), encoded, _with_python_error, &native)
        _check(status)
        reader = RecordBatchReader.__new__(RecordBatchReader)
        reader.reader = native
        return reader
