"""PyTorch, eager, the data being one tensor that each batch indexes."""

import numpy as np
import torch
from torch import nn

from experiments.peers.job import Job


def eager(job: Job, x: np.ndarray, y: np.ndarray):
    x, y = torch.from_numpy(x), torch.from_numpy(y).long()
    hidden = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}[job.activation]
    layers = []
    for W, b in job.params():
        linear = nn.Linear(W.shape[1], W.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(W), "bias": torch.from_numpy(b)})
        layers += [linear, hidden()]
    net = nn.Sequential(*layers[:-1])
    loss_fn = nn.CrossEntropyLoss()
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[job.optimizer](
        net.parameters(), job.rate, fused=True
    )

    def train(epochs: int) -> dict:
        for _ in range(epochs):
            losses = torch.zeros(())
            batches = torch.randperm(job.examples).view(-1, job.batch)
            for batch in batches:
                optimizer.zero_grad()
                loss = loss_fn(net(x[batch]), y[batch])
                loss.backward()
                optimizer.step()
                losses += loss.detach()
        return {"loss": losses.item() / len(batches)}

    return train
