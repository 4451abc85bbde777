#include "values.h"

#include <cmath>

namespace baseline {

namespace {

std::string Describe(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return "a boolean";
    case napi_number:
      return "the number " + value.ToString().Utf8Value();
    case napi_bigint:
      return "a bigint outside 0 to 2^64 - 1";
    case napi_string:
      return "a string";
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    default:
      return "an object";
  }
}

Napi::TypeError WrongValue(const Napi::Value& value, const Name& name, const std::string& wanted) {
  return Napi::TypeError::New(value.Env(), name.ToString() + " must be " + wanted + ", got " + Describe(value));
}

}  // namespace

std::string Name::ToString() const {
  std::string text = prefix;
  if (index >= 0) text += "[" + std::to_string(index) + "]";
  if (field != nullptr) text += std::string(".") + field;
  if (part != nullptr) text += std::string(".") + part;
  return text;
}

Napi::TypeError WrongType(Napi::Env env, const Name& name, const std::string& wanted) {
  return Napi::TypeError::New(env, name.ToString() + " must be " + wanted);
}

uint64_t RequireU64(const Napi::Value& value, const Name& name) {
  bool lossless = false;
  const uint64_t number = value.IsBigInt() ? value.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  if (!lossless) {
    if (value.IsBigInt()) throw WrongValue(value, name, "a bigint from 0 to 2^64 - 1");
    throw WrongValue(value, name, "a bigint");
  }
  return number;
}

uint64_t RequireInteger(const Napi::Value& value, const Name& name, uint64_t max) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > static_cast<double>(max) || std::floor(number) != number) {
    throw WrongValue(value, name, "an integer from 0 to " + std::to_string(max));
  }
  return static_cast<uint64_t>(number);
}

uint32_t RequireU32(const Napi::Value& value, const Name& name) {
  return static_cast<uint32_t>(RequireInteger(value, name, UINT32_MAX));
}

double RequireFinite(const Napi::Value& value, const Name& name) {
  if (!value.IsNumber() || !std::isfinite(value.As<Napi::Number>().DoubleValue())) {
    throw WrongValue(value, name, "a finite number");
  }
  return value.As<Napi::Number>().DoubleValue();
}

Napi::Object RequireObject(const Napi::Value& value, const Name& name) {
  if (value.Type() != napi_object || value.IsArray()) throw WrongValue(value, name, "an object");
  return value.As<Napi::Object>();
}

Napi::Array RequireArray(const Napi::Value& value, const Name& name) {
  if (!value.IsArray()) throw WrongValue(value, name, "an array");
  return value.As<Napi::Array>();
}

std::string RequireString(const Napi::Value& value, const Name& name) {
  if (!value.IsString()) throw WrongValue(value, name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

Bytes RequireBytes(const Napi::Value& value, const Name& name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw WrongValue(value, name, "a Uint8Array");
  }
  const Napi::Env env = value.Env();
  napi_value memory = nullptr;
  void* data = nullptr;
  size_t length = 0;
  if (napi_get_typedarray_info(env, value, nullptr, &length, &data, &memory, nullptr) != napi_ok) {
    throw Napi::Error::New(env);
  }
  bool owned = false;
  bool detached = false;
  napi_is_arraybuffer(env, memory, &owned);
  if (!owned)
    throw WrongType(env, name, "over memory of this thread alone, not over a SharedArrayBuffer: copy it first");
  napi_is_detached_arraybuffer(env, memory, &detached);
  if (detached) throw WrongType(env, name, "attached: its memory was transferred away");
  return Bytes{value.As<Napi::Uint8Array>(), static_cast<uint8_t*>(data), length};
}

Napi::Uint8Array ViewOf(Napi::Env env, const Bytes& bytes, size_t offset, size_t length) {
  return Napi::Uint8Array::New(env, length, bytes.array.ArrayBuffer(), bytes.array.ByteOffset() + offset);
}

Napi::Value MakeMigrationError(Napi::Env env, const CodecError& error) {
  const Napi::Object details = Napi::Object::New(env);
  for (const auto& [key, value] : error.details()) {
    if (std::holds_alternative<double>(value)) {
      details.Set(key, Napi::Number::New(env, std::get<double>(value)));
    } else if (std::holds_alternative<uint64_t>(value)) {
      details.Set(key, Napi::BigInt::New(env, std::get<uint64_t>(value)));
    } else {
      details.Set(key, Napi::String::New(env, std::get<std::string>(value)));
    }
  }
  return env.GetInstanceData<AddonData>()->make_error.Call(
      {Napi::String::New(env, KindName(error.kind())), Napi::String::New(env, error.what()), details});
}

void ThrowMigrationError(Napi::Env env, const CodecError& error) {
  throw Napi::Error(env, MakeMigrationError(env, error));
}

}  // namespace baseline
