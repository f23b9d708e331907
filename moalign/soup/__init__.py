"""Search over soups of language models under a vector of rewards: what `frontier.realize.soup` does with coefficients, here with prompts and completions.

```python
from frontier.realize.soup import Evaluations, SoupSpace, blocks_of, search_soups
from moalign.soup import SoupEvaluator, soup_of_bundle

policy = soup_of_bundle("runs/soups/policy")
evaluate = SoupEvaluator(policy, reward, prompts)
space = SoupSpace(policy.experts.names, blocks_of(policy.experts.places, 4))
front = search_soups(evaluate, space, objectives=reward.objectives, budget=100, evaluations=Evaluations("soups.jsonl", evaluate.content()))
```
"""

from moalign.soup.evaluator import SoupEvaluator
from moalign.soup.policy import SoupPolicy, soup_of_bundle, soup_of_folders

__all__ = ["SoupEvaluator", "SoupPolicy", "soup_of_bundle", "soup_of_folders"]
