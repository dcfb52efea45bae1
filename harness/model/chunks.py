"""Sizes of chunks of logits, in elements [tokens × vocabulary], and of the cache's pages. Imports no torch.

`head` and training's `retention` compute by them and `preflight` counts their bytes.
"""

CHUNK_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 30}  # a chunk stays in a CPU's cache, or fills a GPU
MIN_CHUNK_TOKENS = 256  # whatever the vocabulary: each chunk adds to the whole gradient of the head's weight
# On a GPU, logits of one call that stay in memory until its backward pass: 5 GiB in half precision, enough
# for microbatches of 16,384 tokens of a vocabulary of 152k.
MAX_SAVED_ELEMENTS = 5 << 29
RETENTION_CHUNK_ELEMENTS = 1 << 24  # log-probabilities of two models, compared over the whole vocabulary
ENTROPY_CHUNK_ELEMENTS = 1 << 24  # of an entropy with a gradient, whose chunks are computed twice
PAGE = 64  # tokens of a page of the GPU sampler's cache; its attention reads one page of a head at a time
