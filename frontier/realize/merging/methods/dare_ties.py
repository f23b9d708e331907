"""Drop most of what each model learned at random, make up for it, and add what agrees in sign."""

from frontier.realize.merging.methods.dare_linear import DareLinear


class DareTies(DareLinear):
    r"""DARE ([Yu et al., 2023](https://huggingface.co/papers/2311.03099)) with the sign election of TIES, as mergekit's `dare_ties`.

    Deltas are dropped and rescaled as in `dare_linear`; then the sign of $\sum_i w_i d_i$ is elected entry by entry (0 elects plus) and only entries of
    that sign are added up. `normalize` is off by default: no division; on, it divides by the weights of what was kept, as in `ties`.
    """

    name = "dare_ties"
    elects = True
