"""Give vLLM exact adapters at any preference: what its plugin (`moalign.serving.vllm_plugin`) is made of; imports nothing of vLLM.

- `settings` reads the environment: which bundles, how fine a lattice, how large a cache.
- `server` checks how vLLM was started: LoRA on, rank large enough.
- `bundles` opens a bundle over the base that is served and writes its adapters.
- `disk_cache` keeps them on the disk, for several servers at once.
- `adapters` puts them together: a model name to the folder of an adapter.
"""
