import joblib

model = None
labels = []


def init(model_path, metadata):
    global model, labels
    model = joblib.load(model_path or metadata["model"])
    labels = metadata["labels"]


def predict(sample, metadata):
    measurements = [
        sample["sepal_length"],
        sample["sepal_width"],
        sample["petal_length"],
        sample["petal_width"],
    ]
    return labels[int(model.predict([measurements])[0])]
