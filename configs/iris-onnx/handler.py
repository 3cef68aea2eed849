COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


def pre_inference(sample, signature, metadata):
    return {signature[0].name: [sample[column] for column in COLUMNS]}


def post_inference(prediction, signature, metadata):
    return metadata["labels"][int(prediction[0][0])]
