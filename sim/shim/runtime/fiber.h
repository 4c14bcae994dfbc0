// Switching between stacks. Inlined, so that calls and returns stay paired for the processor's return predictor; the
// compiler saves whatever it needs of the registers that are marked as overwritten.
#pragma once

namespace simulator {

#if defined(__x86_64__)

// Saves the point of execution in *save and goes on at `load`, which an earlier switch or prepare_stack made.
[[gnu::always_inline]] inline void switch_stack(void** save, void* load) {
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\t"  // below the red zone
      "pushq %%rbp\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "movq %%rsp, (%%rdi)\n\t"
      "movq %%rsi, %%rsp\n\t"
      "popq %%rax\n\t"
      "jmpq *%%rax\n"
      "1:\tpopq %%rbp\n\t"
      "leaq 128(%%rsp), %%rsp"
      : "+D"(save), "+S"(load)
      :
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2",
        "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
        "memory", "cc");
}

// What to load so that `entry` runs on the stack that ends at `end` (a multiple of 16). It must never return.
inline void* prepare_stack(char* end, void (*entry)()) {
  void** top = reinterpret_cast<void**>(end) - 2;  // leaves the stack as a call would
  top[0] = reinterpret_cast<void*>(entry);
  return top;
}

#elif defined(__aarch64__)

[[gnu::always_inline]] inline void switch_stack(void** save, void* load) {
  register void** x0 asm("x0") = save;
  register void* x1 asm("x1") = load;
  asm volatile(
      "sub sp, sp, #144\n\t"  // below the red zone, which Apple's platforms have
      "adr x9, 1f\n\t"
      "stp x29, x9, [sp]\n\t"
      "mov x9, sp\n\t"
      "str x9, [x0]\n\t"
      "mov sp, x1\n\t"
      "ldp x29, x9, [sp]\n\t"
      "br x9\n"
      "1:\tadd sp, sp, #144"
      : "+r"(x0), "+r"(x1)
      :
      : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x19",
        "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6",
        "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
        "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31", "memory", "cc");
}

inline void* prepare_stack(char* end, void (*entry)()) {
  void** top = reinterpret_cast<void**>(end) - 2;
  top[0] = nullptr;  // no frame above
  top[1] = reinterpret_cast<void*>(entry);
  return top;
}

#else
#error "the simulator runs on x86-64 and arm64 hosts only"
#endif

}  // namespace simulator
