"""A plugin of pytest that turns oneDNN off, as `bin/test-matrix` does; loading it is enough."""

import torch

torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
