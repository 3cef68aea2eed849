COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


def pre_inference(sample, signature, metadata):
    return {"measurements": [[sample[column] for column in COLUMNS]]}


def post_inference(prediction, signature, metadata):
    return metadata["labels"][int(prediction["class_ids"][0])]
