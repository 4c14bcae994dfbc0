"""The operators of torch.ops.fusedops, one module each: fake kernel, composite, gradients, vmap and autocast rules."""

from . import add_rms_norm, geglu, gelu, rms_norm, sdpa, sdpa_varlen

ALL = (rms_norm.OPERATOR, add_rms_norm.OPERATOR, gelu.OPERATOR, geglu.OPERATOR, sdpa.OPERATOR, sdpa_varlen.OPERATOR)
