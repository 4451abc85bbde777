#include "message.h"

#include <string>
#include <vector>

#include "bytes.h"
#include "frame.h"
#include "values.h"

namespace baseline {

namespace {

using ByteVector = std::vector<uint8_t>;

void Append(ByteVector* out, const uint8_t* bytes, size_t length) { out->insert(out->end(), bytes, bytes + length); }

void AppendU16(ByteVector* out, uint16_t value) {
  uint8_t bytes[2];
  WriteU16(bytes, value);
  Append(out, bytes, sizeof bytes);
}

void AppendU32(ByteVector* out, uint32_t value) {
  uint8_t bytes[4];
  WriteU32(bytes, value);
  Append(out, bytes, sizeof bytes);
}

void AppendU64(ByteVector* out, uint64_t value) {
  uint8_t bytes[8];
  WriteU64(bytes, value);
  Append(out, bytes, sizeof bytes);
}

void AppendField(ByteVector* out, const Napi::Object& message, const char* field) {
  AppendU64(out, RequireU64(message.Get(field), {"message", field}));
}

void AppendLink(ByteVector* out, const Napi::Value& value, const Name& name) {
  const Napi::Object link = RequireObject(value, name);
  for (const char* field : {"originHash", "horizon", "sequence", "parentHash"}) {
    AppendU64(out, RequireU64(link.Get(field), {name.prefix, name.field, name.index, field}));
  }
}

void EncodeSnapshotReady(ByteVector* out, const Napi::Object& message) {
  const uint64_t seq_through = RequireU64(message.Get("seqThrough"), {"message", "seqThrough"});
  const uint32_t chunk_index = RequireU32(message.Get("chunkIndex"), {"message", "chunkIndex"});
  const uint32_t total_chunks = RequireU32(message.Get("totalChunks"), {"message", "totalChunks"});
  // Read last: a getter of the fields above could detach it.
  const Bytes chunk = RequireBytes(message.Get("snapshotBytes"), {"message", "snapshotBytes"});
  CheckChunkNumbers(chunk_index, total_chunks);
  if (chunk.length > kMaxChunkBytes) {
    throw CodecError(Kind::kChunkTooLarge,
                     "message.snapshotBytes has " + std::to_string(chunk.length) + " bytes, a chunk has at most " +
                         std::to_string(kMaxChunkBytes) + ": cut it smaller",
                     {{"field", "snapshotBytes"},
                      {"length", static_cast<double>(chunk.length)},
                      {"max", static_cast<double>(kMaxChunkBytes)}});
  }
  AppendU64(out, seq_through);
  AppendU32(out, chunk_index);
  AppendU32(out, total_chunks);
  AppendU32(out, static_cast<uint32_t>(chunk.length));
  Append(out, chunk.data, chunk.length);
}

struct FailureName {
  const char* kind;
  bool retriable;
};

// Indexed by the code on the wire.
constexpr FailureName kFailures[] = {
    {"NotReady", true},         {"FactoryNotFound", false},  {"ComputeNotSupported", false},
    {"StateFailed", false},     {"AlreadyMigrating", false}, {"IdentityTransportFailed", false},
    {"NotReadyTimeout", false},
};
constexpr uint16_t kFailureCodes = sizeof kFailures / sizeof kFailures[0];
constexpr uint16_t kNotReadyTimeout = 6;

bool CarriesText(uint32_t code) { return code == 3 || code == 5; }

uint16_t FailureCode(const Napi::Env& env, const std::string& kind) {
  for (uint16_t code = 0; code < kFailureCodes; code++) {
    if (kind == kFailures[code].kind) return code;
  }
  throw WrongType(env, {"message", "reason.kind"}, "the name of a failure");
}

void EncodeFailure(ByteVector* out, const Napi::Object& message) {
  const Napi::Object reason = RequireObject(message.Get("reason"), {"message", "reason"});
  const std::string kind = RequireString(reason.Get("kind"), {"message", "reason.kind"});
  const uint16_t code = FailureCode(message.Env(), kind);
  AppendU16(out, code);
  if (code == kNotReadyTimeout) {
    const uint64_t attempts = RequireInteger(reason.Get("attempts"), {"message", "reason.attempts"}, UINT8_MAX);
    out->push_back(static_cast<uint8_t>(attempts));
  }
  if (!CarriesText(code)) return;
  const std::string text = RequireString(reason.Get("message"), {"message", "reason.message"});
  if (text.size() > kMaxTextBytes) {
    throw CodecError(Kind::kTextTooLong,
                     "message.reason.message has " + std::to_string(text.size()) + " bytes of UTF-8, at most " +
                         std::to_string(kMaxTextBytes) + " are taken: shorten it",
                     {{"field", "reason.message"},
                      {"length", static_cast<double>(text.size())},
                      {"max", static_cast<double>(kMaxTextBytes)}});
  }
  AppendU16(out, static_cast<uint16_t>(text.size()));
  out->insert(out->end(), text.begin(), text.end());
}

void EncodeEvent(ByteVector* out, const Napi::Value& value, int64_t index) {
  const Napi::Object event = RequireObject(value, {"message.events", nullptr, index});
  AppendLink(out, event.Get("link"), {"message.events", "link", index});
  const uint64_t received_at = RequireU64(event.Get("receivedAt"), {"message.events", "receivedAt", index});
  const Bytes payload = RequireBytes(event.Get("payload"), {"message.events", "payload", index});
  if (payload.length > kMaxChunkBytes) {
    throw CodecError(Kind::kEventTooLarge,
                     "message.events[" + std::to_string(index) + "].payload has " + std::to_string(payload.length) +
                         " bytes, a buffered event has at most " + std::to_string(kMaxChunkBytes),
                     {{"field", "message.events[" + std::to_string(index) + "].payload"},
                      {"length", static_cast<double>(payload.length)},
                      {"max", static_cast<double>(kMaxChunkBytes)}});
  }
  AppendU32(out, static_cast<uint32_t>(payload.length));
  Append(out, payload.data, payload.length);
  AppendU64(out, received_at);
}

void EncodeEvents(ByteVector* out, const Napi::Object& message) {
  const Napi::Array events = RequireArray(message.Get("events"), {"message", "events"});
  const uint32_t count = events.Length();
  if (count > kMaxBufferedEvents) {
    throw CodecError(
        Kind::kEventCountTooLarge,
        "message.events holds " + std::to_string(count) + " events, at most " + std::to_string(kMaxBufferedEvents) +
            " are taken: send them in several messages",
        {{"field", "events"}, {"count", static_cast<double>(count)}, {"max", static_cast<double>(kMaxBufferedEvents)}});
  }
  AppendU32(out, count);
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(message.Env());
    EncodeEvent(out, events.Get(i), i);
  }
}

uint8_t TypeOfKind(const Napi::Env& env, const std::string& kind) {
  static const char* const kinds[] = {
      "TakeSnapshot",    "SnapshotReady",   "RestoreComplete", "ReplayComplete", "CutoverNotify",
      "CleanupComplete", "MigrationFailed", "BufferedEvents",  "ActivateTarget", "ActivateAck",
  };
  for (uint8_t type = 0; type < sizeof kinds / sizeof kinds[0]; type++) {
    if (kind == kinds[type]) return type;
  }
  throw WrongType(env, {"message", "kind"}, "the name of a message");
}

void EncodeFields(ByteVector* out, uint8_t type, const Napi::Object& message) {
  switch (type) {
    case kTakeSnapshot:
    case kCutoverNotify:
      return AppendField(out, message, "targetNode");
    case kRestoreComplete:
      return AppendField(out, message, "restoredSeq");
    case kActivateAck:
      return AppendField(out, message, "replayedSeq");
    case kReplayComplete:
      AppendField(out, message, "replayedSeq");
      return AppendLink(out, message.Get("targetHead"), {"message", "targetHead"});
    case kSnapshotReady:
      return EncodeSnapshotReady(out, message);
    case kMigrationFailed:
      return EncodeFailure(out, message);
    case kBufferedEvents:
      return EncodeEvents(out, message);
    default:
      return;
  }
}

Napi::Object LinkObject(Napi::Env env, const uint8_t* at) {
  Napi::Object link = Napi::Object::New(env);
  link.Set("originHash", Napi::BigInt::New(env, ReadU64(at)));
  link.Set("horizon", Napi::BigInt::New(env, ReadU64(at + 8)));
  link.Set("sequence", Napi::BigInt::New(env, ReadU64(at + 16)));
  link.Set("parentHash", Napi::BigInt::New(env, ReadU64(at + 24)));
  return link;
}

Napi::Object FailureObject(Napi::Env env, const Bytes& bytes, const Frame& frame) {
  Napi::Object reason = Napi::Object::New(env);
  reason.Set("kind", kFailures[frame.index].kind);
  reason.Set("code", Napi::Number::New(env, frame.index));
  reason.Set("retriable", Napi::Boolean::New(env, kFailures[frame.index].retriable));
  if (CarriesText(frame.index)) {
    const char* text = reinterpret_cast<const char*>(bytes.data + frame.payload_offset);
    reason.Set("message", Napi::String::New(env, text, frame.payload_length));
  }
  if (frame.index == kNotReadyTimeout) reason.Set("attempts", Napi::Number::New(env, frame.total));
  return reason;
}

Napi::Array EventObjects(Napi::Env env, const Bytes& bytes, const Frame& frame) {
  Napi::Array events = Napi::Array::New(env, frame.index);
  size_t at = frame.payload_offset;
  for (uint32_t i = 0; i < frame.index; i++) {
    const Napi::HandleScope scope(env);
    const size_t length = ReadU32(bytes.data + at + kLinkBytes);
    Napi::Object event = Napi::Object::New(env);
    event.Set("link", LinkObject(env, bytes.data + at));
    event.Set("payload", ViewOf(env, bytes, at + kEventHeaderBytes, length));
    at += kEventHeaderBytes + length;
    event.Set("receivedAt", Napi::BigInt::New(env, ReadU64(bytes.data + at)));
    at += 8;
    events.Set(i, event);
  }
  return events;
}

void SetWord(Napi::Object* message, const char* kind, const char* field, uint64_t word) {
  message->Set("kind", kind);
  message->Set(field, Napi::BigInt::New(message->Env(), word));
}

void SetFields(Napi::Object* message, const Bytes& bytes, const Frame& frame) {
  const Napi::Env env = message->Env();
  switch (frame.type) {
    case kTakeSnapshot:
      return SetWord(message, "TakeSnapshot", "targetNode", frame.word);
    case kSnapshotReady:
      SetWord(message, "SnapshotReady", "seqThrough", frame.word);
      message->Set("chunkIndex", Napi::Number::New(env, frame.index));
      message->Set("totalChunks", Napi::Number::New(env, frame.total));
      message->Set("snapshotBytes", ViewOf(env, bytes, frame.payload_offset, frame.payload_length));
      return;
    case kRestoreComplete:
      return SetWord(message, "RestoreComplete", "restoredSeq", frame.word);
    case kReplayComplete:
      SetWord(message, "ReplayComplete", "replayedSeq", frame.word);
      message->Set("targetHead", LinkObject(env, bytes.data + frame.payload_offset));
      return;
    case kCutoverNotify:
      return SetWord(message, "CutoverNotify", "targetNode", frame.word);
    case kCleanupComplete:
      message->Set("kind", "CleanupComplete");
      return;
    case kMigrationFailed:
      message->Set("kind", "MigrationFailed");
      message->Set("reason", FailureObject(env, bytes, frame));
      return;
    case kBufferedEvents:
      message->Set("kind", "BufferedEvents");
      message->Set("events", EventObjects(env, bytes, frame));
      return;
    case kActivateTarget:
      message->Set("kind", "ActivateTarget");
      return;
    default:
      return SetWord(message, "ActivateAck", "replayedSeq", frame.word);
  }
}

}  // namespace

Napi::Value EncodeMessage(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const Napi::Object message = RequireObject(info[0], {"message"});
    const uint8_t type = TypeOfKind(env, RequireString(message.Get("kind"), {"message", "kind"}));
    ByteVector out;
    out.push_back(type);
    AppendField(&out, message, "daemonOrigin");
    EncodeFields(&out, type, message);
    Napi::Uint8Array frame = Napi::Uint8Array::New(env, out.size());
    CopyBytes(frame.Data(), out.data(), out.size());
    return frame;
  });
}

Napi::Value DecodeMessage(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const Bytes bytes = RequireBytes(info[0], {"frame"});
    Frame frame;
    Refusal refusal;
    if (!ReadFrame(bytes.data, bytes.length, &frame, &refusal)) throw ExplainRefusal(refusal);
    Napi::Object message = Napi::Object::New(env);
    message.Set("daemonOrigin", Napi::BigInt::New(env, frame.origin));
    SetFields(&message, bytes, frame);
    return message;
  });
}

}  // namespace baseline
