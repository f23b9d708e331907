"""One file per scalarizer: a reward vector and a preference become one signal."""
