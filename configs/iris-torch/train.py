"""Fits the network of predictor.py to the flowers in flowers.csv (R. A. Fisher, 1936), and writes its weights beside this file."""
import csv
from pathlib import Path

import torch

from predictor import IrisNet, labels

here = Path(__file__).parent
rows = list(csv.DictReader((here / "flowers.csv").open()))
measurements = [name for name in rows[0] if name != "label"]
x = torch.tensor([[float(row[name]) for name in measurements] for row in rows])
y = torch.tensor([labels.index(row["label"]) for row in rows])

torch.manual_seed(1)
order = torch.randperm(len(rows))
train, test = order[30:], order[:30]
model = IrisNet()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(200):
    optimizer.zero_grad()
    loss = torch.nn.functional.nll_loss(torch.log(model(x[train]) + 1e-9), y[train])
    loss.backward()
    optimizer.step()
accuracy = (model(x[test]).argmax(dim=1) == y[test]).float().mean()
target = here / "model.pth"
unfinished = here / "unfinished.pth"
torch.save(model.state_dict(), unfinished)
unfinished.replace(target)
print(f"accuracy on held-back flowers: {accuracy:.2f}; written to {target.name}")
