#include "torch/direct.h"

#include <nanobind/ndarray.h>

#include <algorithm>
#include <array>
#include <bit>
#include <exception>
#include <stdexcept>

#include "torch/operators.h"
#include "torch/stack.h"

namespace nb = nanobind;

namespace fusedops::torch {
namespace {

// The C exchange API of DLPack 1, https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h. Of its functions we
// call one, which lets us look at a tensor without owning it; it returns 0, or sets a Python error.
struct ExchangeApi {
  uint32_t major_version, minor_version;
  const void* previous_api;
  void (*managed_tensor_allocator)();
  void (*managed_tensor_from_py_object_no_sync)();
  void (*managed_tensor_to_py_object_no_sync)();
  int (*dltensor_from_py_object_no_sync)(void* object, nb::dlpack::dltensor* out);
  void (*current_work_stream)();
};

constexpr size_t kMostArguments = 11;
constexpr size_t kMostTensors = 7;  // inputs and outputs

// Elements of a call's inputs. So little is never split over threads, and is done before another Python thread could
// have had the interpreter's lock, which a direct call keeps.
constexpr int64_t kMostElements = 16384;

enum class Type : uint8_t { tensor, integer, number, boolean };

struct Parameter {
  Type type;
  bool optional;
};

Type type_from_schema(const std::string& name) {
  if (name == "Tensor") return Type::tensor;
  if (name == "int" || name == "SymInt") return Type::integer;  // kernels are given numbers, never symbols
  if (name == "float") return Type::number;
  if (name == "bool") return Type::boolean;
  throw std::invalid_argument("direct calls take no argument of type " + name);
}

Parameter parameter(std::string type) {
  const bool optional = type.ends_with('?');
  if (optional) type.pop_back();
  return {type_from_schema(type), optional};
}

struct Function {
  BoxedFunction kernel;
  std::vector<Parameter> parameters;
  int outputs;
  std::vector<nb::object> thread_checks;
};

// Set up once and never freed: it would have to outlive the interpreter.
const DirectCallSetup* torch_side = nullptr;
const ExchangeApi* exchange_api = nullptr;

// Python has an error set. As every exception here, it only ends the attempt to call directly.
struct PythonError {};

nb::object call_python(nb::handle function, PyObject* const* arguments, size_t count) {
  PyObject* result = PyObject_Vectorcall(function.ptr(), arguments, count, nullptr);
  if (!result) throw PythonError();
  return nb::steal(result);
}

bool is_true(nb::handle value) {
  const int truth = PyObject_IsTrue(value.ptr());
  if (truth < 0) throw PythonError();
  return truth;
}

// Whether one of the checks is true of the arguments.
template <class... Argument>
bool any_applies(const std::vector<nb::object>& checks, Argument... argument) {
  PyObject* const arguments[] = {argument..., nullptr};
  const auto applies = [&](nb::handle check) { return is_true(call_python(check, arguments, sizeof...(argument))); };
  return std::any_of(checks.begin(), checks.end(), applies);
}

nb::dlpack::dltensor look_at(nb::handle tensor) {
  nb::dlpack::dltensor array;
  if (exchange_api->dltensor_from_py_object_no_sync(tensor.ptr(), &array)) throw PythonError();
  return array;
}

DType dtype_of(nb::dlpack::dtype dtype) {
  const auto code = static_cast<nb::dlpack::dtype_code>(dtype.code);
  if (code == nb::dlpack::dtype_code::Float && dtype.bits == 32) return DType::float32;
  if (code == nb::dlpack::dtype_code::Float && dtype.bits == 16) return DType::float16;
  if (code == nb::dlpack::dtype_code::Bfloat && dtype.bits == 16) return DType::bfloat16;
  if (code == nb::dlpack::dtype_code::Bool && dtype.bits == 8) return DType::boolean;
  return DType::other;
}

void* data_of(const nb::dlpack::dltensor& array) { return static_cast<char*>(array.data) + array.byte_offset; }

bool has_contiguous_strides(const ArrayView& array) {
  int64_t stride = 1;
  for (size_t i = array.shape.size(); i-- > 0; stride *= std::max<int64_t>(array.shape[i], 1))
    if (array.strides[i] != stride) return false;
  return true;
}

// One call's arguments and outputs.
class Call final : Loan::Lender {
 public:
  explicit Call(const Function& function) : function_(function) {}

  // Returns whether the call can be direct.
  bool take(PyObject* const* arguments) {
    grad_enabled_ = is_true(call_python(torch_side->is_grad_enabled, nullptr, 0));
    for (size_t i = 0; i < function_.parameters.size(); ++i)
      if (!take(i, function_.parameters[i], arguments[i])) return false;
    return elements_ <= kMostElements;
  }

  nb::object run() {
    function_.kernel(stack_.data(), function_.parameters.size(), function_.outputs);
    if (function_.outputs == 1) return output(0);
    nb::object outputs = nb::steal(PyTuple_New(function_.outputs));
    for (int i = 0; i < function_.outputs; ++i) PyTuple_SetItem(outputs.ptr(), i, output(i).release().ptr());
    return outputs;
  }

 private:
  struct LentObject : Loan {
    nb::object object;
  };

  bool take(size_t index, const Parameter& parameter, PyObject* argument) {
    if (parameter.optional && argument == Py_None) {
      stack_[index] = 0;
      return true;
    }
    StableIValue& value = parameter.optional ? contents_[index] : stack_[index];
    if (parameter.optional) stack_[index] = lend(value);
    if (parameter.type == Type::tensor) return take_tensor(argument, value);
    if (parameter.type == Type::boolean) return take_boolean(argument, value);
    return parameter.type == Type::integer ? take_integer(argument, value) : take_number(argument, value);
  }

  bool take_tensor(PyObject* tensor, StableIValue& value) {
    if (!is_plain(tensor)) return false;
    const nb::dlpack::dltensor array = look_at(tensor);
    LentObject& input = keep(nb::borrow(tensor));
    input.array = {data_of(array), dtype_of(array.dtype), Shape(array.shape, array.shape + array.ndim),
                   Strides(array.strides, array.strides + array.ndim)};
    value = lend<Loan>(input);
    const int64_t elements = element_count(input.array.shape);
    elements_ += elements;
    // Torch has tensors without memory of their own, memory at any address, and dtypes that we have no name for.
    return array.device.device_type == nb::device::cpu::value && input.array.dtype != DType::other &&
           (array.data || elements == 0) && is_aligned(input.array, size_of(input.array.dtype));
  }

  bool is_plain(PyObject* tensor) const {
    const std::vector<nb::object>& types = torch_side->tensor_types;
    const auto is_exactly = [&](nb::handle type) { return type.is(reinterpret_cast<PyObject*>(Py_TYPE(tensor))); };
    if (std::none_of(types.begin(), types.end(), is_exactly)) return false;
    static PyObject* const requires_grad = PyUnicode_InternFromString("requires_grad");
    if (grad_enabled_ && is_true(nb::steal(PyObject_GetAttr(tensor, requires_grad)))) return false;
    return !any_applies(torch_side->tensor_checks, tensor);
  }

  static bool take_integer(PyObject* argument, StableIValue& value) {
    if (!PyLong_CheckExact(argument)) return false;
    const int64_t integer = PyLong_AsLongLong(argument);
    value = static_cast<StableIValue>(integer);
    return integer != -1 || !PyErr_Occurred();
  }

  static bool take_boolean(PyObject* argument, StableIValue& value) {
    value = argument == Py_True;
    return PyBool_Check(argument);
  }

  static bool take_number(PyObject* argument, StableIValue& value) {
    if (!PyFloat_CheckExact(argument) && !PyLong_CheckExact(argument)) return false;
    const double number = PyFloat_AsDouble(argument);
    value = std::bit_cast<StableIValue>(number);
    return number != -1 || !PyErr_Occurred();
  }

  LentObject& keep(nb::object tensor) {
    LentObject& kept = tensors_.at(count_++);
    kept.lender = this;
    kept.object = std::move(tensor);
    return kept;
  }

  // By torch's quickest ways, which take a tensor of the same kind. Of an output only the data is looked at.
  Loan& empty(const ArrayInfo& info) override {
    const auto is_like = [&](const LentObject& input) {
      return input.array.dtype == info.dtype && input.array.shape == info.shape;
    };
    const auto is_contiguous = [&](const LentObject& input) {
      return is_like(input) && has_contiguous_strides(input.array);
    };
    const auto begin = tensors_.begin(), end = begin + count_;
    auto like = std::find_if(begin, end, is_contiguous);
    const bool keeps_strides = like != end;
    if (!keeps_strides) like = std::find_if(begin, end, is_like);
    if (like == end) throw std::runtime_error("no input is like the output");
    PyObject* const arguments[] = {like->object.ptr()};
    const nb::object& make = keeps_strides ? torch_side->empty_like : torch_side->empty_contiguous_like;
    LentObject& output = keep(call_python(make, arguments, 1));
    output.array.data = data_of(look_at(output.object));
    return output;
  }

  nb::object output(int index) const { return static_cast<LentObject*>(lent<Loan>(stack_[index]))->object; }

  const Function& function_;
  bool grad_enabled_ = true;
  std::array<StableIValue, kMostArguments> stack_;
  std::array<StableIValue, kMostArguments> contents_;  // of optional arguments
  std::array<LentObject, kMostTensors> tensors_;
  size_t count_ = 0;
  int64_t elements_ = 0;
};

nb::object call_directly(const Function& function, PyObject* const* arguments, size_t count) {
  if (count != function.parameters.size() || any_applies(function.thread_checks)) return nb::none();
  Call call(function);
  return call.take(arguments) ? call.run() : nb::none();
}

PyObject* call_directly(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  nb::object result = nb::none();
  try {
    result = call_directly(*static_cast<const Function*>(PyCapsule_GetPointer(self, nullptr)), arguments, count);
  } catch (...) {  // the dispatcher will meet what is wrong, too, and say it better
  }
  PyErr_Clear();
  return result.release().ptr();
}

}  // namespace

bool set_up_direct_calls(DirectCallSetup setup) {
  const auto* api = static_cast<const ExchangeApi*>(setup.exchange_api.data());
  if (api->major_version != 1 || !api->dltensor_from_py_object_no_sync) return false;
  exchange_api = api;
  torch_side = new DirectCallSetup(std::move(setup));
  return true;
}

nb::object direct_function(const std::string& kernel_name, const std::vector<std::string>& types, int outputs,
                           std::vector<nb::object> thread_checks) {
  static PyMethodDef definition = {
      "direct",
      reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(
          static_cast<PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t)>(call_directly))),
      METH_FASTCALL, nullptr};
  const std::vector<Kernel> kernels = all_kernels();
  const auto named = [&](const Kernel& kernel) { return kernel.operator_name == kernel_name; };
  const auto kernel = std::find_if(kernels.begin(), kernels.end(), named);
  if (kernel == kernels.end()) throw std::invalid_argument("there is no kernel " + kernel_name);
  Function function{kernel->on_cpu, {}, outputs, std::move(thread_checks)};
  for (const std::string& type : types) function.parameters.push_back(parameter(type));
  const auto tensors = std::ranges::count(function.parameters, Type::tensor, &Parameter::type) + outputs;
  if (types.size() > kMostArguments || static_cast<size_t>(tensors) > kMostTensors)
    throw std::invalid_argument(kernel_name + " has more arguments or outputs than direct calls have room for");
  auto* kept = new Function(std::move(function));  // lives as long as the operators
  const nb::object self = nb::steal(PyCapsule_New(kept, nullptr, nullptr));
  return nb::steal(PyCFunction_NewEx(&definition, self.ptr(), nullptr));
}

}  // namespace fusedops::torch
