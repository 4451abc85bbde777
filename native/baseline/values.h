// JavaScript values as C++ ones, with a TypeError that names the argument where the type is wrong, and errors the other
// way round.
#pragma once

#include <napi.h>

#include <string>

#include "codec_error.h"

namespace baseline {

// What an argument is called in an error: `prefix[index].field.part`, put together only when there is an error.
struct Name {
  const char* prefix;
  const char* field = nullptr;
  int64_t index = -1;
  const char* part = nullptr;

  std::string ToString() const;
};

struct Bytes {
  Napi::Uint8Array array;
  uint8_t* data;
  size_t length;
};

uint64_t RequireU64(const Napi::Value& value, const Name& name);
uint32_t RequireU32(const Napi::Value& value, const Name& name);
// 2^53 - 1: up to here a JavaScript number holds every integer.
constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;
// An integer from 0 to `max`, at most kMaxSafeInteger.
uint64_t RequireInteger(const Napi::Value& value, const Name& name, uint64_t max);
double RequireFinite(const Napi::Value& value, const Name& name);
Napi::Object RequireObject(const Napi::Value& value, const Name& name);
Napi::Array RequireArray(const Napi::Value& value, const Name& name);
std::string RequireString(const Napi::Value& value, const Name& name);
// A Uint8Array whose memory is there and is this thread's alone. `data` holds until JavaScript runs again.
Bytes RequireBytes(const Napi::Value& value, const Name& name);

Napi::TypeError WrongType(Napi::Env env, const Name& name, const std::string& wanted);

// A plain Uint8Array over part of what `bytes` is a view of.
Napi::Uint8Array ViewOf(Napi::Env env, const Bytes& bytes, size_t offset, size_t length);

// Per environment (thread): how the wrapper makes a MigrationError, and the status column's number of each kind.
struct AddonData {
  Napi::FunctionReference make_error;
  uint8_t status_of_kind[kKindCount] = {};
};

// What the wrapper makes of `error`: a MigrationError.
Napi::Value MakeMigrationError(Napi::Env env, const CodecError& error);
[[noreturn]] void ThrowMigrationError(Napi::Env env, const CodecError& error);

// Runs the body of an export. No C++ exception but Napi::Error may leave it: Node would end the process.
template <typename Body>
auto Guard(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const CodecError& error) {
    ThrowMigrationError(env, error);
  } catch (const std::bad_alloc&) {
    ThrowMigrationError(env, CodecError(Kind::kOutOfMemory, "the machine has no memory left for this call", {}));
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, std::string("baseline engine: ") + error.what());
  }
}

}  // namespace baseline
