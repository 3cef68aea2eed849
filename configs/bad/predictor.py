def predict(sample, metadata):
    return sample
