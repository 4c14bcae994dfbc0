// A torch tensor that this side owns, and how it looks to the operators.
#pragma once

#include <memory>
#include <optional>

#include "core/array.h"
#include "torch/shim.h"

namespace fusedops::torch {

class Tensor {
 public:
  explicit Tensor(TensorHandle handle) : handle_(handle) {}

  // A contiguous CPU tensor that holds anything.
  static Tensor empty(const ArrayInfo& info);

  ArrayInfo info() const;
  ArrayView view() const;
  void* mutable_data();

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

}  // namespace fusedops::torch
