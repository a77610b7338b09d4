"""Many pictures: callables for engines that work on batches of columns, and whole data sets, shard by shard."""

from diffcodec.dataset.compress_batch import CompressBatch
from diffcodec.dataset.restore_batch import RestoreBatch

__all__ = ["CompressBatch", "RestoreBatch"]
