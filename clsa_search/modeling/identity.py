"""Identity classifiers: embeddings to logits over the training identities."""

from torch import nn


class SoftmaxClassifier(nn.Linear):
    """A linear layer without bias: (R, D) embeddings to (R, P) logits, used in training only."""

    def __init__(self, *, embed_dim: int, num_ids: int) -> None:
        super().__init__(embed_dim, num_ids, bias=False)
        nn.init.normal_(self.weight, std=0.01)
