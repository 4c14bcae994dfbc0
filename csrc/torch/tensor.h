// A torch tensor that this side owns, and how it looks to the operators.
#pragma once

#include <memory>
#include <optional>

#include "core/array.h"
#include "torch/shim.h"

namespace fusedops::torch {

struct Device {
  int32_t type;
  int32_t index;

  bool operator==(const Device&) const = default;
};

class Tensor {
 public:
  explicit Tensor(TensorHandle handle) : handle_(handle) {}

  // A contiguous tensor that holds anything.
  static Tensor empty(const ArrayInfo& info, Device device);

  Device device() const;
  ArrayInfo info() const;
  // What CPU kernels read.
  ArrayView view() const;
  // What plans are made of: the data pointer is the byte offset in the tensor's storage, which begins at an address
  // that is aligned to anything.
  ArrayView layout() const;
  // Where CPU kernels write a new output.
  void* mutable_data();

  TensorHandle handle() const { return handle_.get(); }
  TensorHandle release() { return handle_.release(); }

 private:
  struct Deleter {
    void operator()(TensorHandle handle) const { functions().aoti_torch_delete_tensor_object(handle); }
  };
  std::unique_ptr<OpaqueTensor, Deleter> handle_;
};

inline std::optional<ArrayInfo> info(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional(tensor->info()) : std::nullopt;
}

inline std::optional<ArrayView> view(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional(tensor->view()) : std::nullopt;
}

inline std::optional<ArrayView> layout(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional(tensor->layout()) : std::nullopt;
}

inline const Tensor* pointer_to(const std::optional<Tensor>& tensor) { return tensor ? &*tensor : nullptr; }

}  // namespace fusedops::torch
