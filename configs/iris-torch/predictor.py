import torch
import torch.nn as nn
import torch.nn.functional as F


class IrisNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 100)
        self.fc2 = nn.Linear(100, 100)
        self.fc3 = nn.Linear(100, 3)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.softmax(self.fc3(x), dim=1)


labels = ["setosa", "versicolor", "virginica"]
model = IrisNet()


def init(model_path, metadata):
    model.load_state_dict(torch.load(model_path))
    model.eval()


def predict(sample, metadata):
    measurements = torch.FloatTensor(
        [[sample["sepal_length"], sample["sepal_width"], sample["petal_length"], sample["petal_width"]]]
    )
    with torch.no_grad():
        output = model(measurements)
    return labels[torch.argmax(output[0])]
