// A torch tensor, and how it looks to the operators.
#pragma once

#include <cstddef>
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

// A tensor that a direct call (direct.h) lends to a kernel: it keeps the tensor alive and has looked at it already.
struct Loan {
  // Where new tensors come from during the call.
  class Lender {
   public:
    virtual Loan& empty(const ArrayInfo& info) = 0;

   protected:
    ~Lender() = default;
  };

  Lender* lender;
  ArrayView array;
};

// Either owned, by torch's handle, or lent.
class Tensor {
 public:
  explicit Tensor(TensorHandle handle) : handle_(handle) {}
  explicit Tensor(Loan& loan) : loan_(&loan) {}

  // A contiguous tensor on the same device that holds anything.
  Tensor new_empty(const ArrayInfo& info) const;

  Device device() const;
  ArrayInfo info() const;
  // What CPU kernels read, as long as the tensor lives: its own memory or, where that does not begin at a multiple of
  // an element's size (torch.frombuffer takes any offset), a copy. Throws where it has been freed.
  ArrayView view() const;
  // What plans are made of: the data pointer is the byte offset in the tensor's storage, which begins at an address
  // that is aligned to anything. Throws as view() does.
  ArrayView layout() const;
  // Where CPU kernels write a new output.
  void* mutable_data();

  TensorHandle handle() const { return handle_.get(); }
  TensorHandle release() { return handle_.release(); }
  Loan* loan() const { return loan_; }  // null: owned

 private:
  struct Deleter {
    void operator()(TensorHandle handle) const { functions().aoti_torch_delete_tensor_object(handle); }
  };
  std::unique_ptr<OpaqueTensor, Deleter> handle_;
  mutable std::unique_ptr<std::byte[]> aligned_copy_;
  Loan* loan_ = nullptr;
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
