"""Fits a softmax regression to the iris flowers that scikit-learn ships, and writes it beside this file as a SavedModel.

The folder "model" has a folder per version, named by the time of its training; cortexd serves the last one.
"""
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

flowers = load_iris()
x = flowers.data.astype("float32")
x_train, x_test, y_train, y_test = train_test_split(x, flowers.target, test_size=0.2, random_state=1, stratify=flowers.target)


class Classifier(tf.Module):
    def __init__(self):
        self.weights = tf.Variable(tf.zeros([4, 3]))
        self.bias = tf.Variable(tf.zeros([3]))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="measurements")])
    def predict(self, measurements):
        scores = measurements @ self.weights + self.bias
        return {"class_ids": tf.argmax(scores, axis=1), "probabilities": tf.nn.softmax(scores)}

    @tf.function
    def step(self, measurements, labels):
        with tf.GradientTape() as tape:
            scores = measurements @ self.weights + self.bias
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores))
        variables = [self.weights, self.bias]
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            variable.assign_sub(0.1 * gradient)


model = Classifier()
for _ in range(1000):
    model.step(tf.constant(x_train), tf.constant(y_train))
accuracy = float(tf.reduce_mean(tf.cast(model.predict(tf.constant(x_test))["class_ids"] == y_test, tf.float32)))

versions = Path(__file__).with_name("model")
unfinished, target = versions / "unfinished", versions / str(int(time.time()))
tf.saved_model.save(model, str(unfinished), signatures={"predict": model.predict})
unfinished.replace(target)
print(f"accuracy on held-back flowers: {accuracy:.2f}; written to {target.parent.name}/{target.name}")
