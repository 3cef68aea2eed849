import numpy
import xgboost

model = xgboost.Booster()


def init(model_path, metadata):
    model.load_model(model_path)


def predict(sample, metadata):
    measurements = numpy.array(
        [[sample["sepal_length"], sample["sepal_width"], sample["petal_length"], sample["petal_width"]]]
    )
    probabilities = model.inplace_predict(measurements)[0]
    return {
        "label": metadata["labels"][probabilities.argmax()],
        "probabilities": dict(zip(metadata["labels"], probabilities)),
    }
