/* The C ABI of the FlightBridge core: what the tf.data op (and any other host) stands on.
 *
 * Plain C types only, so a host needs neither Arrow nor a matching C++ ABI. Every function may be
 * called from any thread; a reader serves one caller of fb_reader_next at a time. Functions that
 * can fail return an fb_code and fill `err` (which may be NULL). Only fb_reader_next,
 * fb_reader_skip and fb_reader_open block, and return FB_CANCELLED soon after fb_reader_cancel.
 */
#ifndef FLIGHTBRIDGE_C_API_H_
#define FLIGHTBRIDGE_C_API_H_

#include <stddef.h>
#include <stdint.h>

#include "flightbridge/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raised with every incompatible change of this header. A host compares it with the value of
 * fb_abi_version() that it finds at run time and refuses to go on when they differ. */
#define FB_ABI_VERSION 3
FB_EXPORT int fb_abi_version(void);
FB_EXPORT const char* fb_version(void);

/* gRPC status codes; from 100 on, FlightBridge's own (see error.h). */
typedef enum fb_code {
  FB_OK = 0,
  FB_CANCELLED = 1,
  FB_INVALID_ARGUMENT = 3,
  FB_DEADLINE_EXCEEDED = 4,
  FB_NOT_FOUND = 5,
  FB_ALREADY_EXISTS = 6,
  FB_PERMISSION_DENIED = 7,
  FB_RESOURCE_EXHAUSTED = 8,
  FB_FAILED_PRECONDITION = 9,
  FB_INTERNAL = 13,
  FB_UNAVAILABLE = 14,
  FB_DATA_LOSS = 15,
  FB_UNAUTHENTICATED = 16,
  FB_SCHEMA_MISMATCH = 100,
  FB_UNSUPPORTED_TYPE = 101,
  FB_POSITION_MISMATCH = 102
} fb_code;

typedef struct fb_error {
  int32_t code;
  char message[2044]; /* NUL-terminated UTF-8 */
} fb_error;

/* Element types of assembled columns. */
typedef enum fb_dtype {
  FB_BOOL = 1, /* one byte, 0 or 1 */
  FB_INT8 = 2,
  FB_INT16 = 3,
  FB_INT32 = 4,
  FB_INT64 = 5,
  FB_UINT8 = 6,
  FB_UINT16 = 7,
  FB_UINT32 = 8,
  FB_UINT64 = 9,
  FB_FLOAT16 = 10,
  FB_FLOAT32 = 11,
  FB_FLOAT64 = 12,
  FB_BYTES = 13, /* strings and binary: data + offsets */
  FB_BFLOAT16 = 14
} fb_dtype;

#define FB_MAX_LEVELS 8

/* One leaf column of an assembled batch. `rows` below is the batch's row count; `width` is the
 * number of values of a row, or of an entry of the innermost list (0: one, and no dimension of its
 * own).
 *
 * dense: num_levels is 0, and the shape [rows] or [rows, width].
 * ragged: num_levels is n. row_splits[0] are over rows, row_splits[1] over the entries of these and
 * so on; row_splits[n - 1] counts entries of `width` values.
 * sparse: indices are set, and the shape is [rows, width], of which `length` values are there.
 *
 * For FB_BYTES, value i is data[offsets[i] .. offsets[i + 1]); otherwise offsets is NULL and data
 * holds `length` values. With ReaderSpec.tstrings, offsets of FB_BYTES are NULL, too, and tstrings
 * holds `length` strings as TensorFlow's tensors do (TF_TString of its C API), whose characters are
 * in the slab: whoever hands them out must see to it that nobody frees or moves one. data_bytes are
 * those of all values. All pointers are 64-byte aligned. */
typedef struct fb_column {
  int32_t dtype; /* fb_dtype */
  int32_t num_levels;
  int64_t width;
  int64_t length; /* number of values */
  const void* data;
  int64_t data_bytes;
  const int64_t* offsets;
  const int64_t* row_splits[FB_MAX_LEVELS];
  int64_t row_splits_length[FB_MAX_LEVELS];
  const uint8_t*
      mask; /* per value 1, or 0 where it stands for a null or pads; NULL: not asked for */
  const void* tstrings;   /* NULL: not asked for, or not FB_BYTES */
  const int64_t* indices; /* per value its row and its place in that; NULL: not sparse */
} fb_column;

typedef struct fb_reader fb_reader;
typedef struct fb_batch fb_batch;

/* Opens a reader. `spec` is an encoded flightbridge.v1.ReaderSpec. Checks the feed's fingerprint
 * and column types; starts reading ahead only at the first fb_reader_next. */
FB_EXPORT int fb_reader_open(const void* spec, size_t spec_bytes, fb_reader** out, fb_error* err);

/* Continues from `position` (an encoded flightbridge.v1.Position). Allowed before the first
 * fb_reader_next only. FB_POSITION_MISMATCH names the field that differs. */
FB_EXPORT int fb_reader_seek(fb_reader* reader, const void* position, size_t position_bytes,
                             fb_error* err);

/* The next assembled batch; *out is NULL at the end of the last epoch. Blocks. */
FB_EXPORT int fb_reader_next(fb_reader* reader, fb_batch** out, fb_error* err);

/* Leaves out up to `batches` batches; *skipped is how many, fewer only at the end of the last
 * epoch. Before the first fb_reader_next these are not read, except under dynamic sharding. Blocks
 * else. */
FB_EXPORT int fb_reader_skip(fb_reader* reader, int64_t batches, int64_t* skipped, fb_error* err);

/* The position behind the batch last returned by fb_reader_next. No I/O, about a microsecond.
 * Writes at most `capacity` bytes and returns the number needed, or -1 for a NULL reader. */
FB_EXPORT int64_t fb_reader_position(const fb_reader* reader, void* buffer, size_t capacity);

/* Wakes a blocked fb_reader_next, which then returns FB_CANCELLED, as does every later call. */
FB_EXPORT void fb_reader_cancel(fb_reader* reader);

/* Stops all threads of the reader and frees it. Batches not yet released stay valid. */
FB_EXPORT void fb_reader_close(fb_reader* reader);

FB_EXPORT int64_t fb_batch_rows(const fb_batch* batch);
FB_EXPORT int32_t fb_batch_num_columns(const fb_batch* batch);
FB_EXPORT int fb_batch_column(const fb_batch* batch, int32_t i, fb_column* out);

/* Batches are reference counted: a host that hands out a column by pointer retains the batch for
 * as long as the memory is in use. At zero the slab goes back to its pool. */
FB_EXPORT void fb_batch_retain(fb_batch* batch);
FB_EXPORT void fb_batch_release(fb_batch* batch);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* FLIGHTBRIDGE_C_API_H_ */
