#include "torch/tensor.h"

#include <array>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/aligned.h"
#include "cpu/outputs.h"

namespace fusedops::torch {
namespace {

// Both ways between torch's codes and ours.
class DTypes {
 public:
  DTypes() {
    from_torch_.fill(DType::other);
#define FUSEDOPS_MAP(name) map(functions().aoti_torch_dtype_##name(), dtype_from_name(#name));
    FUSEDOPS_TORCH_DTYPES(FUSEDOPS_MAP)
#undef FUSEDOPS_MAP
  }

  DType from_torch(int32_t code) const {
    return code >= 0 && code < static_cast<int32_t>(from_torch_.size()) ? from_torch_[code] : DType::other;
  }

  int32_t to_torch(DType dtype) const { return to_torch_[static_cast<int>(dtype)]; }

 private:
  void map(int32_t code, DType dtype) {
    from_torch_.at(code) = dtype;
    to_torch_[static_cast<int>(dtype)] = code;
  }

  std::array<DType, 128> from_torch_;
  std::array<int32_t, static_cast<int>(DType::other)> to_torch_;
};

const DTypes& dtypes() {
  static const DTypes table;
  return table;
}

DType dtype_of(TensorHandle tensor) {
  int32_t code = 0;
  FUSEDOPS_TORCH_CALL(aoti_torch_get_dtype, tensor, &code);
  return dtypes().from_torch(code);
}

int64_t rank_of(TensorHandle tensor) {
  int64_t rank = 0;
  FUSEDOPS_TORCH_CALL(aoti_torch_get_dim, tensor, &rank);
  return rank;
}

Shape shape_of(TensorHandle tensor) {
  int64_t* sizes = nullptr;
  FUSEDOPS_TORCH_CALL(aoti_torch_get_sizes, tensor, &sizes);
  return Shape(sizes, sizes + rank_of(tensor));
}

Strides strides_of(TensorHandle tensor) {
  int64_t* strides = nullptr;
  FUSEDOPS_TORCH_CALL(aoti_torch_get_strides, tensor, &strides);
  return Strides(strides, strides + rank_of(tensor));
}

// The byte offset in the storage where the tensor begins. Throws where the storage does not hold all its elements: it
// was freed (FSDP does so) or made smaller.
int64_t offset_in_storage(TensorHandle tensor, const ArrayInfo& array, const Strides& strides) {
  int64_t storage_bytes = 0, offset = 0;
  FUSEDOPS_TORCH_CALL(aoti_torch_get_storage_size, tensor, &storage_bytes);
  FUSEDOPS_TORCH_CALL(aoti_torch_get_storage_offset, tensor, &offset);
  int64_t last = offset;  // torch's strides are not negative
  for (size_t i = 0; i < strides.size(); ++i) last += (array.shape[i] - 1) * strides[i];
  const int64_t item = size_of(array.dtype);
  if (element_count(array.shape) > 0 && (last + 1) * item > storage_bytes)
    throw std::runtime_error("a tensor's elements take " + std::to_string((last + 1) * item) +
                             " bytes of its storage, which holds " + std::to_string(storage_bytes) +
                             ": it was freed or made smaller");
  return offset * item;
}

}  // namespace

Tensor Tensor::new_empty(const ArrayInfo& info) const {
  if (loan_) return Tensor(loan_->lender->empty(info));
  const auto [device_type, device_index] = device();
  const Strides strides = contiguous_strides(info.shape);
  TensorHandle handle = nullptr;
  FUSEDOPS_TORCH_CALL(aoti_torch_empty_strided, static_cast<int64_t>(info.shape.size()), info.shape.data(),
                      strides.data(), dtypes().to_torch(info.dtype), device_type, device_index, &handle);
  return Tensor(handle);
}

Device Tensor::device() const {
  Device device{};
  FUSEDOPS_TORCH_CALL(aoti_torch_get_device_type, handle_.get(), &device.type);
  FUSEDOPS_TORCH_CALL(aoti_torch_get_device_index, handle_.get(), &device.index);
  return device;
}

ArrayInfo Tensor::info() const {
  if (loan_) return {loan_->array.dtype, loan_->array.shape};
  return {dtype_of(handle_.get()), shape_of(handle_.get())};
}

ArrayView Tensor::view() const {
  if (loan_) return loan_->array;
  const ArrayInfo array = info();
  const Strides strides = strides_of(handle_.get());
  offset_in_storage(handle_.get(), array, strides);
  // The const accessor, because the other one would copy a lazily cloned (copy-on-write) tensor.
  const void* data = nullptr;
  FUSEDOPS_TORCH_CALL(torch_get_const_data_ptr, handle_.get(), &data);
  return aligned({data, array.dtype, array.shape, strides}, aligned_copy_);
}

ArrayView Tensor::layout() const {
  const ArrayInfo array = info();
  Strides strides = strides_of(handle_.get());
  const auto data = reinterpret_cast<const void*>(offset_in_storage(handle_.get(), array, strides));
  return {data, array.dtype, array.shape, std::move(strides)};
}

void* Tensor::mutable_data() {
  if (loan_) return const_cast<void*>(loan_->array.data);
  void* data = nullptr;
  FUSEDOPS_TORCH_CALL(torch_get_mutable_data_ptr, handle_.get(), &data);
  const ArrayInfo array = info();
  cpu::prepare_output(data, element_count(array.shape) * size_of(array.dtype));
  return data;
}

}  // namespace fusedops::torch
