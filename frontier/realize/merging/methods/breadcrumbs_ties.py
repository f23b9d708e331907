"""Leave out the smallest changes of each model and the very largest, and add what agrees in sign."""

from frontier.realize.merging.methods.breadcrumbs import Breadcrumbs


class BreadcrumbsTies(Breadcrumbs):
    r"""Model Breadcrumbs ([Davari and Belilovsky, 2023](https://huggingface.co/papers/2312.06795)) with the sign election of TIES, as mergekit's
    `breadcrumbs_ties`.

    Deltas are thinned as in `breadcrumbs`; then the sign of $\sum_i w_i d_i$ is elected entry by entry (0 elects plus) and only entries of that sign are
    added up. `normalize` is off by default: no division; on, it divides by the weights of what was kept, as in `ties`.
    """

    name = "breadcrumbs_ties"
    elects = True
