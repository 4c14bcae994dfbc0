"""The public operators, one module each: options are brought into one form, then the array's framework takes over."""
