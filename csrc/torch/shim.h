// The part of libtorch's stable C ABI that fusedops uses, declared here and resolved at run time: nothing of torch is
// needed to build, and one binary serves every torch from 2.10 on.
#pragma once

#include <cstdint>
#include <string>

namespace fusedops::torch {

using ErrorCode = int32_t;  // 0 is success
using StableIValue = uint64_t;
using TensorHandle = struct OpaqueTensor*;
using LibraryHandle = struct OpaqueLibrary*;
using ShaderLibraryHandle = struct OpaqueShaderLibrary*;
using KernelHandle = struct OpaqueKernel*;  // torch's MetalKernelFunction
using BoxedFunction = void (*)(StableIValue* stack, uint64_t argument_count, uint64_t output_count);
using RangeFunction = void (*)(int64_t begin, int64_t end, void* context);
using CommandBlock = void (*)(KernelHandle, void* context);

// The version of the ABI that the declarations below follow: torch 2.10.
inline constexpr uint64_t kAbiVersion = (uint64_t{2} << 56) | (uint64_t{10} << 48);

#define FUSEDOPS_TORCH_DTYPES(APPLY) \
  APPLY(float32)                     \
  APPLY(float16)                     \
  APPLY(bfloat16)                    \
  APPLY(bool)                        \
  APPLY(float64)                     \
  APPLY(int8)                        \
  APPLY(int16)                       \
  APPLY(int32)                       \
  APPLY(int64)                       \
  APPLY(uint8)                       \
  APPLY(uint16)                      \
  APPLY(uint32)                      \
  APPLY(uint64)                      \
  APPLY(complex64)                   \
  APPLY(complex128)

#define FUSEDOPS_TORCH_FUNCTIONS(APPLY)                                                                   \
  APPLY(ErrorCode, aoti_torch_delete_tensor_object, (TensorHandle))                                       \
  APPLY(ErrorCode, aoti_torch_get_dim, (TensorHandle, int64_t*))                                          \
  APPLY(ErrorCode, aoti_torch_get_sizes, (TensorHandle, int64_t**))                                       \
  APPLY(ErrorCode, aoti_torch_get_strides, (TensorHandle, int64_t**))                                     \
  APPLY(ErrorCode, aoti_torch_get_dtype, (TensorHandle, int32_t*))                                        \
  APPLY(ErrorCode, aoti_torch_get_storage_offset, (TensorHandle, int64_t*))                               \
  APPLY(ErrorCode, aoti_torch_get_storage_size, (TensorHandle, int64_t* bytes))                           \
  APPLY(ErrorCode, aoti_torch_get_device_type, (TensorHandle, int32_t*))                                  \
  APPLY(ErrorCode, aoti_torch_get_device_index, (TensorHandle, int32_t*))                                 \
  APPLY(ErrorCode, aoti_torch_empty_strided,                                                              \
        (int64_t rank, const int64_t* sizes, const int64_t* strides, int32_t dtype, int32_t device_type,  \
         int32_t device_index, TensorHandle*))                                                            \
  APPLY(ErrorCode, torch_get_const_data_ptr, (TensorHandle, const void**))                                \
  APPLY(ErrorCode, torch_get_mutable_data_ptr, (TensorHandle, void**))                                    \
  APPLY(ErrorCode, aoti_torch_library_init_impl,                                                          \
        (const char* library, const char* dispatch_key, const char* file, uint32_t line, LibraryHandle*)) \
  APPLY(ErrorCode, torch_library_impl, (LibraryHandle, const char* operator_name, BoxedFunction, uint64_t abi))

// Absent from some builds or versions; null there.
#define FUSEDOPS_TORCH_OPTIONAL_FUNCTIONS(APPLY)                                                                       \
  APPLY(ErrorCode, torch_delete_stable_ivalue, (StableIValue*))                                                        \
  APPLY(const char*, torch_exception_get_what_without_backtrace, ())                                                   \
  APPLY(ErrorCode, torch_get_num_threads, (uint32_t*))                                                                 \
  APPLY(ErrorCode, torch_parallel_for, (int64_t begin, int64_t end, int64_t grain_size, RangeFunction, void* context)) \
  APPLY(ErrorCode, torch_mps_set_arg_bytes, (KernelHandle, unsigned index, const void* bytes, uint64_t size))

// Launching Metal kernels on the current MPS stream: in the builds of torch for macOS.
#define FUSEDOPS_TORCH_MPS_FUNCTIONS(APPLY)                                                                    \
  APPLY(ErrorCode, aoti_torch_mps_create_shader_library, (const char* source, ShaderLibraryHandle*))           \
  APPLY(ErrorCode, aoti_torch_mps_get_kernel_function, (ShaderLibraryHandle, const char* name, KernelHandle*)) \
  APPLY(ErrorCode, aoti_torch_mps_run_command_block, (KernelHandle, CommandBlock, void* context))              \
  APPLY(ErrorCode, aoti_torch_mps_start_encoding, (KernelHandle))                                              \
  APPLY(ErrorCode, aoti_torch_mps_set_arg_tensor, (KernelHandle, unsigned index, TensorHandle))                \
  APPLY(ErrorCode, aoti_torch_mps_dispatch_array_with_group_size,                                              \
        (KernelHandle, const uint64_t* threads, size_t threads_rank, const uint64_t* threads_per_threadgroup,  \
         size_t threads_per_threadgroup_rank))

struct Functions {
#define FUSEDOPS_DECLARE(result, name, parameters) result(*name) parameters = nullptr;
  FUSEDOPS_TORCH_FUNCTIONS(FUSEDOPS_DECLARE)
  FUSEDOPS_TORCH_OPTIONAL_FUNCTIONS(FUSEDOPS_DECLARE)
  FUSEDOPS_TORCH_MPS_FUNCTIONS(FUSEDOPS_DECLARE)
#undef FUSEDOPS_DECLARE
#define FUSEDOPS_DECLARE(name) int32_t (*aoti_torch_dtype_##name)() = nullptr;
  FUSEDOPS_TORCH_DTYPES(FUSEDOPS_DECLARE)
#undef FUSEDOPS_DECLARE
  // at::native::mps::MetalKernelFunction::setArg(unsigned, const void*, uint64_t), the method that
  // torch_mps_set_arg_bytes calls: before torch 2.14 libtorch exports only this. It throws. May be null.
  void (*metal_kernel_function_set_arg)(KernelHandle, unsigned index, const void* bytes, uint64_t size) = nullptr;
  // at::native::mps::MetalKernelFunction::getMaxThreadsPerThreadgroup() const, which the C functions lack. May be null.
  uint64_t (*metal_kernel_function_max_threads)(KernelHandle) = nullptr;
  bool has_mps = false;  // whether all of FUSEDOPS_TORCH_MPS_FUNCTIONS are there; says nothing of this machine
};

// All null before load() has succeeded.
const Functions& functions();

// Resolves the functions in a libtorch_cpu that the process has already loaded. Returns the name of the first that it
// lacks; empty is success.
std::string load(const std::string& path);

// Throws std::runtime_error with libtorch's own message where `code` is a failure.
void check(ErrorCode code, const char* function);

// Calls a function of the ABI that returns an ErrorCode.
#define FUSEDOPS_TORCH_CALL(function, ...) \
  ::fusedops::torch::check(::fusedops::torch::functions().function(__VA_ARGS__), #function)

}  // namespace fusedops::torch
