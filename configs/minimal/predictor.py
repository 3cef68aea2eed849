def predict(sample, metadata):
    return {"hello": sample["name"]}
