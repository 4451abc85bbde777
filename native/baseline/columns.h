// The columns of lib/wire/columns.ts: many decoded frames as arrays in one ArrayBuffer.
#pragma once

#include <napi.h>

#include "values.h"

namespace baseline {

// One array per field, `capacity` long, at the offsets of FrameColumns.layout.
struct Columns {
  size_t capacity;
  uint64_t* origin;
  uint64_t* word;
  uint32_t* frame_offset;
  uint32_t* frame_length;
  uint32_t* base_length;
  uint32_t* index;
  uint32_t* total;
  uint32_t* payload_offset;
  uint32_t* payload_length;
  uint8_t* status;
  uint8_t* type;
};

// Reads `buffer` and `capacity` of a FrameColumns and checks that they fit each other.
Columns RequireColumns(const Napi::Value& capacity, const Napi::Value& buffer);

// decodeBatch(batch, start, capacity, columnsBuffer, result: Uint32Array of 2): fills `result` with the rows filled and
// the offset at which the next call goes on.
Napi::Value DecodeBatch(const Napi::CallbackInfo& info);
// encodeBatch(capacity, columnsBuffer, count, target): bytes written.
Napi::Value EncodeBatch(const Napi::CallbackInfo& info);
// writeChunkHeaders(headers, daemonOrigin, seqThrough, snapshotLength, firstIndex, count)
Napi::Value WriteChunkHeaders(const Napi::CallbackInfo& info);

}  // namespace baseline
