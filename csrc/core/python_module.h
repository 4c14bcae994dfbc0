// Native modules that a process may import more than once.
//
// Test runners and notebooks remove packages from sys.modules and import them again, and nanobind's types can be made
// once only. So a module's functions and types are made at the first import; later ones get the same, as CPython does
// it for modules of single-phase initialisation (https://peps.python.org/pep-0489/).
#pragma once

#include <nanobind/nanobind.h>

namespace fusedops {

class FirstImport {
 public:
  // Takes over the execution of a module that is defined by multi-phase initialisation.
  static PyObject* of(PyObject* definition) {
    if (!definition) return nullptr;
    for (PyModuleDef_Slot* slot = reinterpret_cast<PyModuleDef*>(definition)->m_slots; slot->slot; ++slot)
      if (slot->slot == Py_mod_exec && slot->value != reinterpret_cast<void*>(execute)) {
        make_ = reinterpret_cast<Execute>(slot->value);
        slot->value = reinterpret_cast<void*>(execute);
      }
    return definition;
  }

 private:
  using Execute = int (*)(PyObject* module);

  static int execute(PyObject* module) {
    constexpr int64_t main_interpreter = 0;  // PyInterpreterState_Main() is not in nanobind's list of symbols for macOS
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != main_interpreter) {
      PyErr_Format(PyExc_ImportError,
                   "%s works in Python's main interpreter only: it cannot be imported in another one",
                   PyModule_GetName(module));
      return -1;
    }
    if (first_) return PyDict_Update(PyModule_GetDict(module), PyModule_GetDict(first_));
    if (make_(module)) return -1;
    first_ = Py_NewRef(module);
    return 0;
  }

  static inline Execute make_ = nullptr;
  static inline PyObject* first_ = nullptr;  // kept: what it holds must outlive its removal from sys.modules
};

}  // namespace fusedops

// As NB_MODULE.
#define FUSEDOPS_MODULE(name, variable)                                                   \
  extern "C" NB_EXPORT PyObject* PyInit_##name##_made();                                  \
  extern "C" NB_EXPORT PyObject* PyInit_##name();                                         \
  PyObject* PyInit_##name() { return fusedops::FirstImport::of(PyInit_##name##_made()); } \
  NB_MODULE(name##_made, variable)
